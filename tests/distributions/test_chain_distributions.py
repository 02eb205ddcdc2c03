"""The exact output distribution of the shipped chain verification, by following every branch of
it.
"""

import numpy as np
import pytest

from anydraft import SamplingParams
from anydraft._core import testing
from anydraft.testing import output_distribution
from tests.distributions.tables import GREEDY, PARAMS, adversarial_rows, random_rows


def check(tables, length, verifier="top_down", **options):
    outcome = output_distribution(verifier, *tables, "x".join("1" * length), **options)
    assert sum(outcome.rounds.values()) == pytest.approx(1, abs=1e-12)
    assert outcome.error <= 1e-12
    return outcome


@pytest.mark.parametrize("params", PARAMS.values(), ids=PARAMS)
@pytest.mark.parametrize(("vocab", "length"), [(2, 4), (3, 3), (5, 2), (32, 1)])
@pytest.mark.parametrize("spread", [0.5, 4.0])
def test_row_distributions_on_random_rows(params, vocab, length, spread):
    for seed in range(5):
        check(random_rows(seed, vocab, length, spread), length, sampling=params)


@pytest.mark.parametrize("verifier", ["top_down", "block"])
@pytest.mark.parametrize("name", adversarial_rows(3, 1))
@pytest.mark.parametrize("params", PARAMS.values(), ids=PARAMS)
def test_row_distributions_on_adversarial_rows(verifier, name, params):
    check(adversarial_rows(3, 2)[name], 2, verifier, sampling=params)
    check(adversarial_rows(3, 2)[name][::-1], 2, verifier, sampling=params)


@pytest.mark.parametrize("verifier", ["top_down", "match", "block"])
@pytest.mark.parametrize("params", PARAMS.values(), ids=PARAMS)
def test_one_hot_distributions(verifier, params):
    """A drafter that is greedy, or that draws and then calls its draw deterministic (SLEM)."""
    for drafting in (GREEDY, SamplingParams(temperature=0.8)):
        for tables in [random_rows(7, 3, 3, 2.0), *adversarial_rows(3, 3).values()]:
            check(
                tables,
                3,
                verifier,
                sampling=params,
                draft_sampling=drafting,
                scheme="iid",
                stated_scheme="one_hot",
            )


def test_longest_chain():
    check(random_rows(1, 3, 4, 1.5), 4, sampling=SamplingParams(temperature=0.9))


def test_drafter_with_its_own_parameters():
    draft_params = SamplingParams(temperature=0.5, top_p=0.8)
    check(random_rows(2, 4, 2, 2.0), 2, draft_sampling=draft_params)


def test_a_draw_may_be_called_certain():
    check(random_rows(3, 3, 1, 1.0), 1, stated_scheme="one_hot")


def test_acceptance_rate_is_one_minus_the_distance():
    """Leviathan et al. 2023, theorem 3.5: alpha = sum min(p, q)."""
    tables = random_rows(4, 5, 1, 1.5)
    p, q = (np.array(testing.distribution_masses(rows[:1], SamplingParams()))[0] for rows in tables)
    assert check(tables, 1).accepted == pytest.approx(np.minimum(p, q).sum(), abs=1e-12)
