"""A transformers model's own forward pass over a chain or a tree of tokens, request by request."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, cast

import torch

from anydraft.errors import InputError
from anydraft.hf.kv_cache import RequestCache
from anydraft.hf.packing import ATTENTION
from anydraft.hf.slots import Part, Slots, additive
from anydraft.hf.together import cache_of, masks_together, padded

# Those that take a mask of four dimensions as it is.
_MASKABLE = {"sdpa", "eager", ATTENTION}
_WINDOWED = {"full_attention": False, "sliding_attention": True}


class StockDecoder:
    """Runs a transformers causal model.

    Attributes:
        says_positions: whether the model is told positions; else it counts its cache itself, and
            takes chains alone.
        together: tokens that several requests may have in one pass; 1: each has its own.
        alone_because: why that is so, once `join_requests` has found it out.
    """

    alone_because = ""
    _names = ("input_ids", "position_ids", "attention_mask")

    def __init__(self, model: Any) -> None:
        self._model = model
        self._config = model.config.get_text_config(decoder=True)
        self._parameters = set(inspect.signature(model.forward).parameters)
        self._cache_name = (
            "cache_params" if "cache_params" in self._parameters else ("past_key_values")
        )
        self.says_positions = True
        self.together = 1
        self._trees_checked = False

    def new_cache(self) -> Any:
        """An empty cache for one request."""
        return RequestCache(self._config)

    def __call__(self, parts: Sequence[Part]) -> torch.Tensor:
        """-> logits [sum of rows, vocab] in the model's dtype. In inference mode only."""
        if len(parts) == 1:
            return self._forward(parts[0])
        return self._forward_together(parts)

    def join_requests(self, tokens: int) -> bool:
        """Has several requests share a pass, with `tokens` at most, where the model's forward pass
        takes the mask that this needs; says whether it does."""
        try:
            self._check_trees()
        except InputError as error:
            self.alone_because = str(error)
            return False
        self.together = tokens
        return True

    def _forward_together(self, parts: Sequence[Part]) -> torch.Tensor:
        cache, end = cache_of(parts)
        device, new = self._model.device, [len(part.tokens) for part in parts]
        masks = [self._masks(part.slots, part.positions, part.parents) for part in parts]
        joint = {kind: masks_together([m[kind] for m in masks], end) for kind in masks[0]}
        ids, places, mask = self._names
        given: dict[str, Any] = {
            ids: padded([part.tokens for part in parts], device),
            places: padded([part.positions for part in parts], device),
            mask: joint if len(joint) > 1 else joint.popitem()[1],
            self._cache_name: cache,
            "use_cache": True,
        }
        wanted = sorted({i for n, p in zip(new, parts, strict=True) for i in range(n - p.rows, n)})
        place = {index: row for row, index in enumerate(wanted)}
        if "logits_to_keep" in self._parameters and wanted:
            given["logits_to_keep"] = torch.tensor(wanted, device=device)
        else:
            place = {index: index for index in wanted}
        logits = _logits(self._model(**given))
        rows = [
            logits[i, [place[j] for j in range(n - part.rows, n)]]
            for i, (n, part) in enumerate(zip(new, parts, strict=True))
            if part.rows
        ]
        return torch.cat(rows) if rows else logits[0, :0]

    def whole(self, tokens: Sequence[int], cache: Any, **more: Any) -> torch.Tensor:
        """The rows [tokens, vocab] that the model gives without a cache: what must come out.

        cache: one of `new_cache`, from which only what is not of the text is taken.
        """
        given: dict[str, Any] = {self._names[0]: self._tensor(tokens)}
        if self.says_positions and self._names[1] in self._parameters:
            given[self._names[1]] = self._tensor(range(len(tokens)))
        if "use_cache" in self._parameters:
            given["use_cache"] = False
        return _logits(self._model(**given, **self._beside(cache), **more))[0].float()

    def _forward(self, part: Part) -> torch.Tensor:
        mask = None
        if not part.slots.follows(part.positions, part.parents):
            self._check_trees()
            mask = self._tree_mask(part.slots, part.positions, part.parents)
        return self._rows(part.tokens, part.positions, part.rows, part.cache, mask)

    def _rows(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        rows: int,
        cache: Any,
        mask: Any = None,
    ) -> torch.Tensor:
        """One pass on top of the cache -> logits [rows, vocab] of the last tokens."""
        ids, places, masks = self._names
        given: dict[str, Any] = {
            ids: self._tensor(tokens),
            self._cache_name: cache,
            "use_cache": True,
        }
        if self.says_positions:
            given[places] = self._tensor(positions)
        if "logits_to_keep" in self._parameters:
            given["logits_to_keep"] = max(rows, 1)  # 0 would mean all of them
        if mask is not None:
            given[masks] = mask
        logits = _logits(self._model(**given, **self._beside(cache)))
        return logits[0, logits.shape[1] - rows :]

    def _beside(self, cache: Any) -> dict[str, Any]:
        """What the model is given beside the text."""
        return {}

    def _tensor(self, numbers: Sequence[int]) -> torch.Tensor:
        return torch.tensor([list(numbers)], device=self._model.device)

    def _tree_mask(self, slots: Slots, positions: Sequence[int], parents: Sequence[int]) -> Any:
        """What to add to the scores [1, 1, new, held + new]; where layers differ, by their type."""
        masks = self._masks(slots, positions, parents)
        return masks if len(masks) > 1 else masks.popitem()[1]

    def _masks(
        self, slots: Slots, positions: Sequence[int], parents: Sequence[int]
    ) -> dict[str, torch.Tensor]:
        """The masks of each type of layer."""
        visible = slots.visible(positions, parents)
        window: Any = getattr(self._config, "sliding_window", None)
        masks = {}
        for kind in self._kinds():
            seen = visible
            if _WINDOWED[kind]:
                seen = visible & (slots.distances(positions) < window)
            masks[kind] = additive(seen, self._model.dtype).to(self._model.device)
        return masks

    def _kinds(self) -> set[str]:
        """The types of layer that have masks of their own."""
        window: Any = getattr(self._config, "sliding_window", None)
        kinds = set(getattr(self._config, "layer_types", None) or ())
        return kinds or {"full_attention" if window is None else "sliding_attention"}

    def _check_trees(self) -> None:
        """Refuses trees where the model does not take the mask; tried out once.

        A model may drop a mask it does not know, or count positions from it.
        """
        if self._trees_checked:
            return
        attention = self._config._attn_implementation
        unknown = set(getattr(self._config, "layer_types", None) or ()) - set(_WINDOWED)
        if attention not in _MASKABLE or unknown or not self.says_positions:
            kinds = "".join(f", {kind}" for kind in sorted(unknown))
            kinds += "" if self.says_positions else ", positions of its own"
            raise InputError(
                f"[HfModel] expected a chain, got a tree: this model's attention ({attention}"
                f"{kinds}) takes no mask of its own; use drafts that are chains"
            )
        if (window := _window_by_slot(self._config)) is not None:
            raise InputError(
                "[HfModel] expected a chain, got a tree: this model's window of "
                f"{window} tokens goes by their places in the cache, not by positions; use drafts "
                "that are chains"
            )
        self._trees_checked = True  # this runs a tree itself
        try:
            error = self._tree_error()
        except Exception as failure:
            self._trees_checked = False
            raise InputError(_NO_TREES + f"it fails: {failure}") from failure
        if not error < (1e-3 if self._model.dtype == torch.float32 else 0.1):
            self._trees_checked = False
            raise InputError(_NO_TREES + f"the logits differ by {error:.2g} of their size")

    def trial_cache(self) -> Any:
        """A cache for what is tried out."""
        return self.new_cache()

    def _tree_error(self) -> float:
        """How far logits of a small tree lie from those of its paths, relative to their size."""
        a, b, left, right, leaf = trial_tokens(self._config, 5)
        text = [a, b]
        slots, cache = Slots(), self.trial_cache()
        self([Part(text, [0, 1], [-1, 0], 0, slots, cache)])
        slots.add([0, 1], [-1, 0])
        tree = self([Part([left, right, leaf], [2, 2, 3], [-1, -1, 1], 3, slots, cache)])
        paths = ([*text, left], [*text, right, leaf])
        chains = [
            self([Part(p, range(len(p)), range(-1, len(p) - 1), 2, Slots(), self.trial_cache())])
            for p in paths
        ]
        expected = torch.cat((chains[0][1:], chains[1]))
        return relative_error(tree.float(), expected.float())


