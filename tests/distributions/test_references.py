"""The references are lossless, exactly: output distribution == target distribution, as
fractions.
"""

import itertools
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference import multipath, schemes, trees
from tests.reference.block import block
from tests.reference.bridges import psi, texts_of, tli_row
from tests.reference.kseq import find_rho, kseq
from tests.reference.match import match
from tests.reference.rows import delta, norm, random_model
from tests.reference.top_down import top_down
from tests.reference.traversal import traversal, traversal_by_masses

VERIFIERS = {"top_down": top_down, "traversal": traversal, "masses": traversal_by_masses}

SHAPES = {  # name -> (vocabulary, parents)
    "one child": (4, trees.shape("1")),
    "two children": (5, trees.shape("2")),
    "three children": (4, trees.shape("3")),
    "chain": (2, trees.shape("1,1,1")),
    "2x2": (3, trees.shape("2x2")),
    "2,1,1": (2, trees.shape("2,1,1")),
    "3,1": (3, trees.shape("3,1")),
    "leaves at depths 1, 2, 3": (2, (-1, 0, 0, 1, 1, 3)),
    "the second child alone has children": (3, (-1, 0, 0, 2, 2)),
}


def allowed(scheme, parents):
    widths = {parents.count(node) for node in parents if node >= 0}
    return scheme != "spechub" or widths == {2}


def row(*numerators):
    return norm([Fraction(n) for n in numerators])


# (target, draft): the cases on which implementations broke.
PAIRS = {
    "equal": (row(3, 2, 1), row(3, 2, 1)),
    "ties everywhere": (row(1, 1, 1), row(1, 1, 1)),
    "ties in the draft": (row(3, 1, 2), row(1, 1, 1)),
    "zeros in the target": (row(0, 1, 1), row(2, 1, 1)),
    "zeros in the draft": (row(1, 1, 1), row(0, 3, 1)),
    "disjoint": (row(1, 0, 1), row(0, 1, 0)),
    "disjoint, two drafted": (row(1, 0, 0), row(0, 1, 1)),
    "one-hot target": (row(0, 1, 0), row(1, 1, 1)),
    "one-hot draft": (row(1, 1, 1), row(0, 1, 0)),
    "both one-hot, alike": (row(0, 1, 0), row(0, 1, 0)),
    "both one-hot, apart": (row(1, 0, 0), row(0, 1, 0)),
    "nearly one-hot": (row(10**9, 1, 1), row(10**9, 1, 0)),
}


def loss(verifier, parents, target, draft, scheme):
    return trees.loss(
        verifier,
        trees.static(parents),
        target,
        lambda prefix, k: schemes.SCHEMES[scheme](draft(prefix), k),
        depth(parents) + 1,
    )


def depth(parents):
    depths = [0] * len(parents)
    for node, parent in enumerate(parents[1:], 1):
        depths[node] = depths[parent] + 1
    return max(depths)


@pytest.mark.parametrize(
    ("scheme", "shape"),
    [
        (scheme, name)
        for scheme in schemes.SCHEMES
        for name in SHAPES
        if allowed(scheme, SHAPES[name][1])
    ],
)
def test_every_distribution_and_verifier_is_lossless_on_random_models(scheme, shape):
    vocab, parents = SHAPES[shape]
    for seed, verifier in itertools.product(range(3), VERIFIERS.values()):
        target, draft = random_model(f"t{seed}", vocab), random_model(f"d{seed}", vocab)
        assert loss(verifier, parents, target, draft, scheme) == 0


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("scheme", schemes.SCHEMES)
def test_every_distribution_and_verifier_is_lossless_on_adversarial_rows(scheme, pair):
    for rows, parents in itertools.product(
        (PAIRS[pair], PAIRS[pair][::-1]), (trees.shape("2"), trees.shape("2,2"))
    ):
        for verifier in VERIFIERS.values():
            assert (
                loss(verifier, parents, lambda _, r=rows: r[0], lambda _, r=rows: r[1], scheme) == 0
            )


@st.composite
def rows_of(draw, vocab):
    numerators = draw(st.lists(st.integers(0, 6), min_size=vocab, max_size=vocab))
    return row(*numerators) if any(numerators) else delta(0, vocab)


@st.composite
def small_trees(draw):
    """Parents of at most five nodes."""
    parents = [-1]
    for node in range(1, draw(st.integers(2, 5))):
        parents.append(draw(st.integers(0, node - 1)))
    return tuple(parents)


@settings(max_examples=60, deadline=None)
@given(
    small_trees(),
    st.integers(2, 3),
    st.integers(0, 10**9),
    st.sampled_from(sorted(schemes.SCHEMES)),
)
def test_random_trees(parents, vocab, seed, scheme):
    if not allowed(scheme, parents):
        scheme = "without_replacement"
    target, draft = random_model(f"t{seed}", vocab), random_model(f"d{seed}", vocab)
    for verifier in (top_down, traversal):
        assert loss(verifier, parents, target, draft, scheme) == 0


