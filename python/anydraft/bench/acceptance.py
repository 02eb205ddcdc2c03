"""How many drafted tokens each draft distribution and verifier keeps, on rows that all of them
share.

Top-down verification needs no tree: a lossless rule accepts a token with at most the target's mass
of it, so along a text that the target wrote, accepted mass / target mass is the probability that a
tree's path goes on, whatever else is drawn (`accepted_along`). Other verifiers see drawn trees: the
distributions after every continuation of a text are fixed, the engine draws with uniforms that
depend on the prefix alone, and the expected number of accepted tokens of a (tree, verifier) comes
from the verifier's own acceptance probabilities, without uniforms.

A verifier is a function (tree, target logits, draft log masses, temperature) -> expected accepted
tokens; `tree_verifier` and `path_verifier` make one of each of the engine's.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from anydraft import Proposal, SamplingParams, Trees, VerifyResult, verify
from anydraft.drafts import draw_children

Prefix = tuple[int, ...]
Rows = Mapping[Prefix, Any]  # prefix -> row [vocab]


@dataclass
class DrawnTree:
    """A tree below one place of a text; node 0 is the root, levels one after another.

    Attributes:
        kind: the distribution of every group of siblings.
        parents: [nodes], -1: the root.
        prefixes: [nodes], the tokens from the root to the node.
        paths: [nodes] or None: how many of the i.i.d. paths run through the node.
    """

    kind: str
    parents: list[int] = field(default_factory=lambda: [-1])
    prefixes: list[Prefix] = field(default_factory=lambda: [()])
    paths: list[int] | None = None

    def inner(self) -> list[int]:
        """Nodes with children, ascending."""
        return sorted(set(self.parents[1:]))

    def cut(self, depth: int) -> DrawnTree:
        """The levels down to `depth`."""
        size = sum(len(prefix) <= depth for prefix in self.prefixes)  # level by level
        paths = None if self.paths is None else self.paths[:size]
        return DrawnTree(self.kind, self.parents[:size], self.prefixes[:size], paths)

    def leaves(self) -> list[int]:
        """Nodes to grow next: those of the last level, a twin sibling left out.

        A token drawn twice is never accepted the second time: nothing below it matters.
        """
        depth = len(self.prefixes[-1])
        first: dict[Prefix, int] = {}
        for i, prefix in enumerate(self.prefixes):
            if len(prefix) == depth:
                first.setdefault(prefix, i)
        return list(first.values())

    def grow(self, draft_rows: Rows, width: int, seed: int) -> None:
        """Draws the children of all leaves."""
        for node in self.leaves():
            prefix = self.prefixes[node]
            for token in _draw(self.kind, draft_rows[prefix], width, prefix, seed):
                self.parents.append(node)
                self.prefixes.append((*prefix, token))


def draw_path(draft_rows: Rows, prefix: Prefix, seed: int, number: int) -> Prefix:
    """One more token on path `number`; paths are independent of each other."""
    return (*prefix, *_draw("iid", draft_rows[prefix], 1, (number, *prefix), seed))


def _draw(kind: str, row: Any, width: int, key: Prefix, seed: int) -> list[int]:
    word = zlib.crc32(repr(key).encode()) & 0x7FFFFFFF
    params = SamplingParams(temperature=1, seed=seed)
    return draw_children(kind, row, params, width, request=word, position=len(key))


def merged_paths(paths: Sequence[Prefix]) -> DrawnTree:
    """The paths as a tree of distinct nodes with their multiplicities (verifier "multipath")."""
    counts: dict[Prefix, int] = {}
    for depth in range(len(paths[0]) + 1):
        for path in paths:
            counts[path[:depth]] = counts.get(path[:depth], 0) + 1
    place = {prefix: i for i, prefix in enumerate(counts)}
    parents = [place[prefix[:-1]] if prefix else -1 for prefix in counts]
    return DrawnTree("iid", parents, list(counts), list(counts.values()))


def sibling_paths(paths: Sequence[Prefix]) -> DrawnTree:
    """The paths as a tree whose siblings are i.i.d.: a token that two paths share stands twice."""
    level, tree = [(0, list(paths))], DrawnTree("iid")
    for depth in range(1, len(paths[0]) + 1):
        below: list[tuple[int, list[Prefix]]] = []
        for node, active in level:
            seen: set[Prefix] = set()
            for path in active:
                tree.parents.append(node)
                tree.prefixes.append(path[:depth])
                if path[:depth] not in seen:
                    sharing = [other for other in active if other[:depth] == path[:depth]]
                    below.append((len(tree.parents) - 1, sharing))
                seen.add(path[:depth])
        level = below
    return tree


# ---- Texts that the target wrote -----------------------------------------------------------------
def accepted_along(shares: Sequence[float], depth: int) -> float:
    """Expected accepted tokens of a tree of `depth`, from the share of each token of the text.

    shares: [tokens], accepted mass / target mass; fewer than depth where the text ends.
    """
    total, mass = 0.0, 1.0
    for share in shares[:depth]:
        mass *= share
        total += mass
    return total


# ---- Drawn trees ---------------------------------------------------------------------------------
Verifier = Callable[[DrawnTree, Any, Any, float], float]


def rows_of(tree: DrawnTree, target_rows: Rows, draft_rows: Rows) -> tuple[Any, Any]:
    """(target logits [nodes, vocab], draft log masses [inner nodes, vocab])."""
    import torch

    return (
        torch.stack([target_rows[prefix] for prefix in tree.prefixes]),
        torch.stack([draft_rows[tree.prefixes[node]] for node in tree.inner()]),
    )


def tree_verifier(verifier: str) -> Verifier:
    """Expected accepted tokens of a verifier that reports each node's acceptance probability.

    "top_down": exact for the tree. "traversal", "block": what lies below a node is averaged over
    its draws: a node of joint weight w is kept, or one below it, in a share w of them.
    """

    def expected(tree: DrawnTree, target: Any, draft: Any, temperature: float) -> float:
        result = play(tree, target, draft, temperature, verifier, acceptance=True)
        through = reached if verifier == "top_down" else kept_through
        return sum(through(tree, result.acceptance or [])[1:])

    return expected


def path_verifier(verifier: str, plays: int) -> Verifier:
    """Mean accepted tokens over `plays` sets of uniforms: for verifiers that select before they
    verify.
    """

    def mean(tree: DrawnTree, target: Any, draft: Any, temperature: float) -> float:
        results = (
            play(tree, target, draft, temperature, verifier, request=number)
            for number in range(plays)
        )
        return sum(len(result.accepted) for result in results) / plays

    return mean


def reached(tree: DrawnTree, acceptance: Sequence[float]) -> list[float]:
    """[nodes]: the probability that the kept path of a top-down verifier runs through each node."""
    open_mass = [0.0] * len(tree.parents)  # of a node: not yet gone down to a child
    through = [0.0] * len(tree.parents)
    through[0] = open_mass[0] = 1.0
    for node, parent in enumerate(tree.parents[1:], 1):
        through[node] = open_mass[node] = open_mass[parent] * acceptance[node]
        open_mass[parent] -= through[node]
    return through


def kept_through(tree: DrawnTree, weights: Sequence[float]) -> list[float]:
    """[nodes]: as `reached`, for a verifier from the leaves: a node is asked once its earlier
    siblings, and those of its ancestors, are rejected."""
    asked = [1.0] * len(tree.parents)
    asked_next = [1.0] * len(tree.parents)  # of a node: its next child
    for node, parent in enumerate(tree.parents[1:], 1):
        asked[node] = asked_next[node] = asked_next[parent]
        asked_next[parent] *= 1 - weights[node]
    return [mass * weight for mass, weight in zip(asked, weights, strict=True)]


def play(
    tree: DrawnTree,
    target: Any,
    draft: Any,
    temperature: float,
    verifier: str,
    *,
    request: int = 0,
    acceptance: bool = False,
) -> VerifyResult:
    """One call of the engine. target, draft: as `rows_of`, or of a deeper tree that was cut."""
    schemes, inner = [Proposal("one_hot")] * len(tree.parents), tree.inner()
    for row, node in enumerate(inner):
        schemes[node] = Proposal(tree.kind, row=row)
    tokens = [prefix[-1] if prefix else 0 for prefix in tree.prefixes]
    return verify(
        Trees(tokens, tree.parents, [0, len(tokens)], tree.paths),
        target[: len(tokens)],
        proposals=schemes,
        draft_logits=draft[: len(inner)],
        sampling=SamplingParams(temperature=temperature),
        draft_sampling=SamplingParams(temperature=1),  # the rows carry their temperature already
        verifier=verifier,
        requests=[request],
        acceptance=acceptance,
    )
