"""Packed float32 linear layers: on a CPU, checking several tokens then costs hardly more than one.

Stock torch lays every weight matrix out anew as soon as there are two rows, which doubles the cost
of a step, and speculation gains nothing. oneDNN can keep the weights in the layout its kernels
want; `pack_linears` does that once and releases the originals. It also removes what a short step
spends around its products: three projections in place of one, copies of keys and values per head.
"""

from __future__ import annotations

import ast
import functools
import inspect
import sys
from typing import Any

import torch
from torch import nn

from anydraft.errors import InputError

ATTENTION = "anydraft_sdpa"  # the name of `_grouped_attention` in transformers
# What models hand to an attention function that stock "sdpa" pays no heed to once there is a mask.
_WITHOUT_EFFECT = {
    "is_causal",
    "position_ids",
    "cache_position",
    "sliding_window",
    "use_cache",
    "deterministic",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
    "num_items_in_batch",
    "cu_seq_lens_q",
    "cu_seq_lens_k",
    "max_length_q",
    "max_length_k",
    "seq_idx",
}
_TOGETHER = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))  # products of one input


class PackedLinear(nn.Module):
    """A frozen nn.Linear whose weight lies in oneDNN's own layout.

    The packed weight is neither parameter nor buffer: it cannot move to a device, nor be saved.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, rows_hint: int) -> None:
        """weight [out, in] and bias [out], float32 on the CPU; rows_hint: rows of a usual step."""
        super().__init__()
        self.out_features, self.in_features = weight.shape
        dense = weight.detach().contiguous()
        self.packed: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(dense, rows_hint)
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
        self.least_rows = least_rows()

    @property
    def weight(self) -> torch.Tensor:
        """The dense weight [out, in], laid out anew at every access: to look at, not to use."""
        return self.packed.to_dense()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [..., in] -> [..., out]."""
        rows = x.numel() // self.in_features
        if rows >= self.least_rows:
            return self._product(x)
        flat = nn.functional.pad(x.reshape(rows, -1), (0, 0, 0, self.least_rows - rows))
        return self._product(flat)[:rows].view(*x.shape[:-1], self.out_features)

    def _product(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = torch.ops.mkldnn._linear_pointwise.default(
            x, self.packed, self.bias, "none", [], ""
        )
        return out

    def extra_repr(self) -> str:
        """The shapes, as nn.Linear prints them."""
        return f"in_features={self.in_features}, out_features={self.out_features}"


class _FusedProjection(nn.Module):
    """Member `index` of several projections of one input, computed together.

    The first member called computes all of them; the next ones take their part if they are handed
    the very same tensor, and compute anew otherwise. So a model that feeds them different tensors
    still gets the right answer, only more slowly.
    """

    def __init__(self, linear: PackedLinear, sizes: list[int], index: int, held: list[Any]) -> None:
        super().__init__()
        self.linear, self.sizes, self.index = linear, sizes, index
        self.held = held  # shared by the members: [(input, outputs)] or []
        self.in_features, self.out_features = linear.in_features, sizes[index]

    @property
    def weight(self) -> torch.Tensor:
        """The dense weight [out, in] of this member."""
        return torch.split(self.linear.weight, self.sizes)[self.index]

    @property
    def bias(self) -> torch.Tensor | None:
        """The bias [out] of this member."""
        bias = self.linear.bias
        return None if bias is None else torch.split(bias, self.sizes)[self.index]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [..., in] -> [..., out]."""
        # The first member never takes a held result, so that one never outlives its step; reading
        # the list once keeps concurrent calls from seeing half of an entry.
        held = self.held[:] if self.index else []
        if held and held[0][0] is x:
            outputs = held[0][1]
        else:
            outputs = torch.split(self.linear(x), self.sizes, dim=-1)
        self.held[:] = [(x, outputs)] if self.index + 1 < len(self.sizes) else []
        result: torch.Tensor = outputs[self.index]
        return result


def least_rows() -> int:
    """The rows from which on a packed product is fast: with fewer, zeros are put behind them.

    With AVX-512 oneDNN takes a quarter longer over one row or two than over four to six, with AVX2
    one row is the quickest (SmolLM2's layers, 1/2/4/6 rows: 16.5, 19.3, 13.4, 13.7 ms; 5.5, 5.8,
    6.6, 7.7 ms for a third of them).
    """
    return 4 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 1


def pack_linears(model: nn.Module, rows_hint: int = 8) -> nn.Module:
    """Packs every float32 nn.Linear of a CPU model in place, freezes the model and returns it.

    The outputs are the same within rounding. An embedding tied to a packed layer keeps its weight.
    rows_hint: the rows (tokens) a call usually has; the layout is chosen for it, any number works.
    """
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        raise InputError("[pack_linears] expected a torch with oneDNN, got one without it")
    if not any(_packable(module) for module in model.modules()):
        raise InputError("[pack_linears] expected float32 linear layers on the CPU, got none")
    model.requires_grad_(False)
    with torch.no_grad():
        _pack_children(model, rows_hint, {})
    _use_grouped_attention(model)
    return model


def _packable(module: nn.Module | None) -> bool:
    # Exactly nn.Linear: subclasses (quantised, adapters) mean something else by forward.
    return (
        type(module) is nn.Linear
        and module.weight.dtype == torch.float32
        and module.weight.device.type == "cpu"
    )


def _pack_children(parent: nn.Module, rows_hint: int, done: dict[nn.Module, nn.Module]) -> None:
    """Depth first, one layer at a time, so that only one weight is held twice. done: old -> new."""
    for names in _TOGETHER:
        _fuse_projections(parent, names, rows_hint)
    for name, child in list(parent.named_children()):
        if isinstance(child, nn.Linear) and _packable(child):
            if child not in done:
                done[child] = PackedLinear(child.weight, child.bias, rows_hint)
            setattr(parent, name, done[child])
        elif not isinstance(child, PackedLinear | _FusedProjection):
            _pack_children(child, rows_hint, done)


def _fuse_projections(parent: nn.Module, names: tuple[str, ...], rows_hint: int) -> None:
    """Replaces products of one input by one: three small ones cost half more."""
    linears: list[Any] = [getattr(parent, name, None) for name in names]
    if not all(_packable(linear) for linear in linears):
        return
    if len({(linear.in_features, linear.bias is None) for linear in linears}) != 1:
        return
    weight = torch.cat([linear.weight for linear in linears])
    bias = None if linears[0].bias is None else torch.cat([linear.bias for linear in linears])
    packed, held = PackedLinear(weight, bias, rows_hint), list[Any]()
    sizes = [linear.out_features for linear in linears]
    for index, name in enumerate(names):
        setattr(parent, name, _FusedProjection(packed, sizes, index, held))


def _use_grouped_attention(model: nn.Module) -> None:
    """Switches a transformers model from its "sdpa" attention to `_grouped_attention`, where no
    code of the model's asks for that name: such code would compute something else."""
    config = getattr(model, "config", None)
    if getattr(config, "_attn_implementation", None) != "sdpa" or _asks_for_sdpa(model):
        return
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(ATTENTION, _grouped_attention)
    AttentionMaskInterface.register(ATTENTION, _float_mask)
    model.set_attn_implementation(ATTENTION)  # type: ignore[operator]


def _asks_for_sdpa(model: nn.Module) -> bool:
    """Whether a file that defines the model's layers has the word "sdpa" in its code."""
    classes = {base for module in model.modules() for base in type(module).__mro__}
    return any(_says_sdpa(name) for name in {kind.__module__ for kind in classes} if _is_own(name))


def _is_own(module: str) -> bool:
    """Whether a module is of the model, not of the libraries below it."""
    package, _, rest = module.partition(".")
    if package == "transformers":
        return rest.startswith("models.")
    return package not in ("builtins", "torch", "typing", "abc", "anydraft")


@functools.cache
def _says_sdpa(module: str) -> bool:
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (KeyError, OSError, TypeError, SyntaxError):  # nobody can tell
        return True
    # A parameter's default compares nothing: the vision towers of Qwen-VL have one.
    defaults = {
        id(default)
        for node in ast.walk(tree)
        if isinstance(node, ast.arguments)
        for default in (*node.defaults, *node.kw_defaults)
    }
    return any(
        isinstance(node, ast.Constant) and node.value == "sdpa" and id(node) not in defaults
        for node in ast.walk(tree)
    )


def _grouped_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' "sdpa", but a mask does not make it copy keys and values once a query head.

    query [batch, heads, new, head_dim], key and value [batch, kv_heads, kept + new, head_dim],
    attention_mask [batch, 1, new, kept + new] -> [batch, new, heads, head_dim].

    Raises:
        InputError: it is handed something that may have to change the result.
    """
    if attention_mask is None or kwargs.get("position_bias") is not None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        stock: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return stock
    given = {name for name, value in kwargs.items() if value is not None}
    if unknown := sorted(given - _WITHOUT_EFFECT):
        raise InputError(
            f"[pack_linears] expected attention by masks alone, got {', '.join(unknown)} from "
            f"{type(module).__name__}: load the model with pack=False"
        )
    output = nn.functional.scaled_dot_product_attention(
        query, key, value, attention_mask, dropout, scale=scaling, enable_gqa=True
    )
    return output.transpose(1, 2).contiguous(), None


def _float_mask(*args: Any, dtype: torch.dtype = torch.float32, **kwargs: Any) -> Any:
    """The mask of "sdpa" as numbers to add [batch, 1, new, kept + new], or None for plain causal.

    Handed a boolean mask, the attention kernel makes this conversion again in every layer.
    """
    from transformers.masking_utils import sdpa_mask

    mask = sdpa_mask(*args, **kwargs)
    if mask is None:
        return None
    # The least number, not -inf: a row with nothing to see (padding) must not become NaN.
    hidden = torch.full((), torch.finfo(dtype).min, dtype=dtype, device=mask.device)
    return torch.where(mask, torch.zeros((), dtype=dtype, device=mask.device), hidden)
