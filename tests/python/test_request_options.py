"""What a request may ask for: log-probabilities, lengths, ends, biases, bad words, penalties."""

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch
from penalties import Penalties
from toys import DRAFTER, TARGET, TableModel

from anydraft import (
    InputError,
    Proposal,
    SamplingParams,
    SpeculativeSession,
    Trees,
    _core,
    probs,
    sample,
    verify,
)

BRIDGES = ["none", "lookup", "same", "tli", "slem", "slrs", "auto"]
PROMPT = [0, 1, 2, 0]
EOS = TARGET.role("eos")[0]


def session(bridge="tli", **options):
    target = TableModel(TARGET, 1, padding=2)
    if bridge in ("none", "lookup"):
        drafter = None if bridge == "none" else "lookup"
        return SpeculativeSession(target, drafter, **options)
    drafter = TableModel(TARGET if bridge == "same" else DRAFTER, 2)
    return SpeculativeSession(target, drafter, bridge=bridge, **options)


def params(**options):
    return SamplingParams(**{"temperature": 1.1, "seed": 3, "max_tokens": 30, **options})


def decode(bridge="tli", processor=None, prompt=PROMPT, **options):
    return session(bridge).generate(prompt, sampling=params(**options), logits_processor=processor)


def rows_of(tokens, change=None):
    """The target's rows before each token, changed: float32 [tokens, vocab]."""
    target = TableModel(TARGET, 1, padding=2)
    texts = [tokens[:i] for i in range(len(tokens))]
    rows = [torch.from_numpy(target.row((*PROMPT, *text)).copy()) for text in texts]
    if change is not None:
        rows = [change(PROMPT, text, row) for text, row in zip(texts, rows, strict=True)]
    return torch.stack(rows)


# ---- Log-probabilities ---------------------------------------------------------------------------
PENALTIES = Penalties(repetition_penalty=1.4, presence_penalty=0.3, frequency_penalty=-0.2)
NATIVE = {"repetition_penalty": 1.4, "presence_penalty": 0.3, "frequency_penalty": -0.2}


@pytest.mark.parametrize("bridge", BRIDGES)
@pytest.mark.parametrize(
    "options", [{}, {"temperature": 0.6, "top_k": 4}, {"temperature": 0}, NATIVE], ids=str
)
def test_logprobs_are_those_of_the_distribution_drawn_from(bridge, options):
    made = decode(bridge, logprobs=3, ignore_eos=True, **options)
    changed = PENALTIES if options is NATIVE else None
    drawn = SamplingParams(
        temperature=options.get("temperature", 1.1) or 1.0, top_k=options.get("top_k", 0)
    )
    masses = np.array(
        _core.testing.distribution_masses(rows_of(made.tokens, changed).contiguous(), drawn)
    )
    assert len(made.logprobs) == len(made.tokens) == 30
    for token, told, mass in zip(made.tokens, made.logprobs, masses, strict=True):
        with np.errstate(divide="ignore"):
            expected = np.log(mass)
        assert told.logprob == pytest.approx(expected[token], abs=1e-6)
        likeliest = np.argsort(-mass, kind="stable")[:3]
        assert list(told.top) == likeliest.tolist()
        assert list(told.top.values()) == pytest.approx(expected[likeliest].tolist(), abs=1e-6)


def test_logprobs_are_the_log_softmax_where_nothing_is_filtered():
    made = decode("slrs", logprobs=0, temperature=0.7, ignore_eos=True)
    expected = torch.log_softmax(rows_of(made.tokens) / 0.7, dim=1)
    told = torch.tensor([one.logprob for one in made.logprobs])
    assert torch.allclose(told, expected[range(len(told)), made.tokens], atol=1e-5)
    assert all(one.top == {} for one in made.logprobs)


@pytest.mark.parametrize("bridge", ["lookup", "slem"])
def test_logprobs_equal_plain_decoding_s_where_the_texts_do(bridge):
    for options in ({"temperature": 0}, {"temperature": 1.1} if bridge == "slem" else {}):
        plain, drafted = (decode(b, logprobs=4, **options) for b in ("none", bridge))
        assert plain.tokens == drafted.tokens  # both are verified as plain decoding with its seed
        assert plain.logprobs == drafted.logprobs


