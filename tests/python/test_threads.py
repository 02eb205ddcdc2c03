"""The engine's threads: the same results for any number of them, and none lost to a fork."""

import multiprocessing
import threading

import numpy as np
import pytest
import torch

from anydraft import InputError, NonFiniteLogitsError, SamplingParams, _core, probs, threads
from anydraft import set_threads as choose

PARAMS = SamplingParams(temperature=0.8, top_p=0.9)


@pytest.fixture(autouse=True)
def as_before():
    yield
    choose(0)


def batch(rows=33, vocab=9000):
    return torch.randn(rows, vocab, generator=torch.Generator().manual_seed(5))


def draw(logits):
    uniforms = np.linspace(0.01, 0.99, len(logits)).tolist()
    return _core.sample_rows(logits, PARAMS, uniforms)


def test_results_do_not_depend_on_the_number_of_threads():
    logits, expected = batch(), None
    for count in (1, 2, 7):
        choose(count)
        assert threads() == count
        got = draw(logits), probs(logits, PARAMS)
        expected = expected or got
        assert got[0] == expected[0]
        assert torch.equal(got[1], expected[1])


def test_one_long_row_is_read_by_several_threads():
    logits, expected = batch(1, 150_000), None
    for count in (1, 2, 3):
        choose(count)
        probs(2 * logits, PARAMS)  # no totals of the row itself are left over
        got = _core.sample_rows(logits, SamplingParams(), [0.7]), probs(logits, SamplingParams())
        expected = expected or got
        assert got[0] == expected[0]
        assert torch.equal(got[1], expected[1])
        exact = torch.softmax(logits.double(), -1)
        assert torch.allclose(got[1].double(), exact, rtol=1e-5, atol=0)


def test_several_callers_at_once():
    logits = batch()
    choose(1)
    expected = draw(logits)
    choose(3)
    got = [None] * 4

    def call(i):
        for _ in range(20):
            got[i] = draw(logits)

    callers = [threading.Thread(target=call, args=(i,)) for i in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert got == [expected] * 4


def test_the_first_bad_row_is_named_whoever_finds_it():
    logits = batch()
    logits[[11, 12, 30], 5] = torch.nan
    for count in (1, 4):
        choose(count)
        for _ in range(10):
            with pytest.raises(NonFiniteLogitsError, match=r"in row 11$"):
                probs(logits, PARAMS)


def _child(logits, expected):
    assert draw(logits) == expected


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_does_not_wait_for_its_parents_threads():
    choose(4)
    logits = batch()
    expected = draw(logits)
    child = multiprocessing.get_context("fork").Process(target=_child, args=(logits, expected))
    child.start()
    child.join(30)
    assert child.exitcode == 0


def test_a_negative_count():
    with pytest.raises(InputError, match=r"expected a count in \[0, 1024\] .*, got -1"):
        choose(-1)
