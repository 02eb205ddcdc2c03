"""`verify` as a pure function: exact cases, edges from PITFALLS, and what it refuses."""

import numpy as np
import pytest
import torch

from anydraft import (
    InputError,
    NonFiniteLogitsError,
    Proposal,
    SamplingParams,
    Trees,
    TreeShape,
    _core,
    draw_children,
    probs,
    verifiers,
    verify,
)

PLAIN = SamplingParams(seed=5)
ROW, ONE_HOT = Proposal("iid", 0), Proposal("one_hot")


def chain(target, draft, token, accept, pick, params=PLAIN):
    """One drafted token with given uniforms -> (accepted, next token)."""
    result = verify(
        Trees.chains([[0, token]]),
        torch.tensor([target, target]),
        proposals=[ROW, ROW],
        draft_logits=torch.tensor([draft]),
        sampling=params,
        uniforms=([0.5, accept], [pick, pick]),
    )
    return len(result.accepted) == 1, result.next_token[0]


def test_acceptance_is_the_ratio_of_masses():
    target, draft = np.log([0.2, 0.8]).tolist(), np.log([0.5, 0.5]).tolist()
    assert chain(target, draft, 0, 0.3999, 0.1) == (True, 0)
    assert chain(target, draft, 0, 0.4001, 0.1) == (False, 1)  # the residual is token 1 alone
    assert chain(target, draft, 1, 1 - 2**-53, 0.1)[0]


def test_p_below_q_everywhere_by_rounding_keeps_the_target():
    """0 / 0 would be NaN: ten equal masses whose residual has nothing left."""
    tenth = np.float32(0.1)
    target, draft = [float(tenth)] * 10, [float(np.nextafter(tenth, np.float32(1)))] * 10
    for accept in (2.0**-53, 1 - 2**-53):
        accepted, token = chain(target, draft, 3, accept, 0.55)
        assert accepted and token == 5


def test_a_token_without_mass_is_never_accepted_or_drawn():
    target, draft = [0.0, -np.inf, 0.0], [0.0, 0.0, 0.0]
    for pick in (2.0**-53, 0.5, 1 - 2**-53):
        accepted, token = chain(target, draft, 1, 2.0**-53, pick)
        assert not accepted and token != 1
    # The draft token has no mass in its own distribution by underflow: decided by the target alone.
    assert chain([0.0, 0.0], [0.0, -500.0], 1, 1 - 2**-53, 0.1)[0]
    assert not chain([0.0, -500.0], [0.0, -500.0], 1, 2.0**-53, 0.1)[0]


def test_a_certain_token_is_accepted_by_every_uniform():
    """With mass 1 by rounding, rejection would leave a residual without mass."""
    target = [0.0] + [-80.0] * 40
    for params in (PLAIN, SamplingParams(top_p=0.5)):
        result = verify(
            Trees.chains([[0, 0]]),
            torch.tensor([target, target]),
            proposals=[ONE_HOT, ONE_HOT],
            sampling=params,
            uniforms=([0.5, 1 - 2**-53], [0.5, 0.5]),
        )
        assert (result.accepted, result.next_token) == ([1], [0])


def random_batch(seed, requests=12, vocab=600):
    random = np.random.default_rng(seed)
    chains = [random.integers(0, vocab, random.integers(1, 6)).tolist() for _ in range(requests)]
    nodes = sum(map(len, chains))
    draft = random.standard_normal((nodes, vocab)).astype(np.float32)
    target = draft + 0.5 * random.standard_normal((nodes, vocab)).astype(np.float32)
    return chains, torch.from_numpy(target), torch.from_numpy(draft)


