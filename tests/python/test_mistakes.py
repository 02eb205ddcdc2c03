"""What users get wrong, and what they are told; values that are handed on, compared and kept."""

import copy
import pickle
import threading

import numpy as np
import pytest
from toys import constant, letters

from anydraft import (
    InputError,
    NonFiniteLogitsError,
    Penalties,
    SamplingParams,
    SpeculativeSession,
    _core,
)

BOTH = letters(b"a", b"b")
GREEDY = SamplingParams(temperature=0)


def session(**options):
    return SpeculativeSession(constant(BOTH, [0.4, 0.6]), "lookup", sampling=GREEDY, **options)


def test_sampling_params_are_values():
    params = SamplingParams(temperature=0.5, top_k=3, top_p=0.9, min_p=0.1, seed=2**64 - 1)
    for same in (pickle.loads(pickle.dumps(params)), copy.copy(params), copy.deepcopy(params)):
        assert same == params
        assert {params: "found"}[same] == "found"
    assert params != SamplingParams(temperature=0.5, top_k=3, top_p=0.9, min_p=0.1, seed=1)
    assert params != "params"
    assert SamplingParams(seed=np.int64(7)) == SamplingParams(seed=7)
    for seed in (-1, 2**64):
        with pytest.raises(InputError, match=rf"0 <= seed < 2\^64, got {seed}"):
            SamplingParams(seed=seed)


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ({"top_k": 2**31}, "top_k <= 2147483647, got 2147483648"),
        ({"top_k": -1}, "top_k >= 0, got -1"),
        ({"top_k": 1.5}, "top_k >= 0, got 1.5"),
        ({"logprobs": 2**31}, "logprobs <= 2147483647, got 2147483648"),
        ({"temperature": "warm"}, "a number as temperature, got 'warm'"),
        # Numbers are told with the digits that make them wrong.
        ({"temperature": 1e-9}, "1e-4 <= temperature < inf, got 1e-09$"),
        ({"temperature": -1e-300}, "got -1e-300$"),
        ({"top_p": 1.0000000001}, "0 < top_p <= 1, got 1.0000000001$"),
        ({"min_p": -2e-7}, "0 <= min_p < 1, got -2e-07$"),
        ({"repetition_penalty": -1e-8}, "repetition_penalty > 0, got -1e-08$"),
    ],
)
def test_sampling_params_out_of_range_are_told_as_they_are(option, told):
    with pytest.raises(InputError, match=told):
        SamplingParams(**option)
    if next(iter(option)) in ("temperature", "top_p", "min_p") and "warm" not in option.values():
        with pytest.raises(InputError, match=told):
            _core.SamplingParams(**option)


@pytest.mark.parametrize("model", ["Qwen/Qwen2.5", object(), lambda feeds: None])
def test_what_is_no_model_is_refused_with_what_makes_one(model):
    with pytest.raises(InputError, match=r"Vocabulary as target .*hf\.load.*stateless"):
        SpeculativeSession(model)
    if not isinstance(model, str):
        with pytest.raises(InputError, match="Vocabulary as drafter"):
            SpeculativeSession(constant(BOTH, [0.4, 0.6]), model)


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ({"role": "user", "content": "a"}, "got dict: a chat is a list of messages"),
        (5, "got int"),
        (None, "got NoneType"),
        (b"ab", "got bytes"),
        ([0.5, 1], r"got \[0.5, 1\]"),
        (["a", ""], "at least one token"),
    ],
)
def test_what_is_no_prompt_is_refused(prompt, told):
    with pytest.raises(InputError, match=told):
        session().generate(prompt, max_tokens=1)
    with pytest.raises(InputError):
        session().stream(prompt, max_tokens=1)


def test_prompts_may_be_arrays_as_tokenizers_return_them():
    assert session().generate(np.array([0, 1]), max_tokens=2).tokens == [1, 1]
    both = session().generate(np.array([[0, 1], [1, 1]]), max_tokens=2)
    assert [generation.tokens for generation in both] == [[1, 1], [1, 1]]


def test_options_of_the_wrong_kind_are_refused():
    with pytest.raises(InputError, match=r"SamplingParams as sampling, got 0\.5"):
        session().generate("a", sampling=0.5)
    with pytest.raises(InputError, match="SamplingParams as draft_sampling"):
        session(draft_sampling=0.5)
    with pytest.raises(InputError, match=r"max_tokens >= 0, got 2\.5"):
        session().generate("a", max_tokens=2.5)
    with pytest.raises(InputError, match=r'"auto" without a model as drafter, got \'slem\''):
        session(bridge="slem")
    with pytest.raises(InputError, match="a model as drafter with draft_sampling, got 'lookup'"):
        session(draft_sampling=GREEDY)
    model = constant(BOTH, [0.5, 0.5])
    with pytest.raises(InputError, match=r"draft_confidence 0 with a tree.*got 0\.5"):
        SpeculativeSession(model, model, tree="2x2", draft_confidence=0.5)
    with pytest.raises(InputError, match="a path or a name with drafter_weights, got"):
        SpeculativeSession.from_pretrained(model, model, drafter_weights="int8")
    run = session().stream("a", max_tokens=10**12)  # as good as no limit
    assert next(run).text == "b"