def test_logprobs_end_with_the_tokens():
    made = session().generate(PROMPT, sampling=params(logprobs=1, stop="c", ignore_eos=True))
    assert made.finish_reason == "stop" and len(made.logprobs) == len(made.tokens) < 30
    assert decode().logprobs == []


# ---- Several texts of one prompt -----------------------------------------------------------------
def test_n_texts_draw_from_streams_of_their_own():
    run = session()
    several = run.generate(PROMPT, sampling=params(n=4, ignore_eos=True))
    alone = []
    for i in range(4):
        handle = run.stream(PROMPT, sampling=params(ignore_eos=True), random_stream=i)
        alone.append((list(handle), handle.generation.tokens)[1])
    assert [made.tokens for made in several] == alone
    assert len({tuple(tokens) for tokens in alone}) == 4
    both = run.generate([PROMPT, [1]], sampling=params(n=2, ignore_eos=True))
    assert [len(group) for group in both] == [2, 2]
    assert [made.tokens for made in both[0]] == alone[:2]
    own = run.generate([PROMPT, PROMPT], sampling=[params(n=2), params(seed=4)])
    assert [made.tokens for made in own[0]] == [
        m.tokens for m in run.generate(PROMPT, sampling=params(n=2))
    ]
    assert own[1].tokens == run.generate(PROMPT, sampling=params(seed=4)).tokens


def test_streams_of_one_seed_are_independent():
    """1,000 pairs of first tokens of two streams of one seed against the product of the two."""
    from anydraft.testing import chi_square

    run = session("slrs")
    first = np.array(_core.testing.distribution_masses(rows_of([0]), params()))[0]
    counts = np.zeros((len(first), len(first)), np.int64)
    for seed in range(1000):
        pair = run.generate(PROMPT, sampling=params(n=2, seed=seed, max_tokens=1))
        counts[pair[0].tokens[0], pair[1].tokens[0]] += 1
    joint = torch.from_numpy(np.outer(first, first).flatten())
    assert chi_square(torch.from_numpy(counts.flatten()), joint).p_value > 1e-3


# ---- Ends ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("bridge", BRIDGES)
def test_min_tokens_rules_ends_out(bridge):
    ends = set()
    for seed in range(12):
        made = decode(bridge, seed=seed, min_tokens=7, logit_bias={EOS: 1.0}, stop_token_ids=[1])
        assert len(made.tokens) > 7 and not {EOS, 1} & set(made.tokens[:7])
        ends.add(made.tokens[-1])
        soon = decode(bridge, seed=seed, logit_bias={EOS: 1.0}, stop_token_ids=[1])
        assert soon.finish_reason == "stop" and soon.tokens[-1] in (EOS, 1)
    assert ends == {EOS, 1}
    if bridge in ("none", "tli"):
        shorter = [
            len(decode(bridge, seed=seed, logit_bias={EOS: 1.0}).tokens) for seed in range(12)
        ]
        assert min(shorter) < 7


def test_min_tokens_holds_for_stop_strings_too():
    made = decode(ignore_eos=True, stop="a", min_tokens=9)
    at = [TARGET.decode([token]) for token in made.tokens]
    assert made.finish_reason == "stop" and len(made.tokens) > 9
    assert any(b"a" in piece for piece in at[:9]) and b"a" in at[-1]
    assert not any(b"a" in piece for piece in at[9:-1])


@pytest.mark.parametrize("bridge", BRIDGES)
def test_ignore_eos_makes_the_end_a_token(bridge):
    made = decode(bridge, ignore_eos=True, logit_bias={EOS: 2.0})
    assert made.finish_reason == "length" and made.tokens.count(EOS) > 1
    one = decode(bridge, ignore_eos=True, logit_bias={EOS: 2.0}, stop_token_ids=[EOS])
    assert one.finish_reason == "stop" and one.tokens == made.tokens[: made.tokens.index(EOS) + 1]