@settings(max_examples=60, deadline=None)
@given(rows_of(4), st.lists(rows_of(4), min_size=1, max_size=3))
def test_children_of_distributions_of_their_own(target, rows):
    """Custom distributions: any rows, child by child; sparse ones are rows with zeros."""
    grow = trees.static(trees.shape(str(len(rows))))
    for verifier in VERIFIERS.values():
        assert (
            trees.loss(verifier, grow, lambda _: target, lambda _, k: schemes.custom(rows[:k]), 2)
            == 0
        )


def test_sparse_distributions_and_distributions_that_differ_from_node_to_node():
    """What is drawn follows from the draft row and the prefix: then any choice is lossless."""
    target, draft = random_model("t", 3), random_model("d", 3)
    mixed = {0: schemes.without_replacement, 1: schemes.hub, 2: schemes.row}

    def draw(prefix, k):
        if prefix == (0,):
            return schemes.sparse([2, 0, 2], [Fraction(1, 4)] * 3, 3, k)
        return mixed[sum(prefix) % 3](draft(prefix), k)

    for verifier in VERIFIERS.values():
        assert trees.loss(verifier, trees.static(trees.shape("2,2")), target, draw, 3) == 0


@pytest.mark.parametrize("scheme", ["iid", "without_replacement", "spechub", "greedy_k", "one_hot"])
def test_trees_that_grow_where_the_drafter_is_sure(scheme):
    """Where to grow next depends on all tokens drawn so far."""
    for seed in range(3):
        target, draft = random_model(f"t{seed}", 2, zeros=0), random_model(f"d{seed}", 2, zeros=0)
        for verifier in VERIFIERS.values():
            lost = trees.loss(
                verifier,
                trees.best_first(6, 2),
                target,
                lambda prefix, k, draft=draft: schemes.SCHEMES[scheme](draft(prefix), k),
                4,
            )
            assert lost == 0


def test_stopping_after_an_unlikely_token_keeps_the_distribution():
    """The chain ends there, and the token stays in the draft (dropping it is lossy)."""

    def grow(draft):
        last = len(draft.tokens) - 1
        unsure = last and draft.distributions[last][draft.tokens[last]] < Fraction(1, 3)
        return None if unsure or last == 3 else (last, 1)

    for seed in range(5):
        target, draft = random_model(f"t{seed}", 3), random_model(f"d{seed}", 3)
        for verifier in (top_down, traversal, block):
            draw = lambda prefix, k, draft=draft: schemes.row(draft(prefix), k)  # noqa: E731
            assert trees.loss(verifier, grow, target, draw, 4) == 0


def joint(verifier, parents, target, draft, scheme):
    drawn = trees.drafts(
        trees.static(parents),
        target,
        lambda prefix, k: schemes.SCHEMES[scheme](draft(prefix), k),
    )
    return +trees.joint_distribution(verifier, drawn)


@pytest.mark.parametrize("scheme", schemes.SCHEMES)
def test_both_forms_of_traversal_are_one_distribution(scheme):
    """Not only the text: the same nodes are kept as often."""
    for seed in range(4):
        target, draft = random_model(f"t{seed}", 3), random_model(f"d{seed}", 3)
        args = trees.shape("2,2"), target, draft, scheme
        assert joint(traversal, *args) == joint(traversal_by_masses, *args)


@pytest.mark.parametrize("scheme", ["iid", "one_hot"])
def test_traversal_of_a_chain_is_block_verification(scheme):
    for seed in range(8):
        target, draft = random_model(f"t{seed}", 3), random_model(f"d{seed}", 3)
        args = trees.shape("1,1,1"), target, draft, scheme
        assert joint(block, *args) == joint(traversal, *args)
        assert loss(block, *args) == 0


@pytest.mark.parametrize("scheme", schemes.SCHEMES)
def test_at_depth_one_traversal_is_top_down(scheme):
    for seed in range(4):
        target, draft = random_model(f"t{seed}", 4), random_model(f"d{seed}", 4)
        args = trees.shape("2"), target, draft, scheme
        assert joint(top_down, *args) == joint(traversal, *args)


def test_match_is_the_generic_step_with_one_hot_distributions():
    for seed, shape in itertools.product(range(3), ("2,2", "3,1", "1,1,1")):
        target, draft = random_model(f"t{seed}", 3), random_model(f"d{seed}", 3)
        args = trees.shape(shape), target, draft, "one_hot"
        assert joint(match, *args) == joint(top_down, *args)
        assert loss(match, *args) == 0


