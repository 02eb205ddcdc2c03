"""The audit's p-value is what it says, for distributions with hardly any mass in a bin too."""

import itertools

import numpy as np
import pytest
import torch

from anydraft import InputError, SamplingParams, VerifyResult, sample, verify
from anydraft.testing import audit, chi_square

FILTERED = SamplingParams(temperature=0.8, top_k=200)


def test_draws_from_the_distribution_seldom_look_wrong():
    random = np.random.default_rng(0)
    for scheme in ([0.5, 0.499999, 1e-6], [0.3, 0.2, 0.2, 0.2999, 1e-4], [0.01] * 100, [1.0]):
        values = [
            chi_square(
                torch.tensor(random.multinomial(20000, scheme)), torch.tensor(scheme)
            ).p_value
            for _ in range(1000)
        ]
        assert np.mean(np.array(values) < 1e-2) < 0.02


def test_draws_from_another_distribution_look_wrong():
    random = np.random.default_rng(1)
    counts = random.multinomial(20000, [0.27, 0.23, 0.25, 0.25])
    assert chi_square(torch.tensor(counts), torch.full((4,), 0.25)).p_value < 1e-6


def lax_below_the_root(trees, target_logits, **options):
    """Top-down, but what is drafted behind an accepted token is accepted too."""
    result = verify(trees, target_logits, **options)
    accepted, offsets, next_token = [], [0], []
    for i, begin in enumerate(trees.offsets[:-1]):
        path, token = result.path(i)[:1], result.next_token[i]
        parents = trees.parents[begin : trees.offsets[i + 1]]
        if path and path[0] in parents:
            path.append(parents.index(path[0]))
            keys = [(options["requests"][i], 99)]
            token = int(sample(target_logits[[begin + path[1]]], options["sampling"], keys)[0])
        accepted += path
        offsets.append(len(accepted))
        next_token.append(token)
    return VerifyResult(accepted, offsets, next_token, [], [])


def test_what_is_wrong_behind_the_first_token_is_found():
    rows = torch.randn(5, 300, generator=torch.Generator().manual_seed(3))
    assert audit(lax_below_the_root, rows[:3], rows[3:], runs=4000).p_value < 1e-9
    # One row for every node: two and three tokens are looked at without being asked for.
    assert audit(lax_below_the_root, rows[0], rows[3], runs=4000).p_value < 1e-9
    assert audit("top_down", rows[0], rows[3], runs=4000).p_value > 1e-3


def test_an_audit_of_nothing_is_refused():
    row = torch.randn(300, generator=torch.Generator().manual_seed(3))
    with pytest.raises(InputError, match="runs >= 10, got 0"):
        audit("top_down", row, row, runs=0)
    with pytest.raises(InputError, match="got logit_bias"):
        audit("top_down", row, row, sampling=SamplingParams(logit_bias={3: 9.0}))


def uniforms_of_the_level_above(trees, target_logits, **options):
    """Top-down, but a node below the first level is judged with its parent's uniform number."""
    options.pop("requests"), options.pop("positions")
    random = np.random.default_rng(trees.tokens[:50])
    accept, pick = random.uniform(1e-12, 1, (2, len(trees.tokens)))
    for begin, end in itertools.pairwise(trees.offsets):
        for node in range(begin + 1, end):
            if trees.parents[node] > 0:
                accept[node] = accept[begin + trees.parents[node]]
    options = {"verifier": "top_down", **options}
    return verify(trees, target_logits, uniforms=(accept, pick), **options)


def test_a_uniform_used_again_one_level_down_is_found():
    rows = torch.randn(2, 300, generator=torch.Generator().manual_seed(5))
    assert audit(uniforms_of_the_level_above, rows[0], rows[1]).p_value < 1e-9
    # Drafts of one level have no node that it is wrong about.
    assert audit(uniforms_of_the_level_above, rows[[0, 0]], rows[1:]).p_value > 1e-3


@pytest.mark.parametrize(
    ("verifier", "scheme"),
    [("top_down", "iid"), ("top_down", "spechub"), ("traversal", "without_replacement")],
)
def test_levels_of_a_verifier_that_is_right_look_right(verifier, scheme):
    rows = torch.randn(5, 300, generator=torch.Generator().manual_seed(4))
    found = audit(verifier, rows[:3], rows[3:], scheme=scheme, runs=6000, sampling=FILTERED)
    assert found.p_value > 1e-3 and found.degrees > 20
    with pytest.raises(InputError, match=r"\[depth \+ 1, vocab\] and \[depth, vocab\]"):
        audit(verifier, rows[:3], rows[2:])