def test_a_request_does_not_depend_on_the_rest_of_the_batch():
    chains, target, draft = random_batch(1)
    distributions = [Proposal("iid", i) for i in range(len(target))]
    whole = verify(
        Trees.chains(chains),
        target,
        proposals=distributions,
        draft_logits=draft,
        sampling=PLAIN,
        positions=[9] * len(chains),
    )
    first = 0
    for i, tokens in enumerate(chains):
        rows = slice(first, first + len(tokens))
        first += len(tokens)
        # Strided and padded on its own: rows lie 700 entries apart.
        padded = torch.full((len(tokens), 700), -9.0)
        padded[:, :600] = target[rows]
        alone = verify(
            Trees.chains([tokens]),
            padded[:, :600],
            proposals=[Proposal("iid", j) for j in range(len(tokens))],
            draft_logits=draft[rows],
            sampling=PLAIN,
            requests=[i],
            positions=[9],
        )
        assert alone.next_token == [whole.next_token[i]]
        assert alone.accepted == whole.accepted[whole.offsets[i] : whole.offsets[i + 1]]


def test_siblings_follow_recursive_rejection():
    """Two i.i.d. siblings at one node: acceptance as in the exact recursion, by a grid of
    uniforms.
    """
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.2, 0.6])
    residual = np.maximum(p - q, 0)
    residual /= residual.sum()
    tree = Trees([0, 2, 1], [-1, 0, 0], [0, 3])
    rows = torch.tensor(np.log([p, p, p])).float()
    for second in np.linspace(0.001, 0.999, 60):
        result = verify(
            tree,
            rows,
            proposals=[ROW] * 3,
            draft_logits=torch.tensor(np.log([q])).float(),
            sampling=PLAIN,
            uniforms=([0.5, 1 - 1e-9, second], [0.5] * 3),
        )
        accepts = second < residual[1] / q[1]
        assert result.accepted == ([2] if accepts else [])


def test_match_says_what_plain_decoding_says():
    chains, target, _ = random_batch(2)
    result = verify(
        Trees.chains(chains),
        target,
        proposals=[ONE_HOT] * len(target),
        sampling=PLAIN,
        verifier="match",
        positions=[40] * len(chains),
    )
    first = 0
    for i, tokens in enumerate(chains):
        uniform = _core.uniform(5, i, 40, 0, 5)
        (plain,) = _core.sample_rows(target[first], PLAIN, [uniform])
        accepted = result.accepted[result.offsets[i] : result.offsets[i + 1]]
        said = [tokens[node] for node in accepted] + [result.next_token[i]]
        assert said[0] == plain
        first += len(tokens)


def test_every_listed_verifier_runs():
    names = ["top_down", "match", "traversal", "block", "multipath", "kseq"]
    assert [row["name"] for row in verifiers()] == names
    for row in verifiers():
        result = verify(
            Trees.chains([[0]]), torch.zeros(1, 3), proposals=[ONE_HOT], sampling=PLAIN,
            verifier=row["name"],
        )  # fmt: skip
        assert result.accepted == []


