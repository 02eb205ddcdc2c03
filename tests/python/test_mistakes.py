"""What users get wrong, and what they are told; values that are handed on, compared and kept."""

import copy
import math
import pickle
import threading
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from toys import constant, letters

from anydraft import (
    InputError,
    NonFiniteLogitsError,
    SamplingParams,
    Slrs,
    SpeculativeSession,
    Text,
    Vocabulary,
    _core,
    set_threads,
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
        ({"top_k": -2}, "top_k >= 0, got -2"),
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
    with pytest.raises(InputError, match=r"\[generate\] .* SamplingParams as sampling, got 0\.5"):
        session().generate("a", sampling=0.5)
    with pytest.raises(InputError, match=r"\[stream\] .* SamplingParams as sampling, got 0\.5"):
        session().stream("a", sampling=0.5)
    with pytest.raises(InputError, match=r"\[Session\] .* SamplingParams as draft_sampling"):
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


MODEL = constant(BOTH, [0.5, 0.5])


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: session(draft_length=10**12), "draft_length <= 65536, got 1000000000000"),
        (lambda: session(draft_length=True), 'draft_length >= 0 or "auto", got True'),
        (lambda: session(draft_confidence=0.5), "no draft_confidence with a drafter of lookup"),
        (lambda: session(scheme="spechub"), "no scheme with a drafter of lookup"),
        (lambda: session(tree="2x2"), "no tree with a drafter of lookup"),
        (lambda: pair(draft_confidence="x"), "a number as draft_confidence, got 'x'"),
        (lambda: pair(draft_confidence=None), "a number as draft_confidence, got None"),
        (lambda: pair(tree=[2, 2]), r"as tree, got \[2, 2\]"),
        (lambda: pair(tree="9999999999"), "widths <= 2147483647, got 9999999999"),
        (lambda: pair(tree="1000,1000,1000"), r"\[draft\] expected a tree of at most 65536 nodes"),
        (lambda: pair(tree="dynamic:2,2,9,70000"), "at most 65536 nodes, got 70000"),
        (lambda: pair(tree="2x2", draft_length=3), "draft_length or tree, .* got 3 and '2x2'"),
        (lambda: pair(verifier="match"), "proposals of kind iid, got match"),
        (
            lambda: across(Slrs(budget=float("nan"))),
            r"\[Slrs\] expected a draft budget >= 0, got nan",
        ),
        (lambda: Text("abc"), "a function, got 'abc'"),
        (lambda: session().stream("a", random_stream=-1), "random_stream >= 0, got -1"),
        (lambda: session().stream("a", logits_processor=3), "a logits_processor, got 3"),
        (
            lambda: session().generate("a", template={"tools": []}),
            "messages with template, got 'a'",
        ),
        (lambda: session().generate("a", template=3), "arguments by name as template, got 3"),
        (lambda: pair(verifier=3), "text as verifier, got 3"),
        (lambda: pair(scheme=["a"]), "a kind out of one_hot"),
        (lambda: MODEL.vocabulary.encode(3), "text as text, got 3"),
        (lambda: MODEL.vocabulary.decode("a"), "token ids as ids, got 'a'"),
        (lambda: set_threads(10**8), "a count in \\[0, 1024\\] .*, got 100000000"),
        *(
            (lambda size=size: session().generate("a", batch_size=size), "batch_size >= 1, got")
            for size in (math.nan, "a", None, 1.5, 0)
        ),
    ],
)
def test_what_cannot_be_is_said_by_name(make, told):
    with pytest.raises(InputError, match=told):
        make()


def pair(**options):
    return SpeculativeSession(MODEL, MODEL, **options)


def across(bridge):
    return SpeculativeSession(MODEL, constant(letters(b"b", b"a"), [0.5, 0.5]), bridge=bridge)


def test_a_draft_length_of_none_drafts_nothing_with_a_tree_too():
    assert pair(tree="2x2", draft_length=0).generate("a", max_tokens=9).stats.drafted == 0
    assert pair(tree="2x2").generate("a", max_tokens=9).stats.drafted > 0


def test_a_warning_names_the_caller_s_line_and_what_it_asks_for_can_be_given():
    special = letters(b"a", b"b", b"", specials={"</s>": 2}, roles={"eos": [2]})
    run = SpeculativeSession(constant(special, [0.4, 0.6, 0]), sampling=GREEDY)
    run.target.vocabulary = Vocabulary.from_bytes(
        [b"a", b"b", b""],
        encoder=lambda text: [0] * len(text),
        specials=special.specials,
        roles={"eos": [2]},
    )
    with pytest.warns(UserWarning, match="specials=True") as told:
        run.generate("a</s>", max_tokens=1)
    assert told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run.stream("a</s>", specials=False).prompt == [0] * 5
    run.target.chat = lambda messages, **template: [template["tools"]]
    assert run.add([{"role": "user"}], template={"tools": 1}).prompt == [1]


def test_options_of_a_session_are_looked_at_before_models_are_read():
    with pytest.raises(TypeError, match="unexpected keyword argument 'foo'"):
        SpeculativeSession.from_pretrained("no such model", foo=3)


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


@pytest.mark.parametrize("option", [{"bad_words": [[0], [9]]}, {"allowed_token_ids": [1, 9]}])
def test_masks_of_ids_the_target_has_not_are_refused(option):
    with pytest.raises(InputError, match=r"ids below 2 \(the target's logits\) in \w+, got 9"):
        session().generate("a", max_tokens=1, sampling=GREEDY.replace(**option))


def test_nothing_left_to_draw_is_an_error_and_not_a_token():
    nothing = GREEDY.replace(bad_words=[[0], [1]])
    with pytest.raises(NonFiniteLogitsError):
        session().generate("a", max_tokens=1, sampling=nothing)


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

    wide = Vocabulary.from_bytes([b"a"] * 97, encoder=lambda text: [0] * len(text))
    target = hf.load(folder, vocabulary=wide)
    with pytest.raises(InputError, match=r"prompt tokens in \[0, 96\), got 96"):
        SpeculativeSession(target).generate([5, 96])
    feed = SimpleNamespace(request=0, tokens=[96], positions=[0], parents=[-1], keep=[], rows=1)
    with pytest.raises(InputError, match=r"token ids < 96 \(embeddings\), got 96"):
        target([feed])  # of a host that feeds it by itself


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
