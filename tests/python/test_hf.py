"""The transformers adapter: cut and refed caches, loading. Tiny random models, no network."""

from __future__ import annotations

import ast
import dataclasses
import pathlib
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from hf_toys import (  # noqa: E402
    BUILDERS,
    VOCAB,
    VOCABULARY,
    assert_close,
    build,
    feed,
    fresh,
    llama,
    one_thread,  # noqa: F401
    random_tokens,
    wrap,
)

from anydraft import InputError, hf  # noqa: E402
from anydraft.hf import checks  # noqa: E402


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_cut_and_refed_equals_a_fresh_pass(name: str, pack: bool) -> None:
    reference, model = build(name), wrap(build(name), pack)
    # A prompt, then rounds of a draft of which only a part is kept.
    text = random_tokens(20)
    model([feed(text, rows=1)])
    for step, (new, accepted) in enumerate([(1, 1), (5, 2), (4, 0), (9, 9), (2, 1), (16, 3)]):
        draft = random_tokens(new, seed=step + 1)
        got = model([feed(draft, keep=len(text))])
        assert_close(got, fresh(reference, text + draft)[-new:])
        text += draft[:accepted]
    # Back beyond what a sliding layer of transformers would still hold.
    text = text[:3]
    tail = random_tokens(12, seed=99)
    assert_close(model([feed(tail, keep=3)]), fresh(reference, text + tail)[3:])


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("name", ["llama", "qwen2", "gemma3"])
def test_several_requests_and_rows(name: str, pack: bool) -> None:
    reference, model = build(name), wrap(build(name), pack)
    first, second, third = (random_tokens(n, seed=n) for n in (11, 4, 6))
    got = model(
        [
            feed(first, rows=2, request=3),
            feed(second, rows=0, request=8),
            feed(third, rows=1, request=9),
        ]
    )
    expected = [fresh(reference, first)[-2:], fresh(reference, third)[-1:]]
    assert_close(got, torch.cat(expected))
    more = random_tokens(3, seed=50)
    got = model([feed(more, keep=4, request=8), feed(more, keep=5, request=3)])
    expected = [fresh(reference, second + more)[-3:], fresh(reference, first[:5] + more)[-3:]]
    assert_close(got, torch.cat(expected))
    assert model([]).shape == (0, VOCAB)


def test_cache_grows_over_blocks() -> None:
    model = wrap(llama())
    text = random_tokens(300)
    for start in range(0, 300, 100):
        got = model([feed(text[start : start + 100], keep=start)])
    assert_close(got, fresh(model.model, text)[-100:])
    # Cut, then forward over the edge of the block again.
    got = model([feed(text[250:], keep=250)])
    assert_close(got, fresh(model.model, text)[250:])


def test_keep_none_keeps_all_and_forget_drops() -> None:
    model = wrap(llama())
    text = random_tokens(9)
    model([feed(text[:6])])
    everything = dataclasses.replace(feed(text[6:], keep=6), keep=None)
    assert_close(model([everything]), fresh(model.model, text)[6:])
    model.forget(0)
    model.forget(0)
    with pytest.raises(ValueError, match="at most 0 slots, got 6"):
        model([feed(text[6:], keep=6)])
    assert_close(model([feed(text)]), fresh(model.model, text))


def test_a_failed_pass_is_repaired_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    model = wrap(llama())
    text = random_tokens(8)
    model([feed(text[:5])])

    def fail(*_: Any, **__: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(model.model.model.layers[1].mlp, "forward", fail)
        with pytest.raises(MemoryError):
            model([feed(text[5:], keep=5)])
    assert_close(model([feed(text[5:], keep=5)]), fresh(model.model, text)[5:])


def test_bad_feeds_are_refused() -> None:
    model = wrap(llama())
    model([feed([4, 5, 6, 7])])

    def expect(message: str, **changes: Any) -> None:
        with pytest.raises(ValueError, match=message):
            model([dataclasses.replace(feed([4, 5, 6], keep=4), **changes)])

    expect("4 rows", rows=4)
    expect("0 tokens", tokens=[])
    expect("2 parents", parents=[-1, 0])
    expect("parent 1 of token 1", parents=[-1, 1, 0])
    expect("parent -6 of token 2", parents=[-1, 0, -6])
    expect("increasing slots", keep=[0, 2, 1])
    expect("at most 4 slots, got 5", keep=[0, 1, 4])
    expect("the parent of slot 3 is slot 2", keep=[0, 1, 3])
    # None of them did any harm.
    text = [4, 5, 6, 7, 8]
    assert_close(model([feed([8], keep=4)]), fresh(model.model, text)[-1:])


def test_recurrent_models_are_refused() -> None:
    config = transformers.MambaConfig(vocab_size=VOCAB, hidden_size=16, num_hidden_layers=1)
    with pytest.raises(InputError, match=r"MambaForCausalLM \(logits differ"):
        wrap(transformers.MambaForCausalLM(config))


def test_attributes() -> None:
    model = wrap(llama())
    assert model.vocabulary is VOCABULARY
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
    model = hf.load(llama(), tokenizer=_tokenizer(), vocabulary=VOCABULARY)
    # No space around <bos> and <end>: only specials are found there.
    assert model.chat([{"role": "user", "content": "hi you"}]) == [1, 3, 5, 6, 2, 4]


def test_chat_templates_have_bounds_and_take_their_own_arguments_alone() -> None:
    """As those of native models: a server's clients give arguments too."""
    model = hf.load(llama(), tokenizer=_tokenizer(), vocabulary=VOCABULARY)
    chat = [{"role": "user", "content": "hi"}]
    endless = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    with pytest.raises(InputError, match=r"ChatTemplate\.render"):
        model.chat(chat, chat_template=endless)
    for name in ("truncation", "max_length", "padding", "return_tensors", "tokenizer_kwargs"):
        with pytest.raises(InputError, match=f"{name}, which is of apply_chat_template"):
            model.chat(chat, **{name: 1})
    assert model.chat(chat, add_generation_prompt=False) == [1, 3, 5, 2]
    assert model.chat(chat, chat_template="{{ bos_token }}you") == [1, 6]
    model.tokenizer.chat_template = {"default": "hi", "tool_use": "you"}
    assert model.chat(chat) == [5] and model.chat(chat, chat_template="tool_use") == [6]

    def user(hi: str) -> None:
        """Says hi.

        Args:
            hi: to whom.
        """

    model.tokenizer.chat_template["tool_use"] = "{{ tools[0].function.name }}"
    assert model.chat(chat, tools=[user]) == [3]


def test_load_folder(tmp_path: pathlib.Path) -> None:
    built = llama()
    built.to(torch.bfloat16).save_pretrained(tmp_path)
    _tokenizer().save_pretrained(tmp_path)
    model = hf.load(tmp_path, vocabulary=VOCABULARY, pack=True)
    text = random_tokens(10)
    assert_close(model([feed(text)]), fresh(built.float(), text))
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
        transformers.AutoConfig,
        "from_pretrained",
        lambda *_, **__: (_ for _ in ()).throw(OSError("offline")),
    )
    with pytest.raises(FileNotFoundError, match=r"'nobody/none' .*a name on the hub"):
        hf.load("nobody/none")
    with pytest.raises(ValueError, match="vocabulary or a fast tokenizer"):
        hf.load(llama())


