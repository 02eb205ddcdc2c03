"""Recurrent and encoder-decoder models, rotary borders, and what is refused when loaded."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from hf_toys import (  # noqa: E402
    VOCAB,
    VOCABULARY,
    assert_close,
    build,
    feed,
    fresh,
    llama,
    one_thread,  # noqa: F401
    random_tokens,
    sizes,
    wrap,
)

from anydraft import InputError, SamplingParams, SpeculativeSession, Vocabulary, hf  # noqa: E402
from tests.models import play, tiny  # noqa: E402

RECURRENT = {
    "Qwen3NextForCausalLM": "qwen3_next",
    "Mamba2ForCausalLM": "mamba2",
    "FalconH1ForCausalLM": "falcon_h1",
    "Lfm2ForCausalLM": "lfm2",
}


SPELT = Vocabulary.from_bytes([bytes([i]) for i in range(tiny.VOCAB)], encoder=str.encode)


def recurrent(name: str, seed: int = 0) -> Any:
    return tiny.build(name, RECURRENT[name], seed)


def text_of(count: int, seed: int = 0) -> list[int]:
    return [token % tiny.VOCAB for token in random_tokens(count, seed)]


@pytest.mark.parametrize("name", RECURRENT)
def test_a_snapshot_that_lags_gives_the_rows_of_a_fresh_pass(name: str) -> None:
    built = recurrent(name)
    model = wrap(built)
    text = text_of(20)
    model([feed(text, rows=1)])
    for step, accepted in enumerate([4, 0, 1, 2, 4, 3, 0, 0, 1]):
        draft = text_of(5, seed=step + 1)
        got = model([feed(draft, keep=len(text))])
        assert_close(got, fresh(built, text + draft)[-5:])
        text += draft[: 1 + accepted]
    # Back to before every snapshot.
    assert_close(model([feed(text[3:9], keep=3)]), fresh(built, text[:9])[3:])
    # A drafter's steps, of which the last ones are taken back.
    for place in range(9, 14):
        got = model([feed([text[place]], keep=place)])
        assert_close(got, fresh(built, text[: place + 1])[-1:])
    assert_close(model([feed(text[11:13], keep=11)]), fresh(built, text[:13])[11:])


def test_extra_passes_are_few() -> None:
    """Four drafts a round, each accepted at 0.7: fewer than one pass in 8 is an extra one."""
    model = wrap(recurrent("Mamba2ForCausalLM"))
    before = model.passes
    random = torch.Generator().manual_seed(1)
    held = 0
    for _ in range(200):
        model([feed(text_of(5, seed=held), keep=held, request=1)])
        kept = torch.rand(4, generator=random) < 0.7
        held += 1 + int(kept.long().cumprod(0).sum())
    passes, extra = (now - then for now, then in zip(model.passes, before, strict=True))
    assert passes == 200 + extra
    assert extra < passes / 8


@pytest.mark.parametrize("name", RECURRENT)
def test_a_failed_pass_leaves_the_snapshot(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    built = recurrent(name)
    model = wrap(built)
    text = text_of(12)
    model([feed(text[:8], rows=1)])
    layers = built.get_decoder().layers
    last = layers[len(layers) - 1]

    def fail(*_: Any, **__: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(last, "forward", fail)
        with pytest.raises(MemoryError):
            model([feed(text[8:], keep=8)])
    assert_close(model([feed(text[8:], keep=8)]), fresh(built, text)[8:])


@pytest.mark.parametrize("name", RECURRENT)
def test_a_session_goes_on_behind_passes_that_failed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two requests; every fifth pass of the target's last layer fails, whatever it is for."""
    built = recurrent(name)
    params = SamplingParams(temperature=0.8, seed=5, max_tokens=24)

    def texts(fail_every: int) -> tuple[list[list[int]], int]:
        target = hf.load(built, vocabulary=SPELT, pack=False)
        drafter = hf.load(recurrent(name, seed=3), vocabulary=SPELT, pack=False)
        layers = built.get_decoder().layers
        last, calls, failed = layers[len(layers) - 1], 0, 0
        forward = last.forward

        def sometimes(*args: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if fail_every and calls % fail_every == 0:
                raise MemoryError
            return forward(*args, **options)

        session = SpeculativeSession(target, drafter, bridge="same", sampling=params)
        handles = [session.add(text_of(9, seed), sampling=params) for seed in (1, 2)]
        with monkeypatch.context() as patch:
            patch.setattr(last, "forward", sometimes)
            while not all(handle.ended for handle in handles):
                try:
                    session.step()
                except MemoryError:
                    failed += 1
        return [list(handle.tokens) for handle in handles], failed

    expected, _ = texts(0)
    found, failed = texts(5)
    assert failed > 3
    assert found == expected


def test_trees_are_refused_where_there_is_one_past() -> None:
    model = wrap(recurrent("Lfm2ForCausalLM"))
    tree = feed([5, 6, 7])
    tree.parents, tree.positions = [-1, 0, 0], [0, 1, 1]
    with pytest.raises(InputError, match="expected a chain, got a tree"):
        model([tree])


def longrope() -> Any:
    factors = {"short_factor": [1.0] * 4, "long_factor": [9.0] * 4}
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 20}
    model = llama(rope_parameters=rope | factors | {"factor": 4.0}, num_attention_heads=6)
    tiny.spread(model, 3)
    return model.eval()


