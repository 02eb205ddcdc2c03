"""The exact output distribution of every verifier with every distribution it takes, on trees, from
the shipped source.
"""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anydraft import SamplingParams, TreeShape, verifiers
from anydraft._core.testing import distribution_masses
from anydraft.testing import output_distribution, row_of
from tests.distributions.tables import PARAMS, adversarial_rows, random_rows
from tests.reference import rows as reference_rows
from tests.reference import schemes as reference_schemes
from tests.reference import trees
from tests.reference.block import block
from tests.reference.match import match
from tests.reference.top_down import top_down
from tests.reference.traversal import traversal

PAIRS = [
    (info["name"], scheme)
    for info in verifiers()
    for scheme in info["proposals"].split(", ")
    if info["shapes"] != "chain"
]
# (shape, vocabulary, depth): up to 7 nodes; the multi-path ones are paths that only merge.
TREES = [("3", 5, 1), ("2x2", 3, 2), ("2,1,1", 2, 3), ("3x1", 3, 2)]
PATHS = [("3", 4, 1), ("2x1", 3, 2), ("3x1x1", 2, 3), ("2x1x1", 2, 3)]


def check(verifier, tables, shape, scheme, **options):
    outcome = output_distribution(verifier, *tables, shape, scheme=scheme, **options)
    assert sum(outcome.rounds.values()) == pytest.approx(1, abs=1e-12)
    assert outcome.error <= 1e-12
    return outcome


def cases(verifier):
    return PATHS if verifier == "multipath" else TREES


@pytest.mark.parametrize(("verifier", "scheme"), PAIRS)
@pytest.mark.parametrize("params", PARAMS.values(), ids=PARAMS)
def test_random_rows(verifier, scheme, params):
    for shape, vocab, depth in cases(verifier):
        for seed, spread in ((0, 0.5), (1, 2.0)):
            check(verifier, random_rows(seed, vocab, depth, spread), shape, scheme, sampling=params)


@pytest.mark.parametrize(("verifier", "scheme"), PAIRS)
@pytest.mark.parametrize("name", adversarial_rows(3, 1))
def test_adversarial_rows(verifier, scheme, name):
    tables = adversarial_rows(3, 2)[name]
    for params in (SamplingParams(), PARAMS["all filters"], PARAMS["greedy"]):
        for pair in (tables, tables[::-1]):
            check(
                verifier, pair, "2x1" if verifier == "multipath" else "2x2", scheme, sampling=params
            )


@pytest.mark.parametrize("scheme", ["one_hot", "without_replacement", "spechub", "greedy_k", "iid"])
@pytest.mark.parametrize("verifier", ["top_down", "traversal"])
def test_dynamic_trees(verifier, scheme):
    """The drafter's own probabilities say where to grow: whatever they say, nothing is lost."""
    for shape in (TreeShape((2,), max_nodes=5, depth=3, beam=1), TreeShape((3,), 6, 2, 2)):
        for seed in range(3):
            check(verifier, random_rows(seed, 2 if shape.depth == 3 else 3, 3, 1.5), shape, scheme)


@pytest.mark.parametrize("scheme", ["iid", "without_replacement"])
def test_a_draw_stated_as_certain_is_lossless(scheme):
    for verifier in ("top_down", "traversal", "match"):
        check(verifier, random_rows(3, 3, 2, 1.5), "2x2", scheme, stated_scheme="one_hot")


def test_drafter_with_its_own_parameters():
    own = SamplingParams(temperature=0.4, top_k=2)
    for verifier, scheme in PAIRS:
        shape = "2x1" if verifier == "multipath" else "2x2"
        check(verifier, random_rows(2, 3, 2, 1.5), shape, scheme, draft_sampling=own)