ROOT = pathlib.Path(__file__).parents[2]


def test_a_window_that_goes_by_slots_takes_chains_alone() -> None:
    def gpt_neo(kind: str, **more: Any) -> Any:
        sizes = {"hidden_size": 48, "num_layers": 2, "num_heads": 4, "intermediate_size": 64}
        kinds: list[Any] = [[["global", kind], 1]]
        config = transformers.GPTNeoConfig(
            vocab_size=VOCAB, attention_types=kinds, bos_token_id=1, eos_token_id=2, **sizes, **more
        )
        return transformers.GPTNeoForCausalLM(config).eval()

    tree = feed([5, 6, 7])
    tree.parents, tree.positions = [-1, 0, 0], [0, 1, 1]
    built = gpt_neo("local")
    text = random_tokens(300)  # the window is 256
    assert_close(hf.HfModel(built, VOCABULARY)([feed(text)]), fresh(built, text))
    with pytest.raises(InputError, match="got a tree: this model's window of 256 tokens goes by"):
        hf.HfModel(built, VOCABULARY)([tree])
    for way in ("together", "static"):
        with pytest.raises(InputError, match=f"{way}=False or None.*window of 256 tokens"):
            hf.HfModel(built, VOCABULARY, **{way: True})
    for other in (gpt_neo("global"), gpt_neo("local", max_position_embeddings=256)):
        hf.HfModel(other, VOCABULARY, together=True)([tree])


def test_the_limit_of_a_text_has_several_names() -> None:
    mpt = transformers.MptConfig(
        d_model=32, n_heads=4, n_layers=1, max_seq_len=24, vocab_size=VOCAB
    )
    model = hf.HfModel(transformers.MptForCausalLM(mpt).eval(), VOCABULARY)
    assert model.context_length == 24
    led = transformers.LEDConfig(max_decoder_position_embeddings=40)
    assert checks.context_length(led) == 40
    # Where a model has none: relative positions, or states.
    for none in (transformers.T5Config(), transformers.MambaConfig()):
        assert checks.context_length(none) is None


@pytest.mark.parametrize("file", sorted((ROOT / "python/anydraft/hf").glob("*.py")), ids=str)
def test_what_is_refused_is_an_error_of_the_family(file: pathlib.Path) -> None:
    """No ValueError or NotImplementedError of Python's own; what is not there is no bad input."""
    raised = [
        ast.unparse(node.exc.func)
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
    ]
    assert set(raised) <= {"InputError", "FileNotFoundError", "kind"}


def test_bad_input_is_caught_as_the_reference_says() -> None:
    for call in (
        lambda: hf.load(llama(), pack="yes"),  # type: ignore[arg-type]
        lambda: hf.load(llama()),
        lambda: hf.HfModel(llama(), VOCABULARY, row_costs=[1.0]),
        lambda: hf.HfModel(llama(), VOCABULARY).chat([]),
        lambda: hf.HfModel(llama(), VOCABULARY)([feed([VOCAB])]),
        lambda: hf.HfModel(transformers.LlamaModel(llama().config), VOCABULARY),
    ):
        with pytest.raises(InputError, match=r"^\[[\w.]+\] expected .*got "):
            call()


def test_a_configuration_that_is_wrong_is_bad_input(tmp_path: pathlib.Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "no such type"}')
    with pytest.raises(InputError, match="no such type"):
        hf.load(tmp_path)


def test_it_says_how_many_ids_it_can_be_fed() -> None:
    assert wrap(llama()).input_size == VOCAB
