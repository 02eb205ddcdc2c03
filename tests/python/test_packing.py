"""Packed layers: the same numbers, in transformers' own forward pass too."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from hf_toys import (  # noqa: E402
    BUILDERS,
    assert_close,
    build,
    feed,
    fresh,
    llama,
    one_thread,  # noqa: F401
    random_tokens,
    wrap,
)

from anydraft import InputError  # noqa: E402
from anydraft.hf import packing  # noqa: E402
from anydraft.hf.packing import PackedLinear, pack_linears  # noqa: E402
from tests.models import tiny  # noqa: E402


def tiny_text(count: int) -> list[int]:
    return [5 + token % 50 for token in random_tokens(count)]


def test_packed_linear_equals_linear() -> None:
    torch.manual_seed(0)
    for bias in (False, True):
        linear = torch.nn.Linear(40, 72, bias=bias)
        packed = PackedLinear(linear.weight, linear.bias, rows_hint=8)
        assert torch.equal(packed.weight, linear.weight)
        with torch.inference_mode():
            for shape in ((40,), (1, 40), (7, 40), (2, 5, 40), (1, 70, 40)):
                x = torch.randn(shape)
                torch.testing.assert_close(packed(x), linear(x))
            x = torch.randn(40, 9).t()
            torch.testing.assert_close(packed(x), linear(x))


def test_fused_projections_survive_other_inputs() -> None:
    torch.manual_seed(0)
    model = torch.nn.Module()
    linears = {n: torch.nn.Linear(16, o) for n, o in (("q_proj", 24), ("k_proj", 8), ("v_proj", 8))}
    for name, linear in linears.items():
        model.add_module(name, linear)
    pack_linears(model)
    a, b = torch.randn(3, 16), torch.randn(3, 16)
    # In order, out of order, of two inputs, and after the input changed in place.
    for order in ("qkv", "vkq", "kqv", "kkv", "vv"):
        for x in (a, b):
            for letter in order:
                name = f"{letter}_proj"
                torch.testing.assert_close(getattr(model, name)(x), linears[name](x))
        a.add_(1.0)
    for name, linear in linears.items():
        assert torch.equal(getattr(model, name).weight, linear.weight)
        assert torch.equal(getattr(model, name).bias, linear.bias)


def test_packing_leaves_tied_embeddings_and_releases_the_rest() -> None:
    model = llama()
    embedding = model.get_input_embeddings().weight.clone()
    expected = fresh(model, [5, 6, 7])
    assert pack_linears(model) is model
    assert torch.equal(model.get_input_embeddings().weight, embedding)
    assert isinstance(model.lm_head, PackedLinear)
    assert not any(isinstance(module, torch.nn.Linear) for module in model.modules())
    left = [name for name, _ in model.named_parameters() if "norm" not in name]
    assert left == ["model.embed_tokens.weight"]
    assert_close(fresh(model, [5, 6, 7]), expected)
    with pytest.raises(ValueError, match="got none"):
        pack_linears(model)
    with pytest.raises(ValueError, match="got none"):
        pack_linears(torch.nn.Linear(4, 4).to(torch.bfloat16))


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_generate_runs_on_packed_models(name: str) -> None:
    stock, packed, assistant = build(name), pack_linears(build(name)), pack_linears(llama())
    # Two rows of different length: padding goes through the mask.
    prompt = torch.tensor([random_tokens(9), [0, 0, 0, *random_tokens(6, seed=1)]])
    options = {"max_new_tokens": 12, "do_sample": False}
    for rows in (prompt[:1], prompt):
        inputs = {"input_ids": rows, "attention_mask": (rows != 0).long()}
        expected = stock.generate(**inputs, **options)
        assert torch.equal(packed.generate(**inputs, **options), expected)
    inputs = {"input_ids": prompt[:1], "attention_mask": torch.ones_like(prompt[:1])}
    expected = stock.generate(**inputs, **options)
    assert torch.equal(packed.generate(**inputs, assistant_model=assistant, **options), expected)


def shared_keys() -> Any:
    """A Gemma 4 whose last layers read the keys of earlier ones."""
    layers = {"num_hidden_layers": 12, "num_kv_shared_layers": 6}
    with pytest.MonkeyPatch.context() as patch:
        for name, size in layers.items():
            patch.setitem(tiny._SIZES, name, size)
        return tiny.build("Gemma4ForCausalLM", tiny.causal_classes()["Gemma4ForCausalLM"])


def test_last_rows_of_a_packed_model_with_shared_keys() -> None:
    stock, packed = shared_keys(), wrap(pack_linears(shared_keys()))
    text = tiny_text(18)
    assert_close(packed([feed(text, rows=3)]), fresh(stock, text)[-3:])


@pytest.mark.parametrize("name", ["DeepseekV32ForCausalLM", "GlmMoeDsaForCausalLM"])
def test_packed_models_with_sparse_attention(name: str) -> None:
    stock, packed = (tiny.build(name, tiny.causal_classes()[name]) for _ in range(2))
    text = tiny_text(30)  # more than the index picks
    assert_close(fresh(pack_linears(packed), text), fresh(stock, text))


def test_the_attention_is_left_to_models_that_ask_for_its_name() -> None:
    kinds = tiny.causal_classes()
    for name, left in (("LlamaForCausalLM", False), ("FalconForCausalLM", True)):
        packed = pack_linears(tiny.build(name, kinds[name]))
        assert (packed.config._attn_implementation == "sdpa") == left
    namespace = {"__name__": "nowhere"}  # code that cannot be read
    exec("from torch import nn\nclass Odd(nn.Linear): pass", namespace)
    model = llama()
    model.add_module("odd", namespace["Odd"](4, 4))
    assert pack_linears(model).config._attn_implementation == "sdpa"


def test_attention_that_is_handed_more_than_a_mask_is_refused() -> None:
    states, mask = torch.zeros(1, 2, 3, 4), torch.zeros(1, 1, 3, 3)
    module, given = torch.nn.Identity(), {"sliding_window": 8, "sinks": None}
    packing._grouped_attention(module, states, states, states, mask, **given)
    with pytest.raises(InputError, match=r"got indices, sinks from Identity: .* pack=False"):
        packing._grouped_attention(module, states, states, states, mask, indices=1, sinks=2)


def test_a_model_that_loses_causality_in_its_last_rows_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packing, "_asks_for_sdpa", lambda _: False)
    with pytest.raises(InputError, match="expected a model that gives the same logits"):
        wrap(pack_linears(shared_keys()))