@settings(max_examples=60, deadline=None)
@given(
    pair=st.sampled_from(PAIRS),
    seed=st.integers(0, 2**20),
    widths=st.lists(st.integers(1, 3), min_size=1, max_size=2),
    vocab=st.integers(1, 4),
    spread=st.sampled_from([0.1, 1.0, 6.0, 30.0]),
    params=st.sampled_from(list(PARAMS.values())),
)
def test_random_trees(pair, seed, widths, vocab, spread, params):
    verifier, scheme = pair
    if verifier == "multipath":
        widths = [widths[0]] + [1] * (len(widths) - 1)
    if vocab == 4 and len(widths) == 2:
        widths[1] = 1
    tables = random_rows(seed, vocab, len(widths), spread)
    check(verifier, tables, "x".join(map(str, widths)), scheme, sampling=params)


def exact_rounds(verifier, tables, scheme, shape, vocab, params):
    """The reference's distribution of a round, from the masses of our rows as fractions."""
    schemes = [
        [
            reference_rows.norm([Fraction(mass) for mass in row])
            for row in distribution_masses(rows, params)
        ]
        for rows in tables
    ]
    target, draft = (lambda prefix, of=of: of[row_of(prefix, vocab)] for of in schemes)
    draw = reference_schemes.SCHEMES[scheme]
    drawn = trees.drafts(
        trees.static(trees.shape(shape)), target, lambda prefix, k: draw(draft(prefix), k)
    )
    return trees.round_distribution(verifier, drawn)


VERIFIERS = {"top_down": top_down, "traversal": traversal, "match": match, "block": block}


@pytest.mark.parametrize(
    ("verifier", "scheme"),
    [
        (v, scheme)
        for v in VERIFIERS
        for scheme in reference_schemes.SCHEMES
        if v != "match" or scheme == "one_hot"
    ],
)
def test_rounds_are_those_of_the_exact_reference(verifier, scheme):
    """Not only the text: how many tokens a round keeps is the reference's, in fractions."""
    chains = [("1x1", 3, 2)]
    for shape, vocab, depth in chains if verifier == "block" else [*chains, *TREES]:
        if (scheme in ("spechub", "greedy_k") and "1" in shape) or (
            scheme == "spechub" and "3" in shape
        ):
            continue  # a lone child is verified as certain; SpecHub has two
        tables = random_rows(5, vocab, depth, 1.5)
        # A one-hot child may lack mass in our distributions, so filters would change what is
        # compared.
        cut = 1 if scheme == "one_hot" else 0.9
        for params in (SamplingParams(), SamplingParams(temperature=0.6, top_p=cut)):
            ours = output_distribution(
                verifier, *tables, shape, scheme=scheme, sampling=params
            ).rounds
            exact = exact_rounds(VERIFIERS[verifier], tables, scheme, shape, vocab, params)
            for block_ in exact.keys() | ours.keys():
                assert ours.get(block_, 0) == pytest.approx(float(exact[block_]), abs=1e-12)


# What is told to the verifier but is not how the children were drawn must show.
WRONG = [
    ("without_replacement", "iid"),
    ("iid", "without_replacement"),
    ("spechub", "iid"),
    ("spechub", "without_replacement"),
    ("iid", "spechub"),
]


@pytest.mark.parametrize(("drawn", "stated"), WRONG)
@pytest.mark.parametrize("verifier", ["top_down", "traversal"])
def test_wrong_distributions_are_caught(verifier, drawn, stated):
    worst = 0.0
    for seed in range(5):
        tables = random_rows(seed, 3, 1, 1.5)
        try:
            wrong = output_distribution(verifier, *tables, "2", scheme=drawn, stated_scheme=stated)
        except ValueError as error:  # a duplicate has no mass without replacement
            assert "mass in its own distribution" in str(error)
            worst = 1.0
        else:
            worst = max(worst, wrong.error)
    assert worst > 0.01


def test_blocks_known_from_the_papers():
    """Sun et al. 2024 (block verification), the toy: 10/9 tokens accepted against 11/9."""
    target, draft = np.log(np.array([[1 / 3, 2 / 3], [2 / 3, 1 / 3]], np.float32))
    tables = [np.tile(row, (7, 1)) for row in (target, draft)]
    assert check("top_down", tables, "1x1", "iid").accepted == pytest.approx(10 / 9, abs=1e-6)
    for verifier in ("block", "traversal", "multipath"):
        assert check(verifier, tables, "1x1", "iid").accepted == pytest.approx(11 / 9, abs=1e-6)