@pytest.mark.parametrize("bridge", BRIDGES)
def test_stop_token_ids_end_a_text_wherever_they_are_given(bridge):
    whole = decode(bridge, ignore_eos=True)
    at = whole.tokens.index(2)
    for options in ({"stop_token_ids": [2]}, {"stop": [2]}):
        made = decode(bridge, ignore_eos=True, **options)
        assert (made.tokens, made.finish_reason) == (whole.tokens[: at + 1], "stop")


# ---- What changes logits -------------------------------------------------------------------------
@pytest.mark.parametrize("bridge", BRIDGES)
def test_bad_words_do_not_come_about(bridge):
    texts = [decode(bridge, seed=seed, ignore_eos=True).tokens for seed in range(5)]
    pairs = {pair for text in texts for pair in itertools.pairwise(text)}
    word = sorted(pairs)[0]
    for seed in range(5):
        tokens = decode(bridge, seed=seed, ignore_eos=True, bad_words=[word]).tokens
        assert word not in set(itertools.pairwise(tokens))
        spelt = decode(bridge, seed=seed, ignore_eos=True, bad_words=["abc", "b"]).tokens
        assert not {TARGET.encode("abc")[0], TARGET.encode("b")[0]} & set(spelt)


@pytest.mark.parametrize("bridge", BRIDGES)
def test_penalties_equal_the_processors(bridge):
    """The native ones and the same function called row by row: token by token the same text."""
    for seed in range(6):
        native = decode(bridge, seed=seed, **NATIVE)
        assert native.tokens == decode(bridge, PENALTIES, seed=seed).tokens
    assert (
        decode(bridge, seed=1, ignore_eos=True).tokens
        != decode(bridge, seed=1, ignore_eos=True, **NATIVE).tokens
    )


def test_a_processor_and_options_both_apply():
    masked = Penalties(allowed=[0, 1, 2])
    both = decode(processor=masked, ignore_eos=True, logit_bias={1: -np.inf})
    assert set(both.tokens) == {0, 2}
    plain = decode(ignore_eos=True, logit_bias={1: -np.inf}, allowed_token_ids=[0, 1, 2])
    assert both.tokens == plain.tokens


@pytest.mark.parametrize("bridge", BRIDGES)
def test_bias_and_allowed_ids(bridge):
    made = decode(bridge, ignore_eos=True, allowed_token_ids=[0, 4], temperature=0)
    assert set(made.tokens) <= {0, 4}
    assert set(decode(bridge, ignore_eos=True, logit_bias={3: 200.0}).tokens) == {3}
    assert 0 not in decode(bridge, ignore_eos=True, logit_bias={0: -np.inf}).tokens


# ---- Mistakes ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"max_tokens": -1}, "max_tokens >= 0, got -1"),
        ({"max_tokens": 2.5}, "max_tokens >= 0, got 2.5"),
        ({"min_tokens": True}, "min_tokens >= 0, got True"),
        ({"n": 0}, "n >= 1, got 0"),
        ({"seed": 1.5}, r"0 <= seed < 2\^64, got 1\.5"),
        ({"seed": True}, r"0 <= seed < 2\^64, got True"),
        ({"ignore_eos": "no"}, "ignore_eos True or False, got 'no'"),
        ({"logprobs": -2}, "logprobs >= 0, got -2"),
        ({"stop": 5}, "stop of strings and token ids, got 5"),
        ({"stop": [""]}, "stop of strings and token ids, got ''"),
        ({"stop": [-1]}, "stop of strings and token ids, got -1"),
        ({"stop_token_ids": 5}, "token ids as stop_token_ids, got 5"),
        ({"stop_token_ids": [2**31]}, r"token ids as stop_token_ids, got \[2147483648\]"),
        ({"stop_token_ids": ["a"]}, "token ids as stop_token_ids"),
        ({"repetition_penalty": 0}, "repetition_penalty > 0, got 0"),
        ({"repetition_penalty": "1"}, "a number as repetition_penalty, got '1'"),
        ({"presence_penalty": float("nan")}, "a number as presence_penalty, got nan"),
        ({"frequency_penalty": float("inf")}, "a finite frequency_penalty"),
        ({"logit_bias": [1, 2]}, r"\{token id: bias\}, got \[1, 2\]"),
        ({"logit_bias": {"a": 1.0}}, "token ids as logit_bias"),
        ({"logit_bias": {1: None}}, "a number as logit_bias, got None"),
        ({"logit_bias": {1: float("inf")}}, "a finite bias or -inf"),
        ({"bad_words": "abc"}, "a list of bad_words, got 'abc'"),
        ({"bad_words": [""]}, "bad_words that are not empty"),
        ({"bad_words": [[]]}, "bad_words that are not empty"),
        ({"bad_words": [[0.5]]}, "token ids as bad_words"),
        ({"allowed_token_ids": []}, "allowed_token_ids of at least one id"),
        ({"allowed_token_ids": [-1]}, "token ids as allowed_token_ids"),
    ],
    ids=str,
)
def test_values_that_cannot_be(options, told):
    with pytest.raises(InputError, match=told):
        SamplingParams(**options)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"logit_bias": {90: 1.0}}, "below .* in logit_bias, got 90"),
        ({"bad_words": [[90]]}, "below .* in bad_words, got 90"),
        ({"allowed_token_ids": [90]}, "below .* in allowed_token_ids, got 90"),
        ({"bad_words": ["xyz"]}, "bad_words the target can spell, got 'xyz'"),
        ({"min_tokens": 31}, "min_tokens <= max_tokens, got 31 and 30"),
    ],
    ids=str,
)
def test_what_the_target_cannot_have(options, told):
    with pytest.raises(InputError, match=told):
        decode(**options)