@pytest.mark.parametrize("pair", PAIRS)
def test_kseq_is_lossless_on_adversarial_rows(pair):
    for target, draft in (PAIRS[pair], PAIRS[pair][::-1]):
        for shape in ("1", "2", "3", "2,2"):
            args = trees.shape(shape), lambda _, r=target: r, lambda _, r=draft: r, "iid"
            assert loss(kseq, *args) == 0
            assert loss(lambda tree: kseq(tree, rho=Fraction(3)), *args) == 0


def test_kseq_on_random_models():
    for seed in range(3):
        target, draft = random_model(f"t{seed}", 3), random_model(f"d{seed}", 3)
        assert loss(kseq, trees.shape("2,2"), target, draft, "iid") == 0
        assert find_rho(target(()), draft(()), 1) == 1


RULES = {
    "mixed": {},
    "greedy": {"share": 0},
    "first path": {"share": Fraction(1)},
    "fixed share": {"share": Fraction(2, 7)},
    "buckets": {"ranks": multipath.by_bucket},
    "by id": {"ranks": lambda target, _: range(len(target))},
    "one bucket": {"ranks": lambda target, _: [0] * len(target)},
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("vocab", "count", "length"), [(3, 2, 2), (2, 3, 2), (4, 3, 1), (2, 2, 3)])
def test_mixed_selection_is_lossless(rule, vocab, count, length):
    """Whatever the share and the ranks are: they are part of the distribution of what is
    selected.
    """
    for seed in range(2):
        world = multipath.models(random_model(f"t{seed}", vocab), random_model(f"d{seed}", vocab))
        assert multipath_loss(world, count, length, **RULES[rule]) == 0


@pytest.mark.parametrize("verifier", [top_down, traversal])
def test_iid_paths_as_a_tree_are_lossless_too(verifier):
    """How many paths share a node is a fact of the draft."""
    for seed, (vocab, count, length) in enumerate([(3, 2, 2), (2, 3, 2)]):
        world = multipath.models(random_model(f"t{seed}", vocab), random_model(f"d{seed}", vocab))
        drawn = (
            (multipath.merged_tree(world, paths), mass)
            for paths, mass in multipath.path_draws(world.draft, count, length)
        )
        scheme = trees.output_distribution(
            trees.round_distribution(verifier, drawn), world.target, length + 1
        )
        assert trees.distance(scheme, trees.target_distribution(world.target, length + 1)) == 0


@pytest.mark.parametrize("pair", PAIRS)
def test_mixed_selection_on_adversarial_rows(pair):
    for target, draft in (PAIRS[pair], PAIRS[pair][::-1]):
        world = multipath.models(lambda _, r=target: r, lambda _, r=draft: r)
        for rule in ("mixed", "greedy", "buckets"):
            assert multipath_loss(world, 2, 2, **RULES[rule]) == 0


def test_mixed_selection_across_vocabularies():
    """Two drafter ids for one target token: paths part where the ids do."""
    for seed in range(4):
        world = multipath.models(
            random_model(f"t{seed}", 2), random_model(f"d{seed}", 3), (0, 0, 1)
        )
        assert multipath_loss(world, 2, 2) == 0


def multipath_loss(world, count, length, **rule):
    scheme = trees.output_distribution(
        multipath.round_distribution(world, count, length, **rule), world.target, length + 1
    )
    return trees.distance(scheme, trees.target_distribution(world.target, length + 1))


@pytest.mark.parametrize("scheme", ["iid", "without_replacement", "spechub", "greedy_k"])
def test_distributions_over_the_intersection_are_distributions_like_any_other(scheme):
    """TLI: ids 0 and 3 are one token, id 4 is not shared, the target's token 2 is not shared."""
    to_target = (0, 1, 3, 0, -1)
    for seed in range(3):
        target, draft = random_model(f"t{seed}", 4), random_model(f"d{seed}", 5)

        def draw(prefix, k, draft=draft):
            shared = tli_row(draft(prefix), to_target, 4)
            return schemes.SCHEMES[scheme](shared, k) if shared else [((), Fraction(1), [])]

        for verifier in VERIFIERS.values():
            assert trees.loss(verifier, trees.static(trees.shape("2,2")), target, draw, 3) == 0


def test_the_distribution_of_a_stop_rule_is_a_distribution_like_any_other():
    """SLRS: the first target token of two drafted characters, or of characters up to a b."""
    tokens, target, draft = ["a", "b", "ab", "ba"], random_model("t", 4), random_model("d", 2)
    for stop in (lambda words: len(words) == 2, lambda words: "b" in words or len(words) == 3):
        scheme = psi(texts_of(draft, ("a", "b"), stop), tokens)
        assert sum(scheme) == 1
        for name in ("iid", "spechub"):
            draw = schemes.SCHEMES[name](scheme, 2)
            lost = trees.loss(
                top_down, trees.static(trees.shape("2")), target, lambda _, k, d=draw: d, 2
            )
            assert lost == 0
