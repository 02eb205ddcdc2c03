"""Packed layers: the same numbers, in transformers' own forward pass too."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from hf_toys import (  # noqa: E402
    BUILDERS,
    assert_close,
    build,
    fresh,
    llama,
    one_thread,  # noqa: F401
    random_tokens,
)

from anydraft.hf.packing import PackedLinear, pack_linears  # noqa: E402


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
