"""Draft trees, the distributions their tokens are proposed from, and drawing from these
distributions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from anydraft import _core
from anydraft.checks import MOST, whole_number, whole_numbers
from anydraft.errors import InputError
from anydraft.sampling import SamplingParams

PROPOSAL_KINDS = {
    name: number
    for number, name in enumerate(
        ("one_hot", "iid", "without_replacement", "spechub", "greedy_k", "sparse")
    )
}


def kind_number(kind: str) -> int:
    """The engine's number of a kind of distribution."""
    if not isinstance(kind, str) or kind not in PROPOSAL_KINDS:
        raise InputError(
            f"[Proposal] expected a kind out of {', '.join(PROPOSAL_KINDS)}, got {kind!r}"
        )
    return PROPOSAL_KINDS[kind]


@dataclass(frozen=True)
class Trees:
    """Draft trees of all requests, as flat arrays.

    Attributes:
        tokens: int [nodes]. Node 0 of a request is its root, the last committed token.
        parents: int [nodes], index within the request; -1: the root; parents before children.
            Siblings stand in verification order, which is the order they were drawn in.
        offsets: int [requests + 1] into both.
        paths: int [nodes] or None: how many of the independently drawn paths run through a node
            (verifier "multipath"; None: one each).
    """

    tokens: Sequence[int]
    parents: Sequence[int]
    offsets: Sequence[int]
    paths: Sequence[int] | None = None

    @classmethod
    def chains(cls, tokens: Sequence[Sequence[int]]) -> Trees:
        """One chain a request: its root, then its drafted tokens.

        >>> Trees.chains([[5, 1, 2], [7]]).parents
        [-1, 0, 1, -1]
        """
        offsets = [0]
        for chain in tokens:
            offsets.append(offsets[-1] + len(chain))
        flat = [token for chain in tokens for token in chain]
        return cls(flat, [i - 1 for chain in tokens for i in range(len(chain))], offsets)

    @classmethod
    def from_links(
        cls, tokens: Sequence[int], next_token: Sequence[int], next_sibling: Sequence[int]
    ) -> Trees:
        """One tree given as first-child and next-sibling arrays (-1: none), node 0 its root.

        Nodes keep their numbers, so siblings must be linked in ascending order: their order is that
        of verification.

        >>> Trees.from_links([9, 4, 5, 6], [1, -1, 3, -1], [-1, 2, -1, -1]).parents
        [-1, 0, 0, 2]
        """
        if not len(tokens) == len(next_token) == len(next_sibling):
            raise InputError(
                f"[Trees] expected next_token and next_sibling [{len(tokens)}], got "
                f"[{len(next_token)}] and [{len(next_sibling)}]"
            )
        parents = [-1] * len(tokens)
        for node, first in enumerate(next_token):
            before, child = node, first
            while child >= 0:
                if not before < child < len(tokens) or parents[child] >= 0:
                    raise InputError(
                        "[Trees] expected children behind their parent and their earlier siblings, "
                        f"each of one parent, got {child} behind {before} at node {node}"
                    )
                parents[child] = node
                before, child = child, next_sibling[child]
        return cls(list(tokens), parents, [0, len(tokens)])

    def links(self, request: int = 0) -> tuple[list[int], list[int]]:
        """(next_token, next_sibling) of one request's tree, -1: none; nodes within the request."""
        begin, end = self.offsets[request], self.offsets[request + 1]
        next_token, next_sibling = [-1] * (end - begin), [-1] * (end - begin)
        for node in range(end - begin - 1, 0, -1):
            parent = self.parents[begin + node]
            next_sibling[node], next_token[parent] = next_token[parent], node
        return next_token, next_sibling


@dataclass(frozen=True)
class Proposal:
    """What the children of one node were proposed from, each given its earlier siblings.

    Attributes:
        kind: "iid": drawn independently from a row of draft logits; "without_replacement": from the
            row without the earlier siblings; "spechub" (SpecHub): the first from the row without
            the second, which is the row's likeliest token and certain; "greedy_k": the same with
            several certain tokens behind the first; "one_hot": certain; "sparse": drawn
            independently from `ids` with `masses`.
        row: index into `draft_logits`, for the kinds over a row.
        ids, masses: of a sparse distribution: distinct token ids and what they weigh
            (renormalised).

    Raises:
        InputError: by `verify`, for a kind that is not known, a row that is not there, a drafted
            token without mass.

    Source: Sun et al. 2024 (SpecHub).

    >>> Proposal("sparse", ids=[3, 7], masses=[0.6, 0.4]).kind
    'sparse'
    """

    kind: str = "iid"
    row: int | None = None
    ids: Sequence[int] = ()
    masses: Sequence[float] = ()


@dataclass(frozen=True)
class TreeShape:
    """How a draft tree grows.

    Static: every node of level i has widths[i] children. Dynamic (max_nodes > 0): widths is
    (children of a node,); each round expands the `beam` nodes that the drafter finds likeliest, to
    at most `depth` levels and `max_nodes` nodes beside the root. No drawn child is dropped, so any
    choice is lossless.

    >>> TreeShape.parse("4,2,1,1").widths == TreeShape.parse("4x2x1x1").widths == (4, 2, 1, 1)
    True
    """

    widths: tuple[int, ...]
    max_nodes: int = 0
    depth: int = 0
    beam: int = 0

    def __post_init__(self) -> None:
        for name in ("max_nodes", "depth", "beam"):
            whole_number(getattr(self, name), "TreeShape", name, 0, MOST)
        whole_numbers(self.widths, "TreeShape", "widths", MOST)

    @classmethod
    def parse(cls, text: str | TreeShape) -> TreeShape:
        """From "2x2x2" or "4,2,1,1"; or "dynamic:WIDTH,BEAM,DEPTH,NODES"."""
        if isinstance(text, TreeShape):
            return text
        if not isinstance(text, str):
            raise InputError(
                f'[TreeShape] expected "2x2x2", a TreeShape or the like as tree, got {text!r}'
            )
        dynamic, _, numbers = text.rpartition("dynamic:")
        parts = numbers.replace("x", ",").split(",")
        if not all(part.strip().isdigit() for part in parts) or dynamic:
            raise InputError(
                f'[TreeShape] expected "2x2x2", "4,2,1,1" or "dynamic:2,4,6,24", got {text!r}'
            )
        values = tuple(int(part) for part in parts)
        if not text.startswith("dynamic:"):
            return cls(values)
        if len(values) != 4 or values[3] < 1:
            raise InputError(f"[TreeShape] expected dynamic:WIDTH,BEAM,DEPTH,NODES, got {text!r}")
        return cls(values[:1], beam=values[1], depth=values[2], max_nodes=values[3])


def draw_children(
    kind: str,
    draft_logits: Any,
    sampling: SamplingParams,
    width: int,
    *,
    request: int = 0,
    position: int = 0,
    node: int = 0,
) -> list[int]:
    """Draw the children of one node, in verification order.

    Args:
        kind: of distribution, as in `Proposal` (not sparse).
        draft_logits: torch tensor [vocab], CPU.
        sampling: the drafter's parameters; its seed keys the uniforms (None: 0).
        width: how many at most; spechub draws two. Fewer come out where the row holds fewer tokens.
        request, position, node: keys of the uniforms; child j takes node + j.

    Verify them with Proposal(kind, row) and the same sampling.

    >>> import torch
    >>> draw_children("spechub", torch.tensor([0.0, 9.0, -50.0]), SamplingParams(seed=1), 2)
    [0, 1]
    """
    return _core.draw_children(
        kind_number(kind), draft_logits, sampling, width, request, position, node
    )
