"""The acceptance bench's parts: rows by prefix, drawn trees, and their exact expectations."""

import itertools

import numpy as np
import pytest
import torch

from anydraft import theory
from anydraft.bench import acceptance
from tests.reference import multipath, schemes, trees
from tests.reference.rows import delta, norm, without
from tests.reference.top_down import top_down
from tests.reference.traversal import traversal

VOCAB, DEPTH, TEMPERATURE = 4, 3, 0.7


class Distributions(dict):
    """Rows after every prefix, made when asked for: logits, and log masses at a temperature."""

    def __init__(self, seed, temperature=None):
        super().__init__()
        self.seed, self.temperature = seed, temperature

    def __missing__(self, prefix):
        rng = np.random.default_rng([self.seed, *prefix])
        row = torch.tensor(rng.normal(0, 1.5, VOCAB), dtype=torch.float32)
        if self.temperature:
            row = torch.log_softmax(row / self.temperature, -1)
        self[prefix] = row
        return row

    def masses(self, prefix, temperature=1.0):
        return torch.softmax(self[prefix].double() / temperature, -1).tolist()


def rows_of(seed):
    return Distributions(2 * seed), Distributions(2 * seed + 1, TEMPERATURE)


def drawn_tree(kind, draft_rows, seed):
    tree = acceptance.DrawnTree(kind)
    for _ in range(DEPTH):
        tree.grow(draft_rows, 2, seed)
    return tree


def as_reference(tree, target_rows, draft_rows):
    """The same tree, with the distribution of each child, for tests/reference."""
    draft, places = trees.Draft(), {0: 0}
    for node in tree.inner():
        children = [i for i, parent in enumerate(tree.parents) if parent == node]
        tokens = [tree.prefixes[i][-1] for i in children]
        row = draft_rows.masses(tree.prefixes[node])
        if tree.kind == "iid":
            of = [row] * len(tokens)
        elif tree.kind == "spechub":
            of = [norm(without(row, tokens[1:])), delta(tokens[1], VOCAB)]
        else:
            of = [norm(without(row, tokens[:i])) for i in range(len(tokens))]
        for i, child in enumerate(children):
            places[child] = len(draft.tokens) + i
        draft = draft.with_children(places[node], tokens, of)
    targets = tuple(target_rows.masses(prefix, TEMPERATURE) for prefix in draft.prefixes)
    return trees.replace(draft, targets=targets)


def expected_of(verifier, tree, target_rows, draft_rows):
    return verifier(tree, *acceptance.rows_of(tree, target_rows, draft_rows), TEMPERATURE)


def mean_accepted(scheme):
    return sum(len(kept) * mass for (kept, _), mass in scheme.items())


@pytest.mark.parametrize("kind", ["iid", "without_replacement", "spechub"])
def test_expected_tokens_of_top_down_are_those_of_the_reference(kind):
    for seed, depth in itertools.product(range(6), (1, 2, 3)):
        target_rows, draft_rows = rows_of(seed)
        tree = drawn_tree(kind, draft_rows, seed).cut(depth)
        expected = mean_accepted(top_down(as_reference(tree, target_rows, draft_rows)))
        verifier = acceptance.tree_verifier("top_down")
        found = expected_of(verifier, tree, target_rows, draft_rows)
        assert found == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("kind", ["iid", "without_replacement", "spechub"])
def test_expected_tokens_of_traversal_have_the_mean_of_the_reference(kind):
    """What lies below a node is averaged over its draws: deep trees differ one by one."""
    target_rows, draft_rows = rows_of(2)
    found, expected = [], []
    for seed in range(400):
        tree = drawn_tree(kind, draft_rows, seed)
        for depth, keep in ((1, False), (3, True)):
            args = tree.cut(depth), target_rows, draft_rows
            ours = expected_of(acceptance.tree_verifier("traversal"), *args)
            exact = mean_accepted(traversal(as_reference(*args)))
            if keep:
                found.append(ours)
                expected.append(exact)
            else:
                assert ours == pytest.approx(exact, abs=2e-5)
    error = np.std(np.subtract(found, expected)) / 400**0.5
    assert abs(np.mean(found) - np.mean(expected)) <= 4 * error
    assert np.std(found) <= np.std(expected)


def test_paths():
    target_rows, draft_rows = rows_of(3)
    paths = [()] * 3
    for _ in range(DEPTH):
        paths = [acceptance.draw_path(draft_rows, path, 5, i) for i, path in enumerate(paths)]
    world = multipath.models(
        lambda prefix: target_rows.masses(prefix, TEMPERATURE), draft_rows.masses
    )
    siblings = acceptance.sibling_paths(paths)
    expected = mean_accepted(top_down(multipath.merged_tree(world, paths)))
    verifier = acceptance.tree_verifier("top_down")
    found = expected_of(verifier, siblings, target_rows, draft_rows)
    assert found == pytest.approx(expected, abs=2e-5)

    merged = acceptance.merged_paths(paths)
    assert merged.paths[0] == 3 and len(set(merged.prefixes)) == len(merged.prefixes)
    expected = mean_accepted(multipath.mixed_selection(world, paths, ranks=multipath.by_bucket))
    verifier = acceptance.path_verifier("multipath", 2000)
    found = expected_of(verifier, merged, target_rows, draft_rows)
    assert found == pytest.approx(expected, abs=0.08)


@pytest.mark.parametrize("kind", ["iid", "without_replacement", "spechub"])
def test_texts_of_the_target_give_the_mean_of_drawn_trees(kind):
    """Exactly: all texts with their masses against all trees with theirs."""
    target_rows, draft_rows = rows_of(4)

    def target(prefix):
        return target_rows.masses(prefix, TEMPERATURE)

    def share(text, place):
        rows = target(text[:place]), draft_rows.masses(text[:place])
        return theory.accepted_mass(*rows, text[place], 2, kind) / rows[0][text[place]]

    drawn = trees.drafts(
        trees.static(trees.shape("2,2")),
        target,
        lambda prefix, k: schemes.SCHEMES[kind](draft_rows.masses(prefix), k),
    )
    expected = float(trees.expected_accepted(trees.round_distribution(top_down, drawn)))
    found = sum(
        mass * acceptance.accepted_along([share(text, 0), share(text, 1)], 2)
        for text, mass in trees.target_distribution(target, 2).items()
    )
    assert found == pytest.approx(expected, abs=1e-9)


def test_rows_by_prefix_are_those_of_whole_texts():
    """Tree attention, with a window shorter than the text, against a fresh forward pass."""
    transformers = pytest.importorskip("transformers")
    from anydraft.bench.prefix_rows import PrefixRows

    torch.manual_seed(0)
    shape = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "head_dim": 8,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 50,
    }  # fmt: skip
    for config in (
        transformers.LlamaConfig(**shape),
        transformers.Gemma3TextConfig(
            **shape,
            sliding_window=6,
            layer_types=["sliding_attention", "full_attention"] * 1 + ["sliding_attention"],
        ),
    ):
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
        context = list(range(1, 9))
        rows = PrefixRows(model, context)
        rows.extend([(3,), (4, 5), (4, 6)])
        rows.extend([(4, 6, 7), (4, 5, 7), (3,), (3, 1)])
        assert len(rows.rows) == 8
        for prefix, row in rows.rows.items():
            with torch.inference_mode():
                fresh = model(input_ids=torch.tensor([[*context, *prefix]])).logits[0, -1]
            assert torch.allclose(row, fresh, atol=1e-5)