def _window_by_slot(config: Any) -> int | None:
    """The window of a model whose own code counts it in slots: siblings of a tree and the padding
    of a shared pass then push tokens out of it. The trial's text is too short to show that."""
    if config.model_type != "gpt_neo" or "local" not in config.attention_layers:
        return None
    window: int = config.window_size
    return window if window < config.max_position_embeddings else None


def trial_tokens(config: Any, count: int) -> list[int]:
    """Ids to try a model with; none has a meaning of its own (padding, an image ...)."""
    named = {value for name, value in vars(config).items() if name.endswith(("_id", "_index"))}
    ids = [i for i in range(5, min(config.vocab_size, 400)) if i not in named]
    ids = ids or list(range(config.vocab_size))
    return [ids[7 * i % len(ids)] for i in range(count)]


def relative_error(got: torch.Tensor, expected: torch.Tensor) -> float:
    """How far logits [rows, vocab] lie apart, relative to their size; NaN if one of them is."""
    finite = expected.isfinite()  # a model may forbid ids itself
    if not bool((got.isfinite() == finite).all()):
        return float("nan")
    return float((got - expected)[finite].abs().max() / expected[finite].abs().max())


def _logits(output: Any) -> torch.Tensor:
    """[1, tokens, vocab] of a model's output.

    Raises:
        InputError: there are none, as of a classifier.
    """
    logits = getattr(output, "logits", None)
    if logits is None or logits.ndim != 3:
        shape = "none" if logits is None else f"logits {list(logits.shape)}"
        raise InputError(
            f"[HfModel] expected a model with logits [1, tokens, vocab], got {shape}: a classifier "
            "or a model without a head; load the class whose name ends in ForCausalLM"
        )
    return cast("torch.Tensor", logits)


_NO_TREES = (
    "[HfModel] expected a chain, got a tree, and on a tree this model's own forward pass does not "
    "give what it gives on the paths (use drafts that are chains): "
)