def test_what_does_not_fit_is_named():
    good = {
        "trees": Trees.chains([[0, 1], [0, 1]]),
        "target_logits": torch.zeros(4, 3),
        "proposals": [Proposal("iid", 0)] * 4,
        "draft_logits": torch.zeros(1, 3),
        "sampling": PLAIN,
    }
    tree = good["trees"]
    for change, message in [
        ({"target_logits": torch.zeros(3, 3)}, r"target_logits \[4, vocab\], got 3 rows"),
        ({"target_logits": torch.zeros(4, 2)}, r"draft_logits \[rows, 2\], got 3 columns"),
        ({"proposals": [ROW] * 3}, "distribution kinds of length 4, got 3"),
        ({"proposals": [Proposal("iid", 1)] * 4}, r"row of draft_logits .* at request 0, node 0"),
        ({"proposals": [Proposal("hubs")] * 4}, "a kind out of one_hot, iid, .*, got 'hubs'"),
        (
            {"proposals": [Proposal("sparse")] * 4},
            "a sparse distribution with mass, got none at request 0, node 0",
        ),
        (
            {"proposals": [Proposal("sparse", ids=[3], masses=[1.0])] * 4},
            r"ids .* in \[0, 3\), got 3",
        ),
        (
            {"proposals": [Proposal("sparse", ids=[1, 1], masses=[1.0, 1.0])] * 4},
            "distinct ids .* got 1",
        ),
        (
            {"proposals": [Proposal("sparse", ids=[1], masses=[1.0, 1.0])] * 4},
            "as many ids as masses",
        ),
        (
            {"proposals": [Proposal("sparse", ids=[0], masses=[1.0])] * 4},
            "mass in its own distribution, got 1",
        ),
        ({"verifier": "best"}, "top_down, match, .*, got best"),
        ({"verifier": "match"}, "proposals one_hot with verifier match, got iid"),
        ({"verifier": "multipath", "uniforms": ([0.5] * 4, [0.5] * 4)}, "select uniforms"),
        ({"verifier": "multipath", "acceptance": True}, "acceptance can be told: multipath"),
        (
            {"trees": Trees(tree.tokens, tree.parents, tree.offsets, [1, 1, 1, 2**31 - 1])},
            "1 to 65536 paths through a node, got 2147483647 at request 1, node 1",
        ),
        ({"sampling": [PLAIN] * 3}, "sampling of length 2, got 3"),
        ({"on_error": "ignore"}, 'on_error "raise" or "status"'),
        ({"trees": Trees([0, 1, 0, 3], tree.parents, tree.offsets)}, r"got 3 at request 1, node 1"),
        (
            {"trees": Trees(tree.tokens, [-1, 1, -1, 0], tree.offsets)},
            r"a parent in \[0, 1\), got 1",
        ),
        ({"trees": Trees(tree.tokens, [0, 0, -1, 0], tree.offsets)}, "parent -1 for the root"),
        ({"trees": Trees(tree.tokens, tree.parents, [0, 4, 2])}, "offsets that do not decrease"),
        ({"trees": Trees(tree.tokens, tree.parents, [0, 0, 4])}, "an empty tree at request 0"),
        ({"positions": [1]}, "positions of length 2, got 1"),
    ]:
        with pytest.raises(InputError, match=message):
            verify(**{**good, **change})
    rows = torch.zeros(4, 3)
    rows[2, 1] = torch.nan
    with pytest.raises(NonFiniteLogitsError, match="row 2"):
        verify(**{**good, "target_logits": rows})


def test_probs_of_one_row():
    assert probs(torch.zeros(4), SamplingParams(top_k=1)).tolist() == [0.25] * 4


def test_a_request_that_fails_leaves_the_others_alone():
    chains, target, draft = random_batch(3)
    trees = Trees.chains(chains)
    arguments = {
        "proposals": [Proposal("iid", i) for i in range(len(target))],
        "draft_logits": draft,
        "sampling": PLAIN,
    }
    good = verify(trees, target, **arguments)
    nan, cycle = target.clone(), list(trees.parents)
    nan[trees.offsets[2]] = torch.nan  # request 2 reads its root
    broken = next(i for i in range(3, 12) if len(chains[i]) > 1)
    cycle[trees.offsets[broken] + 1] = 1
    result = verify(Trees(trees.tokens, cycle, trees.offsets), nan, on_error="status", **arguments)
    for i in range(len(chains)):
        if i == 2:
            assert "NaN" in result.status[i] and f"row {trees.offsets[2]}" in result.status[i]
        elif i == broken:
            assert f"request {i}, node 1" in result.status[i]
        else:
            assert (result.status[i], result.path(i)) == (None, good.path(i))
            assert result.next_token[i] == good.next_token[i]
            continue
        assert (result.path(i), result.next_token[i]) == ([], -1)