def test_a_prompt_that_its_encoder_refuses_leaves_nothing_behind():
    opened = set()

    def refuse(cache, prompt, target):
        opened.add(cache)
        raise OSError("no such picture")

    for side in range(2):
        models = [constant(BOTH, [0.4, 0.6]), constant(BOTH, [0.5, 0.5])]
        models[side].open = refuse
        models[side].forget = opened.discard
        two = SpeculativeSession(*models, bridge="same")
        with pytest.raises(OSError, match="no such picture"):
            two.generate("a")
        del models[side].open
        two.generate("a", max_tokens=2)
        assert len(two._engine) == 0 and not opened


@pytest.mark.parametrize("back", [None, 1.0, "row", "short"])
def test_a_processor_must_return_the_row(back):
    torch = pytest.importorskip("torch")
    made = {"row": torch.zeros(1), "short": torch.zeros(3)}
    answer = made.get(back, back)
    with pytest.raises(InputError, match=r"logits \[2\] back from logits_processor"):
        session().generate("a", max_tokens=1, logits_processor=lambda *_: answer)


@pytest.mark.parametrize("option", [{"bad_words_ids": [[0], [9]]}, {"allowed_token_ids": [1, 9]}])
def test_masks_of_ids_the_target_has_not_are_refused(option):
    pytest.importorskip("torch")
    with pytest.raises(InputError, match=r"ids below 2 \(the target's logits\) in \w+, got 9"):
        session().generate("a", max_tokens=1, logits_processor=Penalties(**option))
    below = {name: [[-1]] if name == "bad_words_ids" else [-1] for name in option}
    with pytest.raises(InputError, match="token ids >= 0, got -1"):
        Penalties(**below)


def test_nothing_left_to_draw_is_an_error_and_not_a_token():
    pytest.importorskip("torch")
    nothing = Penalties(bad_words_ids=[[0], [1]])
    with pytest.raises(NonFiniteLogitsError):
        session().generate("a", max_tokens=1, logits_processor=nothing)


def test_a_model_may_name_ids_that_end_a_text():
    target = constant(letters(b"a", b"b"), [0.4, 0.6])
    target.stop_tokens = [1]
    generation = SpeculativeSession(target, sampling=GREEDY).generate("a")
    assert (generation.tokens, generation.finish_reason) == ([1], "stop")


# ---- transformers models -------------------------------------------------------------------------
@pytest.fixture
def folder(tmp_path):
    """A tiny model without a tokenizer."""
    hf_toys = pytest.importorskip("hf_toys")
    model = hf_toys.llama()
    model.generation_config.eos_token_id = [2, 7]
    model.save_pretrained(tmp_path)
    return tmp_path


def test_a_folder_without_a_tokenizer(folder):
    from anydraft import hf

    with pytest.raises((OSError, ValueError), match=r"\[hf\.load\] expected a tokenizer"):
        hf.load(folder)
    model = hf.load(folder, vocabulary=BOTH)
    assert model.vocabulary is BOTH
    assert model.stop_tokens == [2, 7]
    with pytest.raises(ValueError, match="chat template"):
        model.chat([{"role": "user", "content": "a"}])


def test_ids_without_an_embedding_are_named(folder):
    from anydraft import hf

    target = hf.load(folder, vocabulary=BOTH)
    with pytest.raises(ValueError, match=r"token ids < 96 \(embeddings\), got 96"):
        SpeculativeSession(target).generate([5, 96])


def test_a_model_that_is_read_is_packed_where_that_pays(folder):
    from anydraft import hf
    from anydraft.hf.packing import PackedLinear

    torch = pytest.importorskip("torch")

    def is_packed(**options):
        model = hf.load(folder, vocabulary=BOTH, **options).model
        return isinstance(model.lm_head, PackedLinear)

    assert is_packed() == (torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512"))
    assert not is_packed(pack=False)
    assert not is_packed(dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="expected pack to be None, False or True, got 'int4'"):
        is_packed(pack="int4")


def test_models_may_be_read_by_several_threads(folder):
    from anydraft import hf

    read = []
    threads = [
        threading.Thread(target=lambda: read.append(hf.load(folder, vocabulary=BOTH)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read) == 4