def test_rows_before_the_rotary_border_do_not_see_what_lies_beyond() -> None:
    model, steps = wrap(longrope()), wrap(longrope())
    text = random_tokens(26)
    for one in (model, steps):
        one([feed(text[:16], rows=1)])
    got = model([feed(text[16:], keep=16)])
    expected = [steps([feed([text[i]], keep=i)]) for i in range(16, 26)]
    assert_close(got, torch.cat(expected))
    # A tree across the border: its paths, one by one.
    tree = feed([7, 8, 9, 10], keep=19)
    tree.parents, tree.positions = [-1, 0, 0, 2], [19, 20, 20, 21]
    got = model([tree])
    for path, rows in (([7, 8], [0, 1]), ([7, 9, 10], [0, 2, 3])):
        for place, token in enumerate(path):
            row = steps([feed([token], keep=19 + place)])
            assert_close(got[rows[place]][None], row)


@pytest.mark.parametrize("way", ["together", "static"])
def test_texts_on_different_sides_of_the_rotary_border_share_no_pass(way: str) -> None:
    built = longrope()
    model = hf.load(built, vocabulary=VOCABULARY, pack=False, **{way: True})
    passes: list[int] = []
    built.register_forward_hook(lambda *_: passes.append(1))
    # Below, beyond and below; the border is at 20.
    texts = [random_tokens(length, seed=length) for length in (6, 30, 9, 8)]
    for i, text in enumerate(texts):
        model([feed(text, request=i, rows=1)])
    new, before = [[5, 6, 7], [8, 9], [10], [11, 12]], len(passes)
    got = model([feed(n, len(texts[i]), request=i) for i, n in enumerate(new)])
    assert len(passes) - before == 3  # the last two share one
    expected = [fresh(built, texts[i] + n)[-len(n) :] for i, n in enumerate(new)]
    assert_close(got, torch.cat(expected))


def test_dynamic_angles_end_at_their_border() -> None:
    rope = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    model = wrap(llama(rope_parameters=rope, max_position_embeddings=24))
    assert model.context_length == 24
    with pytest.raises(ValueError, match="dynamic NTK"):
        model([feed(random_tokens(25))])


def test_what_has_no_language_head_is_refused(tmp_path: pathlib.Path) -> None:
    config = transformers.LlamaConfig(**sizes())
    for kind in (transformers.LlamaForSequenceClassification, transformers.LlamaModel):
        with pytest.raises(InputError, match="expected a model with a language head"):
            wrap(kind(config))
        kind(config).save_pretrained(tmp_path / kind.__name__)
        with pytest.raises(ValueError, match=r"got none for lm_head\.weight"):
            hf.load(tmp_path / kind.__name__, vocabulary=VOCABULARY)


def test_a_model_whose_tokens_see_later_ones_is_refused() -> None:
    config = transformers.BertConfig(**sizes(), is_decoder=False)
    with pytest.raises(InputError, match="tokens see later ones"):
        wrap(transformers.BertLMHeadModel(config))


