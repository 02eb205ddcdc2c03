"""The transformers adapter: cut and refed caches, packed layers. Tiny random models, no network."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from anydraft.contrib import hf  # noqa: E402
from anydraft.contrib.kv_cache import RequestCache  # noqa: E402
from anydraft.contrib.packing import PackedLinear, pack_linears  # noqa: E402

_VOCAB = 96
_VOCABULARY = object()  # the adapter only hands it on


@dataclasses.dataclass
class _Feed:
    """The core's Feed: a chain behind the kept slots."""

    request: int
    tokens: list[int]
    positions: list[int]
    parents: list[int]
    keep: range | None
    rows: int


def _feed(tokens: list[int], keep: int = 0, rows: int | None = None, request: int = 0) -> _Feed:
    new = len(tokens)
    rows = new if rows is None else rows
    positions = list(range(keep, keep + new))
    return _Feed(request, tokens, positions, list(range(-1, new - 1)), range(keep), rows)


def _sizes(layers: int = 3, **more: Any) -> dict[str, Any]:
    sizes = {
        "vocab_size": _VOCAB,
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_hidden_layers": layers,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    return {**sizes, **more}


def _llama() -> Any:
    config = transformers.LlamaConfig(**_sizes(tie_word_embeddings=True))
    return transformers.LlamaForCausalLM(config)


def _qwen2() -> Any:
    # Untied, and with biases on q, k and v only, which start as zeros.
    model = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**_sizes()))
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    return model


def _gemma3() -> Any:
    # A window much shorter than the texts below, three layers in four.
    config = transformers.Gemma3TextConfig(
        **_sizes(layers=4, head_dim=8, sliding_window=7, query_pre_attn_scalar=8),
        layer_types=["sliding_attention"] * 2 + ["full_attention", "sliding_attention"],
    )
    return transformers.Gemma3ForCausalLM(config)


_BUILDERS = {"llama": _llama, "qwen2": _qwen2, "gemma3": _gemma3}


@pytest.fixture(params=sorted(_BUILDERS))
def build(request: pytest.FixtureRequest) -> Callable[[], Any]:
    """A function that builds the same random model at every call."""

    def builder() -> Any:
        torch.manual_seed(7)
        return _BUILDERS[request.param]().eval()

    return builder


def _wrap(model: Any, pack: bool = False) -> hf.HfModel:
    return hf.load(model, vocabulary=_VOCABULARY, pack=pack)


def _fresh(model: Any, tokens: list[int]) -> Any:
    """The logits [tokens, vocab] of one forward pass without a cache."""
    with torch.inference_mode():
        return model(torch.tensor([tokens]), use_cache=False).logits[0]


