"""anydraft.theory against exact references, linear programs and the papers' tables."""

import doctest
import importlib
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anydraft import InputError, theory
from tests.reference import schemes, trees
from tests.reference.kseq import find_rho, kseq
from tests.reference.rows import norm
from tests.reference.top_down import top_down


@pytest.mark.parametrize("module", ["chains", "siblings", "transport"])
def test_examples(module):
    found = doctest.testmod(importlib.import_module(f"anydraft.theory.{module}"))
    assert found.attempted and not found.failed


def test_importing_it_needs_no_numpy():
    code = (
        "import sys; sys.modules['numpy'] = sys.modules['scipy'] = None\n"
        "from anydraft import theory; print(theory.expected_tokens(0.5, 1))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout == "1.5\n", run.stderr


# ---- Leviathan et al. 2023 -----------------------------------------------------------------------
# (alpha, draft length): operations, speed at no cost of drafting. Their table 1.
TABLE_1 = {
    (0.6, 2): (1.53, 1.96),
    (0.7, 3): (1.58, 2.53),
    (0.8, 2): (1.23, 2.44),
    (0.8, 5): (1.63, 3.69),
    (0.9, 2): (1.11, 2.71),
    (0.9, 10): (1.60, 6.86),
}
# task, drafter: draft length, alpha, predicted speed. Their tables 2 and 3 (T5-XXL).
COST = {"small": 0.02, "base": 0.04, "large": 0.11}
PREDICTED = [
    ("small", 7, 0.75, 3.2),
    ("base", 7, 0.80, 3.3),
    ("large", 7, 0.82, 2.5),
    ("small", 7, 0.62, 2.3),
    ("base", 5, 0.68, 2.4),
    ("large", 3, 0.71, 2.0),
    ("small", 5, 0.65, 2.4),
    ("base", 5, 0.73, 2.6),
    ("large", 3, 0.74, 2.0),
    ("small", 5, 0.53, 1.9),
    ("base", 3, 0.55, 1.8),
    ("large", 3, 0.56, 1.6),
]


@pytest.mark.parametrize("point", TABLE_1)
def test_operations_and_speed_of_the_paper(point):
    operations, speed = TABLE_1[point]
    assert theory.operations_factor(*point) == pytest.approx(operations, abs=0.006)
    assert theory.walltime_improvement(*point, 0.0) == pytest.approx(speed, abs=0.006)


@pytest.mark.parametrize(("drafter", "length", "alpha", "speed"), PREDICTED)
def test_predicted_speeds_of_the_paper(drafter, length, alpha, speed):
    """alpha and c are rounded in the paper: to .005 and about a tenth."""
    found = theory.walltime_improvement(alpha, length, COST[drafter])
    assert found == pytest.approx(speed, abs=0.1)


def test_some_length_gains_exactly_where_alpha_exceeds_the_cost():
    for alpha in np.linspace(0.02, 0.98, 25):
        for cost in (0.05, 0.3, 0.6):
            if abs(alpha - cost) > 1e-9:
                assert (theory.best_draft_length(alpha, cost) > 0) == (alpha > cost)


def test_measured_costs_of_verification():
    """On a CPU that repacks its weights for two rows and more, short drafts do not pay."""
    stock, packed = [1.0, 2.03, 2.3, 2.85], [1.0, 1.13, 1.18, 1.23]
    best = [
        theory.best_draft_length(0.7, 0.23, cost.__getitem__, longest=3) for cost in (stock, packed)
    ]
    assert best[0] == 0 < best[1]
    assert theory.walltime_improvement(1.0, 3, 0.0, 2.0) == 2.0


# ---- Several drafts ------------------------------------------------------------------------------
@st.composite
def pairs(draw, vocab=4):
    rows = []
    for _ in range(2):
        numerators = draw(st.lists(st.integers(0, 9), min_size=vocab, max_size=vocab))
        rows.append(norm([Fraction(n) for n in (numerators if any(numerators) else [1] * vocab)]))
    return rows


def exact(target, draft, k, scheme):
    """Acceptance by enumeration, in fractions."""
    drawn = trees.drafts(
        trees.static(trees.shape(str(k))),
        lambda _: target,
        lambda _, k: schemes.SCHEMES[scheme if scheme != "kseq" else "iid"](draft, k),
    )
    return trees.expected_accepted(
        trees.round_distribution(kseq if scheme == "kseq" else top_down, drawn)
    )


def exact_mass(target, draft, token, k, scheme):
    ways = schemes.SCHEMES[scheme](draft, k)
    drawn = trees.drafts(trees.static(trees.shape(str(k))), lambda _: target, lambda *_: ways)
    rounds = trees.round_distribution(top_down, drawn)
    return sum(mass for tokens, mass in rounds.items() if len(tokens) == 2 and tokens[0] == token)


@settings(max_examples=40, deadline=None)
@given(pairs(), st.integers(1, 2))
def test_accepted_masses_are_those_of_the_reference(rows, k):
    for scheme in theory.SCHEMES:
        if scheme == "spechub" and k != 2:
            continue
        found = [theory.accepted_mass(*floats(*rows), token, k, scheme) for token in range(4)]
        assert sum(found) == pytest.approx(theory.acceptance(*floats(*rows), k, scheme), abs=1e-12)
        assert all(mass <= target + 1e-12 for mass, target in zip(found, rows[0], strict=True))
        if scheme != "kseq":
            expected = [float(exact_mass(*rows, token, k, scheme)) for token in range(4)]
            assert found == pytest.approx(expected, abs=1e-12)


def floats(*rows):
    return [[float(mass) for mass in row] for row in rows]


@settings(max_examples=40, deadline=None)
@given(pairs(), st.integers(1, 3))
def test_closed_forms_are_those_of_the_reference(rows, k):
    for scheme in theory.SCHEMES:
        if scheme == "spechub" and k != 2:
            continue
        if scheme == "kseq":  # the reference's rho is coarser, and from above
            rho = find_rho(*rows, k)
            assert -1e-9 <= float(rho) - theory.kseq_rho(*floats(*rows), k) <= (k - 1) / 2**8 + 1e-9
            found = theory.acceptance(*floats(*rows), k, scheme)
            assert float(exact(*rows, k, scheme)) == pytest.approx(found, abs=0.02)
        else:
            found = theory.acceptance(*floats(*rows), k, scheme)
            assert found == pytest.approx(float(exact(*rows, k, scheme)), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(pairs(5), st.integers(1, 3))
def test_optimal_acceptance_is_the_value_of_the_linear_program(rows, k):
    target, draft = floats(*rows)
    for scheme in theory.SCHEMES:
        if (scheme == "spechub" and k != 2) or (scheme == "without_replacement" and k > 2):
            continue
        best = theory.transport_lp(target, theory.draft_sets(draft, k, scheme))
        assert theory.optimal_acceptance(target, draft, k, scheme) == pytest.approx(best, abs=1e-9)
        assert theory.acceptance(target, draft, k, scheme) <= best + 1e-9


def test_sets_are_those_of_the_draft_distributions():
    draft = norm([Fraction(n) for n in (4, 3, 2, 0, 1)])
    for scheme, k in (("iid", 3), ("without_replacement", 3), ("spechub", 2), ("greedy_k", 3)):
        sets = {}
        for children, mass, _ in schemes.SCHEMES[scheme](draft, k):
            sets[frozenset(children)] = sets.get(frozenset(children), 0) + mass
        assert theory.draft_sets(*floats(draft), k, scheme) == pytest.approx(
            {key: float(mass) for key, mass in sets.items()}
        )


def test_a_hub_of_nearly_all_mass():
    """1 - draft[hub] has no digit left in float64; the sum of the others has all."""
    tiny = [1.0, 3e-20, 1e-20]
    assert theory.acceptance([0.0, 0.75, 0.25], tiny, 2, "spechub") == pytest.approx(1.0)
    assert theory.acceptance([0.0, 0.25, 0.75], tiny, 2, "spechub") == pytest.approx(0.5)
    best = theory.optimal_acceptance([0.0, 0.25, 0.75], tiny, 2, "without_replacement")
    assert best == pytest.approx(0.5)
    sets = theory.draft_sets(tiny, 2, "without_replacement")
    assert best == pytest.approx(theory.transport_lp([0.0, 0.25, 0.75], sets))
    second = theory.acceptance([0.0, 0.25, 0.75], tiny, 2, "without_replacement")
    assert second == pytest.approx(0.5)


def test_large_rows_are_fast():
    """[151936] rows: sorted once or twice, never V^2."""
    rng = np.random.default_rng(0)
    target, draft = rng.dirichlet(np.full(151936, 0.01), 2)
    for scheme in ("iid", "without_replacement", "spechub", "kseq"):
        assert 0 <= theory.gap(target, draft, 2, scheme) <= 1


ROW = [0.5, 0.5]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.acceptance_rate([0.5, 0.6], ROW), "target_probs of finite masses"),
        (lambda: theory.acceptance_rate([float("nan"), 1], ROW), "sum to 1"),
        (lambda: theory.acceptance_rate([1.5, -0.5], ROW), "masses >= 0"),
        (lambda: theory.acceptance_rate([1.0], ROW), "one vocabulary, got 1 and 2"),
        (lambda: theory.acceptance_rate([ROW], [ROW]), r"\[vocab\], got shape \[1, 2\]"),
        (lambda: theory.acceptance(ROW, ROW, 0), "k >= 1, got 0"),
        (lambda: theory.acceptance(ROW, ROW, 3, "spechub"), "k = 2 for scheme spechub, got 3"),
        (lambda: theory.acceptance(ROW, ROW, 2, "hubs"), "expected a scheme of iid"),
        (lambda: theory.accepted_mass(ROW, ROW, 2), r"token in \[0, 2\)"),
        (lambda: theory.gap(ROW, ROW, 3, "without_replacement"), "k <= 2"),
        (lambda: theory.expected_tokens(1.1, 2), "0 <= alpha <= 1"),
        (lambda: theory.operations_factor(0.5, -1), "draft_length >= 0"),
        (lambda: theory.walltime_improvement(0.5, 1, -0.1), "cost_ratio >= 0"),
    ],
)
def test_errors(call, message):
    with pytest.raises(InputError, match=message):
        call()
