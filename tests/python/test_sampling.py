"""Uniforms, distributions and draws against outside references: Random123, float64, other
instruction sets.
"""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from anydraft import (
    InputError,
    NonFiniteLogitsError,
    SamplingParams,
    _core,
    probs,
    sample,
)

# Random123's published known answers (kat_vectors, philox4x32-10): counter, key, result.
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip
VOCABS = [1, 2, 31, 33, 1000, 4096, 4097, 50257, 128256]


def words(text):
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_philox_known_answers(counter, key, expected):
    assert _core.testing.philox4x32_10(words(counter), words(key)) == words(expected)


def test_uniforms_are_keyed_by_every_part_of_the_key_and_never_0_or_1():
    base = {"seed": 1, "request": 2, "position": 3, "node": 4, "purpose": 1, "attempt": 0}
    uniforms = {_core.uniform(**base)}
    for part in base:
        uniforms.add(_core.uniform(**{**base, part: base[part] + 1}))
    uniforms.add(_core.uniform(**{**base, "seed": 1 + 2**32}))
    assert len(uniforms) == 8
    assert all(0 < uniform < 1 for uniform in uniforms)


def reference(logits, params):
    """float64 softmax with the same filters, each on the renormalised row, ties kept."""
    x = np.asarray(logits, dtype=np.float64)
    if params.temperature == 0:
        return (np.arange(len(x)) == x.argmax()).astype(float)
    p = np.exp((x - x.max()) / params.temperature)
    if params.top_k:
        p[x < np.sort(x)[::-1][min(params.top_k, len(x)) - 1]] = 0
    p /= p.sum()
    if params.top_p < 1:
        order = np.argsort(-x, kind="stable")
        last = np.searchsorted(np.cumsum(p[order]), params.top_p)
        p[x < x[order[min(last, len(x) - 1)]]] = 0
        p /= p.sum()
    p[p < params.min_p * p.max()] = 0
    return p / p.sum()


@pytest.mark.parametrize("vocab", VOCABS)
@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(),
        SamplingParams(temperature=0.05),
        SamplingParams(temperature=30, min_p=0.9),
        SamplingParams(top_k=7),
        SamplingParams(top_p=0.9),
        SamplingParams(temperature=2, top_p=0.999),
        SamplingParams(top_k=1500, top_p=0.7),
        SamplingParams(temperature=0.7, top_k=50, top_p=0.95, min_p=0.02),
        SamplingParams(temperature=0),
    ],
    ids=repr,
)
def test_distribution_is_within_1e_6_of_a_float64_softmax(vocab, params):
    rows = (4 * np.random.default_rng(vocab).standard_normal((3, vocab))).astype(np.float32)
    rows[1, vocab // 2 :] = -np.inf if vocab > 1 else 0
    rows[2] += 1000
    distribution = probs(torch.from_numpy(rows), params).numpy()
    for row, got in zip(rows, distribution, strict=True):
        assert np.abs(got - reference(row, params)).max() <= 1e-6


def test_ties_at_a_boundary_are_kept():
    row = torch.tensor([[3.0, 1.0, 1.0, 1.0, 0.0]])
    assert (probs(row, SamplingParams(top_k=2)) > 0).tolist() == [[True] * 4 + [False]]
    assert (probs(row, SamplingParams(top_p=0.8)) > 0).tolist() == [[True] * 4 + [False]]
    assert probs(row[:, 1:], SamplingParams(temperature=0)).tolist() == [[1, 0, 0, 0]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_rows_have_the_distribution_of_their_values(dtype):
    rows = (5 * torch.randn(4, 5000, generator=torch.Generator().manual_seed(1))).to(dtype)
    rows[0, :3] = torch.tensor([-torch.inf, 6e-8, -0.0]).to(dtype)
    assert torch.equal(probs(rows, SamplingParams()), probs(rows.float(), SamplingParams()))
    rows[3, 4] = torch.inf
    with pytest.raises(NonFiniteLogitsError, match="row 3"):
        probs(rows, SamplingParams())


def test_draws_follow_the_distribution_across_chunks():
    """20,000 uniforms over three chunks; the uniform's place in [0, 1) is the token's in the
    row.
    """
    row = np.full((1, 9000), -np.inf, dtype=np.float32)
    row[0, [0, 4095, 4096, 8999]] = np.log([0.1, 0.2, 0.3, 0.4])
    tokens = sample(
        torch.from_numpy(row).expand(20_000, -1),
        SamplingParams(seed=3),
        [(i, 7) for i in range(20_000)],
    )
    values, counts = np.unique(tokens.numpy(), return_counts=True)
    assert values.tolist() == [0, 4095, 4096, 8999]
    assert chisquare(counts, np.array([0.1, 0.2, 0.3, 0.4]) * 20_000).pvalue > 1e-4


@pytest.mark.parametrize("uniform", [2.0**-53, 0.5, 1 - 2.0**-53])
def test_no_uniform_draws_a_token_without_mass(uniform):
    for seed in range(200):
        random = np.random.default_rng(seed)
        row = random.standard_normal((1, 8192)).astype(np.float32)
        masked = random.random(8192) < 0.9
        masked[[0, 4095, 4096, 8191]] = True
        row[0, masked] = -np.inf
        (token,) = _core.sample_rows(row, SamplingParams(), [uniform])
        assert not masked[token]


def test_rows_that_cannot_be():
    nan, masked = torch.full((2, 5), torch.nan), torch.full((2, 5), -torch.inf)
    nan[0], masked[0] = 0, 0
    for rows in (nan, masked):
        with pytest.raises(NonFiniteLogitsError, match=r"in row 1$"):
            probs(rows, SamplingParams())
    with pytest.raises(InputError, match=r"below 2\.9e6, got logit"):
        probs(torch.full((1, 3), 1e30), SamplingParams())