def _random_tokens(count: int, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    drawn: list[int] = torch.randint(3, _VOCAB, (count,), generator=generator).tolist()
    return drawn


def _assert_close(got: Any, expected: Any) -> None:
    assert got.shape == expected.shape
    assert got.dtype == torch.float32
    assert float((got - expected).abs().max()) < 1e-4


@pytest.mark.parametrize("pack", [False, True])
def test_cut_and_refed_equals_a_fresh_pass(build: Callable[[], Any], pack: bool) -> None:
    reference, model = build(), _wrap(build(), pack)
    # A prompt, then rounds of a draft of which only a part is kept.
    text = _random_tokens(20)
    model([_feed(text, rows=1)])
    for step, (new, accepted) in enumerate([(1, 1), (5, 2), (4, 0), (9, 9), (2, 1), (16, 3)]):
        draft = _random_tokens(new, seed=step + 1)
        got = model([_feed(draft, keep=len(text))])
        _assert_close(got, _fresh(reference, text + draft)[-new:])
        text += draft[:accepted]
    # Back beyond what a sliding layer of transformers would still hold.
    text = text[:3]
    tail = _random_tokens(12, seed=99)
    _assert_close(model([_feed(tail, keep=3)]), _fresh(reference, text + tail)[3:])


@pytest.mark.parametrize("pack", [False, True])
def test_several_requests_and_rows(build: Callable[[], Any], pack: bool) -> None:
    reference, model = build(), _wrap(build(), pack)
    first, second, third = (_random_tokens(n, seed=n) for n in (11, 4, 6))
    got = model(
        [
            _feed(first, rows=2, request=3),
            _feed(second, rows=0, request=8),
            _feed(third, rows=1, request=9),
        ]
    )
    expected = [_fresh(reference, first)[-2:], _fresh(reference, third)[-1:]]
    _assert_close(got, torch.cat(expected))
    more = _random_tokens(3, seed=50)
    got = model([_feed(more, keep=4, request=8), _feed(more, keep=5, request=3)])
    expected = [_fresh(reference, second + more)[-3:], _fresh(reference, first[:5] + more)[-3:]]
    _assert_close(got, torch.cat(expected))
    assert model([]).shape == (0, _VOCAB)


def test_cache_grows_over_blocks() -> None:
    model = _wrap(_llama())
    text = _random_tokens(300)
    for start in range(0, 300, 100):
        got = model([_feed(text[start : start + 100], keep=start)])
    _assert_close(got, _fresh(model.model, text)[-100:])
    # Cut, then forward over the edge of the block again.
    got = model([_feed(text[250:], keep=250)])
    _assert_close(got, _fresh(model.model, text)[250:])


def test_keep_none_keeps_all_and_forget_drops() -> None:
    model = _wrap(_llama())
    text = _random_tokens(9)
    model([_feed(text[:6])])
    feed = dataclasses.replace(_feed(text[6:], keep=6), keep=None)
    _assert_close(model([feed]), _fresh(model.model, text)[6:])
    model.forget(0)
    model.forget(0)
    with pytest.raises(ValueError, match="at most 0 slots, got 6"):
        model([_feed(text[6:], keep=6)])
    _assert_close(model([_feed(text)]), _fresh(model.model, text))


def test_a_failed_pass_is_repaired_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    model = _wrap(_llama())
    text = _random_tokens(8)
    model([_feed(text[:5])])

    def fail(*_: Any, **__: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(model.model.model.layers[1].mlp, "forward", fail)
        with pytest.raises(MemoryError):
            model([_feed(text[5:], keep=5)])
    _assert_close(model([_feed(text[5:], keep=5)]), _fresh(model.model, text)[5:])


def test_trees_and_bad_feeds_are_refused() -> None:
    model = _wrap(_llama())
    tree = dataclasses.replace(_feed([4, 5, 6]), parents=[-1, 0, 0])
    with pytest.raises(NotImplementedError, match="tree attention is not implemented"):
        model([tree])
    with pytest.raises(NotImplementedError, match="prefix"):
        model([dataclasses.replace(_feed([4]), keep=range(1, 3))])
    with pytest.raises(ValueError, match="4 rows"):
        model([_feed([4, 5, 6], rows=4)])
    with pytest.raises(ValueError, match="0 tokens"):
        model([_feed([])])


def test_recurrent_models_are_refused() -> None:
    config = transformers.MambaConfig(vocab_size=_VOCAB, hidden_size=16, num_hidden_layers=1)
    with pytest.raises(NotImplementedError, match="cannot be taken back"):
        _wrap(transformers.MambaForCausalLM(config))


def test_attributes() -> None:
    model = _wrap(_llama())
    assert model.vocabulary is _VOCABULARY
    assert model.context_length == 512
    assert model.device == torch.device("cpu")
    assert model.tokenizer is None
    with pytest.raises(ValueError, match="chat template"):
        model.chat([{"role": "user", "content": "hi"}])


def _tokenizer() -> Any:
    tokenizers = pytest.importorskip("tokenizers")
    words = ["<pad>", "<bos>", "<end>", "user", "assistant", "hi", "you"]
    level = tokenizers.models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<pad>")
    inner = tokenizers.Tokenizer(level)
    inner.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<bos>", eos_token="<end>", pad_token="<pad>"
    )
    tokenizer.chat_template = (
        "<bos>{% for m in messages %}{{ m.role }} {{ m.content }}<end>{% endfor %}"
        "{% if add_generation_prompt %}assistant{% endif %}"
    )
    return tokenizer


def test_chat_gives_specials_as_special_ids() -> None:
    model = hf.load(_llama(), tokenizer=_tokenizer(), vocabulary=_VOCABULARY)
    # No space around <bos> and <end>: only specials are found there.
    assert model.chat([{"role": "user", "content": "hi you"}]) == [1, 3, 5, 6, 2, 4]


def test_load_folder(tmp_path: pathlib.Path) -> None:
    built = _llama()
    built.to(torch.bfloat16).save_pretrained(tmp_path)
    _tokenizer().save_pretrained(tmp_path)
    model = hf.load(tmp_path, vocabulary=_VOCABULARY, pack=True)
    text = _random_tokens(10)
    _assert_close(model([_feed(text)]), _fresh(built.float(), text))
    assert model.chat([{"role": "user", "content": "hi"}]) == [1, 3, 5, 2, 4]


def test_missing_models_say_where_they_were_looked_for(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        hf.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        hf.load("./nowhere")
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        hf.load(str(tmp_path))
    monkeypatch.setattr(
        transformers.AutoModelForCausalLM,
        "from_pretrained",
        lambda *_, **__: (_ for _ in ()).throw(OSError("offline")),
    )
    with pytest.raises(FileNotFoundError, match=r"'nobody/none' .*a name on the hub"):
        hf.load("nobody/none")
    with pytest.raises(ValueError, match="vocabulary or a fast tokenizer"):
        hf.load(_llama())


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
    model = _llama()
    embedding = model.get_input_embeddings().weight.clone()
    expected = _fresh(model, [5, 6, 7])
    assert pack_linears(model) is model
    assert torch.equal(model.get_input_embeddings().weight, embedding)
    assert isinstance(model.lm_head, PackedLinear)
    assert not any(isinstance(module, torch.nn.Linear) for module in model.modules())
    left = [name for name, _ in model.named_parameters() if "norm" not in name]
    assert left == ["model.embed_tokens.weight"]
    _assert_close(_fresh(model, [5, 6, 7]), expected)
    with pytest.raises(ValueError, match="got none"):
        pack_linears(model)
    with pytest.raises(ValueError, match="got none"):
        pack_linears(torch.nn.Linear(4, 4).to(torch.bfloat16))


def test_generate_runs_on_packed_models(build: Callable[[], Any]) -> None:
    stock, packed, assistant = build(), pack_linears(build()), pack_linears(_llama())
    # Two rows of different length: padding goes through the mask.
    prompt = torch.tensor([_random_tokens(9), [0, 0, 0, *_random_tokens(6, seed=1)]])
    options = {"max_new_tokens": 12, "do_sample": False}
    for rows in (prompt[:1], prompt):
        inputs = {"input_ids": rows, "attention_mask": (rows != 0).long()}
        expected = stock.generate(**inputs, **options)
        assert torch.equal(packed.generate(**inputs, **options), expected)
    inputs = {"input_ids": prompt[:1], "attention_mask": torch.ones_like(prompt[:1])}
    expected = stock.generate(**inputs, **options)
    assert torch.equal(packed.generate(**inputs, assistant_model=assistant, **options), expected)


def test_request_cache_refuses_slots_it_does_not_hold() -> None:
    cache = RequestCache()
    cache.keep(0)
    with pytest.raises(ValueError, match="at most 0 slots, got 1"):
        cache.keep(1)