def test_acceptance_of_each_node():
    """What is reported is what happens: a child is accepted by the uniforms below it, no others."""
    random = np.random.default_rng(5)
    target, draft = torch.from_numpy(random.standard_normal((2, 5, 4)).astype(np.float32))
    tree = Trees([0, 1, 3, 2, 0], [-1, 0, 0, 1, 1], [0, 5])
    distributions = [Proposal("without_replacement", i) for i in range(5)]
    for verifier in ("top_down", "traversal"):
        whole = verify(tree, target, proposals=distributions, draft_logits=draft, sampling=PLAIN,
                       verifier=verifier, acceptance=True)  # fmt: skip
        assert whole.acceptance[0] == 1 and len(whole.acceptance) == 5
        assert all(0 <= chance <= 1 for chance in whole.acceptance)
    given = {"proposals": distributions, "draft_logits": draft, "sampling": PLAIN}
    given["verifier"] = "top_down"
    chances = verify(tree, target, acceptance=True, **given).acceptance
    reachable = [node for node in (1, 2, 3, 4) if node % 2 or chances[node - 1] < 1]
    assert len(reachable) >= 3
    for node in reachable:
        chance = chances[node]
        for uniform, accepted in ((chance - 1e-9, True), (chance + 1e-9, False)):
            if not 0 < uniform < 1:
                continue
            accept = [1 - 1e-12] * 5
            accept[node] = uniform
            if node > 2:
                accept[1] = 1e-12  # first get to its parent
            result = verify(tree, target, uniforms=(accept, [0.5] * 5), **given)
            assert (node in result.path()) == accepted


def test_links_are_the_tree():
    tree = Trees([9, 4, 5, 6, 7], [-1, 0, 0, 1, 2], [0, 5])
    assert Trees.from_links(tree.tokens, *tree.links()) == tree
    for links in [
        ([1, 0, -1], [-1, -1, -1]),  # a circle
        ([2, -1, -1], [-1, -1, 1]),  # siblings whose order, that of verification, would be lost
        ([1, 2, -1], [-1, 2, -1]),  # a child of two parents
        ([1, -1, -1], [-1, 2, 2]),  # a sibling of itself
    ]:
        with pytest.raises(InputError, match="behind their parent"):
            Trees.from_links([0, 1, 2], *links)
    with pytest.raises(InputError, match=r"next_token and next_sibling \[3\], got \[1\] and"):
        Trees.from_links([0, 1, 2], [-1], [-1, -1, -1])


def test_no_children_are_asked_for():
    row = torch.zeros(3)
    for kind in ("one_hot", "iid", "without_replacement", "spechub", "greedy_k"):
        assert draw_children(kind, row, PLAIN, 0) == []
    with pytest.raises(InputError, match="WIDTH,BEAM,DEPTH,NODES"):
        TreeShape.parse("dynamic:2,2,2,0")  # a static tree would be meant by no nodes


def test_equal_certain_siblings_take_their_token_once():
    """Their mass, taken twice from the residual's sum, would make the other chunks look heavier."""
    vocab = 3 * 4096
    row = torch.full((1, vocab), -40.0)
    row[0, [0, 1, 5000, 9000]] = torch.log(torch.tensor([0.4, 0.2, 0.2, 0.2]))
    tree = Trees([7, 0, 0], [-1, 0, 0], [0, 3])
    drawn = []
    for pick in np.linspace(0.005, 0.995, 100):
        result = verify(tree, row.expand(3, -1), proposals=[ONE_HOT] * 3, sampling=PLAIN,
                        uniforms=([1 - 1e-12] * 3, [pick] * 3))  # fmt: skip
        drawn.append(result.next_token[0])
    assert [drawn.count(token) for token in (0, 1, 5000, 9000)] == [0, 33, 34, 33]


@pytest.mark.parametrize(
    "uniforms", [(), ([0.5, 0.5],), ([0.5, 0.5], [0.5, 1.0]), ([0.5, 0.5], [np.nan, 0.5])]
)
def test_uniforms_that_cannot_be(uniforms):
    with pytest.raises(InputError, match="uniforms"):
        verify(
            Trees.chains([[0, 1]]),
            np.zeros((2, 3), np.float32),
            proposals=[Proposal("one_hot")] * 2,
            sampling=SamplingParams(),
            uniforms=uniforms,
        )
