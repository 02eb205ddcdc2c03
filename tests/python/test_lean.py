"""The lean forward pass: taken where every part is known, left where one is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from hf_toys import (  # noqa: E402
    BUILDERS,
    Feed,
    assert_close,
    build,
    feed,
    fresh,
    llama,
    one_thread,  # noqa: F401
    phi3,
    random_tokens,
    sizes,
    wrap,
)

from anydraft.hf.lean import decoder as lean  # noqa: E402
from anydraft.hf.lean import families  # noqa: E402


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_known_families_are_recognised(name: str) -> None:
    assert wrap(build(name), pack=True).lean is not None
    assert wrap(build(name)).lean is None


def _subclassed() -> Any:
    model = llama()

    class Own(type(model.model.layers[1].self_attn)):  # type: ignore[misc]
        pass

    model.model.layers[1].self_attn.__class__ = Own
    return model


def _hooked() -> Any:
    model = llama()
    model.model.layers[2].mlp.register_forward_hook(lambda *_: None)
    return model


def _patched() -> Any:
    model = llama()
    attention = model.model.layers[0].self_attn
    attention.forward = attention.forward
    return model


def _partly_rotated() -> Any:
    rope = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}
    config = transformers.Phi3Config(**sizes(), rope_parameters=rope)
    return transformers.Phi3ForCausalLM(config)


def _capped() -> Any:
    config = transformers.Gemma3TextConfig(**sizes(head_dim=8), final_logit_softcapping=3.0)
    return transformers.Gemma3ForCausalLM(config)


def _dynamic() -> Any:
    return llama(rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0})


def _olmo2() -> Any:
    return transformers.Olmo2ForCausalLM(transformers.Olmo2Config(**sizes()))


_UNKNOWN = (_subclassed, _hooked, _patched, _partly_rotated, _capped, _dynamic, _olmo2)


@pytest.mark.parametrize("builder", _UNKNOWN, ids=lambda builder: str(builder.__name__))
def test_others_keep_their_own_forward_pass(builder: Callable[[], Any]) -> None:
    torch.manual_seed(7)
    model = wrap(builder(), pack=True)
    assert model.lean is None
    text = random_tokens(12)
    assert_close(model([feed(text[:8])]), fresh(model.model, text)[:8])
    assert_close(model([feed(text[8:], keep=8)]), fresh(model.model, text)[8:])


def test_a_lean_pass_that_differs_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*arguments: Any) -> Any:
        return families.rope_table(*arguments).flip(1)

    monkeypatch.setattr(lean, "rope_table", wrong)
    with pytest.warns(RuntimeWarning, match=r"LlamaForCausalLM: transformers' own is used"):
        model = wrap(llama(), pack=True)
    assert model.lean is None
    text = random_tokens(12)
    assert_close(model([feed(text)]), fresh(model.model, text))


def test_long_texts_grow_tables_and_caches() -> None:
    config = transformers.Phi3Config(**sizes(layers=2, max_position_embeddings=4096))
    model = wrap(transformers.Phi3ForCausalLM(config), pack=True)
    assert model.lean is not None
    text = random_tokens(1100)
    expected = fresh(model.model, text)
    for start, end in ((0, 400), (400, 401), (401, 1023), (1023, 1030), (1030, 1100)):
        got = model([feed(text[start:end], keep=start, rows=1)])
        assert_close(got, expected[end - 1 : end])
    assert_close(model([feed(text[300:305], keep=300)]), expected[300:305])


def test_hooks_see_the_lean_pass() -> None:
    model = wrap(phi3(), pack=True)
    seen = []
    assert model.lean is not None
    model.lean.register_forward_hook(lambda *_: seen.append(1))
    model([feed([4, 5]), feed([6], request=1)])
    assert len(seen) == 1


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_a_requests_rows_do_not_depend_on_its_neighbours(name: str) -> None:
    """To the bit: several requests in one pass, and each in a pass of its own."""
    model = wrap(build(name), pack=True)
    tree = Feed(2, random_tokens(5), [11, 12, 12, 13, 13], [-1, 0, 0, 1, 2], range(11), 4)
    feeds = [
        feed(random_tokens(3), keep=30, request=0),
        feed(random_tokens(40, seed=1), request=1, rows=1),
        tree,
        feed(random_tokens(1), keep=9, request=3),
    ]
    rows = []
    for together in (False, True):
        for f in feeds:
            model.forget(f.request)
            if len(f.keep):
                model([feed(random_tokens(len(f.keep)), request=f.request, rows=0)])
        rows.append(model(feeds) if together else torch.cat([model([f]) for f in feeds]))
    assert torch.equal(*rows)
    with pytest.raises(ValueError, match="one feed a request"):
        model([tree, tree])
