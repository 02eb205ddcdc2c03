"""Top-k, top-p and min-p against exact fractions; equal bits from every instruction set."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from anydraft import SamplingParams, _core, probs
from anydraft._core import testing

# At this temperature an integer logit n has the mass 2^n: sums are exact, and so is the reference.
BINARY = 1.4426950408889634
VOCABS = st.one_of(st.integers(1, 40), st.integers(41, 9000))


def kept_exactly(row, params):
    """Which entries the filters keep, by exact fractions: each on the renormalised row."""
    levels = sorted({x for x in row.tolist() if x > -np.inf}, reverse=True)
    weight = {x: Fraction(2) ** int(x) * int((row == x).sum()) for x in levels}
    if params.top_k:
        above = [x for x in levels if (row > x).sum() < params.top_k]
        weight = {x: weight[x] for x in above}
    total, reached, nucleus = sum(weight.values()), Fraction(0), []
    for x in weight:
        if reached >= Fraction(params.top_p) * total:
            break
        reached += weight[x]
        nucleus.append(x)
    if params.min_p:
        nucleus = [x for x in nucleus if Fraction(2) ** int(x - levels[0]) >= params.min_p]
    return row >= nucleus[-1]


@st.composite
def binary_cases(draw):
    size = draw(VOCABS)
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    depth = draw(st.integers(0, 12))
    row = -np.floor(depth * random.random(size) ** draw(st.floats(0.05, 3)))
    row += draw(st.integers(-40, 100))
    if draw(st.booleans()):
        row[random.random(size) < draw(st.floats(0, 0.99))] = -np.inf
        row[draw(st.integers(0, size - 1))] = 0
    top_p = draw(st.one_of(st.integers(1, 64).map(lambda n: n / 64), st.just(2.0**-30)))
    params = SamplingParams(
        temperature=BINARY,
        top_k=draw(st.one_of(st.just(0), st.integers(1, size + 1), st.integers(1, 60))),
        top_p=top_p,
        min_p=draw(st.sampled_from([0, 0, 2.0**-3, 2.0**-9])),
    )
    return row, params


@settings(max_examples=300, deadline=None)
@given(binary_cases(), st.sampled_from([torch.float32, torch.bfloat16, torch.float16]))
def test_filters_keep_what_exact_fractions_keep(case, dtype):
    row, params = case
    kept = kept_exactly(row, params)
    distribution = probs(torch.from_numpy(row)[None].to(dtype), params)[0].double().numpy()
    assert ((distribution > 0) == kept).all()
    expected = np.where(kept, np.exp2(row - row.max()), 0)
    assert np.abs(distribution - expected / expected.sum()).max() <= 1e-7


@st.composite
def rough_rows(draw):
    """float32 [vocab] rows that a reading in one pass could get wrong."""
    size = draw(VOCABS)
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    row = (draw(st.sampled_from([0.0, 0.01, 3.0, 60.0])) * random.standard_normal(size)).astype("f")
    shape = draw(st.sampled_from(["as is", "rising", "falling", "few values", "far up", "masked"]))
    if shape == "rising":
        row.sort()
    elif shape == "falling":
        row = -np.sort(-row)
    elif shape == "few values":
        row = row.round()
    elif shape == "far up":
        row[random.integers(size)] += draw(st.sampled_from([20, 100, 1000, 1e5]))
    elif shape == "masked":
        row[: size * 9 // 10] = draw(st.sampled_from([-np.inf, -1e30, np.finfo("f").min]))
    return np.ascontiguousarray(row, dtype=np.float32)


PARAMS = st.builds(
    SamplingParams,
    temperature=st.floats(0.05, 5),
    top_k=st.one_of(st.just(0), st.integers(1, 3000)),
    top_p=st.one_of(st.just(1.0), st.floats(1e-9, 1), st.floats(0.999999, 1)),
    min_p=st.one_of(st.just(0.0), st.floats(0, 0.9)),
)


@settings(max_examples=300, deadline=None)
@given(rough_rows(), PARAMS, st.booleans())
def test_totals_are_the_fixed_order_sums_on_every_instruction_set(row, params, half):
    """However a row is read, chunk totals are those of a sum over the kept entries alone."""
    rows = torch.from_numpy(row)[None]
    rows = rows.bfloat16() if half else rows
    distributions, tokens = [], []
    try:
        for name in testing.instruction_sets():
            testing.use_instruction_set(name)
            distributions.append(testing.distribution_of(rows, params))
            tokens.append(_core.sample_rows(rows, params, [0.7]))
    finally:
        testing.use_instruction_set("")
    *_, totals, anew = distributions[0]
    assert totals == anew
    assert all(distribution == distributions[0] for distribution in distributions)
    assert all(token == tokens[0] for token in tokens)


@settings(max_examples=200, deadline=None)
@given(rough_rows(), st.floats(0.1, 5), st.integers(1, 3000))
def test_top_k_is_the_kth_largest(row, temperature, top_k):
    rows = torch.from_numpy(row)[None]
    _, lower, *_ = testing.distribution_of(
        rows, SamplingParams(temperature=temperature, top_k=top_k)
    )
    _, lowest, *_ = testing.distribution_of(rows, SamplingParams(temperature=temperature))
    kth = np.sort(row)[::-1][min(top_k, len(row)) - 1]
    assert (row >= lower).tolist() == (row >= max(kth, lowest)).tolist()


@settings(max_examples=200, deadline=None)
@given(rough_rows(), st.floats(0.1, 5), st.floats(1e-6, 0.9999))
def test_top_p_is_the_smallest_set_that_reaches_it(row, temperature, top_p):
    rows = torch.from_numpy(row)[None]
    _, lower, *_ = testing.distribution_of(
        rows, SamplingParams(temperature=temperature, top_p=top_p)
    )
    mass = np.exp((row.astype("d") - row.max()) / temperature)
    mass /= mass.sum()
    assert mass[row >= lower].sum() >= top_p - 1e-6
    assert mass[row > row[row >= lower].min()].sum() <= top_p + 1e-6


@pytest.mark.parametrize("value", [0.0, -3.5, 1e5])
def test_equal_logits_are_all_kept(value):
    """151,936 ties: nothing to select, and quickly so."""
    rows = torch.full((1, 151936), value)
    for params in (SamplingParams(top_p=0.5), SamplingParams(top_k=50, top_p=0.5)):
        assert (probs(rows, params) > 0).all()


def test_logits_crowded_near_zero_are_told_apart():
    """2,000 neighbouring floats far below the largest range of a bin."""
    row = np.arange(2000, dtype=np.int32).view(np.float32) + np.float32(0)
    row = np.concatenate([row, np.float32([-20])])
    distribution = probs(torch.from_numpy(row)[None], SamplingParams(top_k=700))[0].numpy()
    assert (distribution > 0).sum() == 700
    assert (distribution[1300:2000] > 0).all()


@settings(max_examples=100, deadline=None)
@given(rough_rows(), st.floats(0.01, 1), st.integers(0, 2**32 - 1))
def test_residuals_are_the_same_on_every_instruction_set(row, z, seed):
    """Terms max(target - z * draft, 0), summed in 32 lanes, then their tree."""
    target = torch.from_numpy(row[:4096])[None]
    draft = target + torch.randn(target.shape, generator=torch.Generator().manual_seed(seed))
    draft = draft.bfloat16()
    if target.amax() < -1e6:  # the chunk is masked throughout
        target = draft = torch.zeros_like(target)
    distribution, other = (
        np.array(testing.distribution_masses(rows, SamplingParams())[0])
        for rows in (target, draft.bfloat16())
    )
    terms = np.maximum(distribution - z * other, 0)
    found = []
    try:
        for name in testing.instruction_sets():
            testing.use_instruction_set(name)
            found.append(testing.residual_of(target, draft, z))
    finally:
        testing.use_instruction_set("")
    total, ours = found[0]
    assert all(other == found[0] for other in found)
    assert np.abs(np.array(ours) - terms).max() <= 1e-15  # one rounding less than numpy's
    lanes = np.zeros(32)
    for line in np.pad(ours, (0, -len(ours) % 32)).reshape(-1, 32):
        lanes += line
    for step in (16, 8, 4, 2, 1):
        lanes[:step] += lanes[step : 2 * step]
    assert total == lanes[0]


def nucleus_by_definition(row, top_p):
    """detail/distribution.h in integers, for rows of integer logits: the smallest logit that top-p
    keeps.
    """
    *_, totals, _ = testing.distribution_of(torch.from_numpy(row)[None].float(), AS_BINARY)
    target = max(int(top_p * sum(totals) * 2**40), 1)
    reached = 0
    for x in sorted({x for x in row.tolist() if x >= row.max() - 124}, reverse=True):
        reached += (2**40 >> int(row.max() - x)) * int((row == x).sum())
        if reached >= target:
            return x
    return x


AS_BINARY = SamplingParams(temperature=BINARY)


@settings(max_examples=200, deadline=None)
@given(VOCABS, st.integers(10, 130), st.integers(0, 2**32 - 1), st.integers(1, 45))
@example(774, 127, 771843, 25)  # an entry 124 octaves below the largest, the last that has mass
def test_top_p_near_one_is_its_definition_to_the_bit(size, depth, seed, bits):
    row = -np.floor(depth * np.random.default_rng(seed).random(size) ** 0.5)
    top_p = 1 - 2.0**-bits
    params = SamplingParams(temperature=BINARY, top_p=top_p)
    _, lower, *_ = testing.distribution_of(torch.from_numpy(row)[None].float(), params)
    assert row[row >= lower].min() == nucleus_by_definition(row, top_p)


def test_what_rounding_takes_is_found_among_the_smallest():
    """The float total is 2^-24 too large, so entries of 2^-38 are needed to reach top_p."""
    row = np.full(9000, -60.0)
    row[[0, 32, 64]] = 0, -23, -24  # of one lane: 1 + 2^-23 + 2^-24 rounds up
    row[128:8320] = -38
    top_p = 1 - 9 * 2.0**-27
    assert nucleus_by_definition(row, top_p) == -38
    distribution = probs(torch.from_numpy(row)[None].float(), SamplingParams(BINARY, top_p=top_p))[
        0
    ]
    assert ((distribution > 0).numpy() == (row >= -38)).all()