@pytest.mark.parametrize("limit", [0, -5])
def test_context_limits_that_are_none(limit: Any) -> None:
    model = llama()
    model.config.max_position_embeddings = limit
    with pytest.raises(ValueError, match="max_position_embeddings >= 1"):
        wrap(model)
    model.config.max_position_embeddings = 10**30  # what tokenizers write for "no limit"
    assert wrap(model).context_length is None


def encoder_decoder(name: str = "BartForConditionalGeneration", seed: int = 0) -> Any:
    kind = tiny.encoder_decoder_classes()[name]
    return hf.load(tiny.build(name, kind, seed), vocabulary=play.vocabulary(64), pack=False)


def test_the_encoder_runs_once_a_request() -> None:
    model = encoder_decoder()
    calls: list[int] = []
    model.model.get_encoder().register_forward_hook(lambda *_: calls.append(1))
    with pytest.raises(ValueError, match="expected open"):
        model([feed([1])])
    got = play.decode(model, model, [[5, 6, 7, 8], [9, 10, 11]], tokens=12)
    assert len(calls) == 4  # two requests, and a drafter that was opened for each
    assert got[0] == play.generated(model.model, [5, 6, 7, 8], 12)[1:]


def test_a_drafter_with_the_same_encoder_takes_its_output() -> None:
    target, drafter = encoder_decoder(), encoder_decoder(seed=1)
    prompt = [5, 6, 7, 8]
    target.open(0, prompt, target)
    drafter.open(1, prompt, target)
    assert drafter._opened[1][1] is not target._opened[0][1]
    drafter = encoder_decoder(seed=1)
    drafter.model.get_encoder().load_state_dict(target.model.get_encoder().state_dict())
    drafter.open(1, prompt, target)
    assert drafter._opened[1][1] is target._opened[0][1]


def test_languages_and_tasks_that_are_not_known() -> None:
    model = encoder_decoder("WhisperForConditionalGeneration")
    config = model.model.generation_config
    config.is_multilingual = True
    config.lang_to_id, config.task_to_id = {"<|de|>": 7, "<|en|>": 8}, {"transcribe": 9}
    start = model.decoder_prompt({"language": "en"})
    assert start == model.decoder_prompt({"language": "<|en|>", "task": "transcribe"})
    assert {8, 9} <= set(start)
    with pytest.raises(InputError, match=r"language out of <\|de\|>, <\|en\|>, got '<\|xx\|>'"):
        model.decoder_prompt({"language": "xx"})
    with pytest.raises(InputError, match="task out of transcribe, got 'sing'"):
        model.decoder_prompt({"language": "en", "task": "sing"})