def test_a_drafter_s_parameters_have_no_options_of_a_request():
    with pytest.raises(InputError, match="alone in draft_sampling, got min_tokens, logit_bias too"):
        session(draft_sampling=SamplingParams(logit_bias={1: 1.0}, min_tokens=3))


def test_params_are_values_that_nobody_changes():
    made = params(stop=["a", 3], logit_bias={1: 2.0}, bad_words=["a", [1, 2]], n=2, min_tokens=1)
    for same in (pickle.loads(pickle.dumps(made)), copy.copy(made), copy.deepcopy(made)):
        assert same == made and hash(same) == hash(made)
    assert made.replace(n=1).n == 1 and made.n == 2 and made != made.replace(n=1)
    with pytest.raises(AttributeError, match=r"replace\(max_tokens=...\)"):
        made.max_tokens = 5
    off = params(stop=None, stop_token_ids=None, bad_words=None, top_k=-1)
    assert off == params()


def test_what_is_given_is_read_once_and_copied():
    whole = decode(ignore_eos=True)
    given = {"stop": ["c"], "logit_bias": {1: 0.5}, "bad_words": [[4, 4]]}
    made = params(ignore_eos=True, **given)
    given["stop"].clear(), given["logit_bias"].clear(), given["bad_words"][0].append(1)
    fields = (made.stop, made.logit_bias, made.bad_words)
    assert fields == (("c",), {1: 0.5}, ((4, 4),))
    cut = decode(ignore_eos=True, stop=["c"])
    assert len(cut.tokens) < len(whole.tokens)
    assert decode(ignore_eos=True, stop=(one for one in ["c"])).tokens == cut.tokens
    several = session().generate(
        [PROMPT, PROMPT], sampling=[params(ignore_eos=True)] * 2, stop=iter(["c"])
    )
    assert [made.tokens for made in several] == [cut.tokens] * 2


@pytest.mark.parametrize(
    "option",
    [
        {"repetition_penalty": 1.5},
        {"logit_bias": {1: 2.0}},
        {"bad_words": [[1]]},
        {"min_tokens": 1},
    ],
)
def test_rows_alone_do_not_tell_what_options_of_a_text_change(option):
    """Ignored, they would make a verifier that is right for another distribution."""
    torch = pytest.importorskip("torch")
    params, (name,) = SamplingParams(**option), option
    rows = torch.zeros(2, 3)
    with pytest.raises(InputError, match=name):
        verify(Trees.chains([[0, 1]]), rows, proposals=[Proposal("one_hot")] * 2, sampling=params)
    with pytest.raises(InputError, match=name):
        sample(rows, params, [(0, 0), (0, 1)])
    with pytest.raises(InputError, match=name):
        probs(rows, params)
