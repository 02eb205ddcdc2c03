"""Penalties and masks act along each path of a tree: the distribution is plain decoding's with the
same.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from penalties import Penalties
from toys import DRAFTER, TARGET, TableModel, constant, letters

from anydraft import SamplingParams, SpeculativeSession

transformers = pytest.importorskip("transformers")

PROMPT = [0, 1, 2, 0, 1]


def session(bridge, **options):
    options = {"draft_confidence": 0, **options}
    target = TableModel(TARGET, 1, padding=2)
    if bridge in ("none", "lookup"):
        return SpeculativeSession(target, None if bridge == "none" else "lookup", **options)
    drafter = TableModel(TARGET if bridge == "same" else DRAFTER, 2)
    return SpeculativeSession(target, drafter, bridge=bridge, **options)


penalties = st.builds(
    Penalties,
    repetition_penalty=st.sampled_from([1.0, 0.5, 1.3, 3.0]),
    frequency_penalty=st.sampled_from([0.0, 0.7, -0.4]),
    presence_penalty=st.sampled_from([0.0, 1.5]),
    bad_words=st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=3), max_size=2),
    allowed=st.sampled_from([None, [0, 1, 3, 4, 5, 6]]),
)


@settings(max_examples=60, deadline=None)
@given(
    penalties,
    st.sampled_from(
        [("lookup", None), ("slem", None), ("slem", "2x2x1"), ("slem", "dynamic:2,2,3,5")]
    ),
    st.sampled_from([0.0, 1.3]),
    st.integers(0, 99),
)
def test_a_seeded_text_is_that_of_plain_decoding(penalty, drafts, temperature, seed):
    bridge, tree = drafts
    params = SamplingParams(temperature=temperature, seed=seed)
    options = {"max_tokens": 30, "sampling": params, "logits_processor": penalty}
    plain = session("none").generate(PROMPT, **options)
    assert session(bridge, tree=tree).generate(PROMPT, **options).tokens == plain.tokens


def test_formulas_are_those_of_transformers():
    generator = torch.Generator().manual_seed(0)
    for words in ([[3]], [[1, 2], [2, 5, 1]]):
        repetition = transformers.RepetitionPenaltyLogitsProcessor(1.4)
        banned = transformers.NoBadWordsLogitsProcessor(words, eos_token_id=7)
        ours = Penalties(repetition_penalty=1.4, bad_words=words)
        for _ in range(30):
            text = torch.randint(0, 6, (6,), generator=generator)
            row = torch.randn(8, generator=generator)
            theirs = banned(text[None], repetition(text[None], row[None].clone()))[0]
            assert torch.equal(ours(text[:4].tolist(), text[4:].tolist(), row.clone()), theirs)


def test_counts_are_of_the_output_alone():
    """vLLM: logits -= frequency * count + presence * (count > 0), of the output's tokens."""
    row = Penalties(frequency_penalty=0.5, presence_penalty=2.0)([0, 3], [1, 1, 2], torch.zeros(4))
    assert row.tolist() == [0, -3, -2.5, 0]


def test_the_row_of_every_node_gets_its_own_path():
    run = session("same", tree="2x2", scheme="without_replacement")
    seen = set()

    def watch(prompt, output, row):
        expected = run.target.row((*prompt, *output))
        assert np.array_equal(row.numpy(), expected)
        seen.add(tuple(output))
        return row

    params = SamplingParams(temperature=1.2, seed=3)
    got = run.generate(PROMPT, max_tokens=20, sampling=params, logits_processor=watch)
    assert got.tokens == run.generate(PROMPT, max_tokens=20, sampling=params).tokens
    text = tuple(got.tokens)
    assert {text[:i] for i in range(len(text))} <= seen
    assert any(path != text[: len(path)] for path in seen)  # rejected ones too


def test_a_processor_that_raises_concerns_its_request_alone():
    run = session("slem", tree="2x2")
    broken = [True]

    def raising(prompt, output, row):
        if broken and len(output) > 3:
            raise LookupError("no such grammar")
        return row

    params = SamplingParams(temperature=0.9, seed=7)
    expected = [g.tokens for g in run.generate([PROMPT, [2, 1]], sampling=params)]
    with pytest.raises(LookupError, match="no such grammar"):
        run.generate([PROMPT, [2, 1]], sampling=params, logits_processor=[None, raising])
    first, second = run.runs
    assert first.generation.tokens == expected[0]
    broken.clear()
    list(second)
    assert second.generation.tokens == expected[1]


def test_ids_the_target_has_no_logit_for():
    wide = letters(b"a", b"b", b"c")
    target, drafter = constant(wide, [0.6, 0.4]), constant(wide, [0.3, 0.3, 0.4])
    run = SpeculativeSession(target, drafter, sampling=SamplingParams(seed=1))
    penalised = SamplingParams(seed=1, repetition_penalty=2.0, presence_penalty=1.0)
    assert len(run.generate([2, 0], max_tokens=40, sampling=penalised).tokens) == 40