def test_a_decoder_pass_that_failed_half_way(monkeypatch: pytest.MonkeyPatch) -> None:
    model = encoder_decoder()
    model.open(0, [5, 6, 7])
    model.open(1, [5, 6, 7])
    text = [1, 9, 8, 7]
    expected = model([feed(text, request=1)])
    last = model.model.get_decoder().layers[-1]

    def fail(*_: Any, **__: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(last, "forward", fail)
        with pytest.raises(MemoryError):
            model([feed(text)])
    assert_close(model([feed(text)]), expected)


def test_what_the_generation_config_forbids() -> None:
    built = llama()
    built.generation_config.bad_words_ids = [[7], [8, 9]]
    built.generation_config.suppress_tokens = [4]
    with pytest.warns(RuntimeWarning, match="bad_words_ids of several tokens"):
        model = wrap(built)
    row = model([feed([5, 6], rows=1)])[0]
    assert [i for i in range(VOCAB) if row[i] == -torch.inf] == [4, 7]
    built = llama()
    built.generation_config.repetition_penalty = 1.1
    with pytest.warns(RuntimeWarning, match="give SamplingParams.repetition_penalty=1.1."):
        wrap(built)


@pytest.mark.filterwarnings(
    "ignore:torch.ao.quantization is deprecated", "ignore:.*quantize_dynamic"
)
def test_a_quantised_model_is_its_own_target() -> None:
    """Inputs are rounded by call here, so rows depend on their number: said, not refused."""
    quantize: Any = torch.ao.quantization.quantize_dynamic
    built = quantize(llama().eval(), {torch.nn.Linear}, dtype=torch.qint8)
    with pytest.warns(RuntimeWarning, match="depend on how many are computed together"):
        model = wrap(built)
    text = random_tokens(9)
    got = model([feed(text)])
    assert torch.equal(got.argmax(-1), fresh(built, text).argmax(-1))


@pytest.mark.parametrize("name", ["llama", "gemma3", "mistral"])
def test_requests_of_one_pass_get_their_own_rows(name: str) -> None:
    built = build(name)
    model = hf.load(built, vocabulary=VOCABULARY, pack=False, together=True)
    passes: list[int] = []
    built.register_forward_hook(lambda *_: passes.append(1))
    texts = [random_tokens(length, seed=length) for length in (11, 4, 17)]
    model([feed(text, request=i, rows=1) for i, text in enumerate(texts)])
    new = [random_tokens(length, seed=40 + length) for length in (3, 1, 5)]
    feeds = [
        feed(n, keep=len(t), request=i) for i, (t, n) in enumerate(zip(texts, new, strict=True))
    ]
    tree = feed([7, 8, 9], keep=len(texts[1]), request=1)
    tree.parents, tree.positions = [-1, -1, 1], [4, 4, 5]
    feeds[1] = tree
    got = model(feeds)
    assert len(passes) == 2
    expected = [fresh(built, texts[0] + new[0])[-3:]]
    expected += [fresh(built, [*texts[1], 7])[-1:], fresh(built, [*texts[1], 8, 9])[-2:]]
    expected += [fresh(built, texts[2] + new[2])[-5:]]
    assert_close(got, torch.cat(expected))
    # The branch that was kept, and a cut.
    kept = dataclasses.replace(feed([5], keep=6, request=1), keep=[0, 1, 2, 3, 5, 6])
    got = model([feed([6], keep=9, request=0), kept])
    expected = [fresh(built, [*texts[0][:9], 6])[-1:], fresh(built, [*texts[1], 8, 9, 5])[-1:]]
    assert_close(got, torch.cat(expected))


def test_rows_keep_the_dtype_of_their_model() -> None:
    model = wrap(llama().to(torch.bfloat16))
    assert model([feed([5, 6, 7])]).dtype == torch.bfloat16


def test_a_tokenizer_that_is_not_read_natively_is_encoded_by_its_owner(
    tmp_path: pathlib.Path,
) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    owner = Tokenizer(models.BPE({sign: i for i, sign in enumerate("abcdé ")}, []))
    owner.pre_tokenizer = pre_tokenizers.UnicodeScripts()
    built = llama(vocab_size=6)
    built.save_pretrained(tmp_path)
    owner.save(str(tmp_path / "tokenizer.json"))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=owner)
    with pytest.warns(UserWarning, match="UnicodeScripts.*encoding with the tokenizers library"):
        model = hf.load(tmp_path, tokenizer=tokenizer, pack=False)
    text = "a bé dé"
    assert model.vocabulary.encode(text) == owner.encode(text).ids
    assert model.vocabulary.decode(owner.encode(text).ids) == text.encode()


def test_snapshots_lag_by_what_rows_cost() -> None:
    flat, steep = [0.0, *[1.0] * 8], [0.0, *map(float, range(1, 9))]
    limits = []
    for costs in (flat, None, steep):
        built = recurrent("Mamba2ForCausalLM")
        model = hf.load(built, vocabulary=SPELT, pack=False, row_costs=costs)
        text, most = text_of(8), 0
        model([feed(text, rows=1)])
        before = model.passes[1]
        for step in range(60):  # no draft is ever accepted: the snapshot lags a token more a round
            draft = text_of(5, seed=step + 1)
            model([feed(draft, keep=len(text))])
            if model.passes[1] > before:
                break
            text, most = text + draft[:1], step
        limits.append(most)
    assert limits[0] > limits[1] > limits[2]
    with pytest.raises(ValueError, match="row_costs of at least 0 and 1 rows, got 1"):
        hf.load(recurrent("Mamba2ForCausalLM"), vocabulary=SPELT, pack=False, row_costs=[0.0])
