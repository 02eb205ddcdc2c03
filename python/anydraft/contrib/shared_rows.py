"""Accepted tokens of every draft law and walk, on rows of two real models that all of them share.

For each prompt the target writes a short continuation; at some of its places, the anchors, trees
and paths are drawn and judged (anydraft.acceptance).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from anydraft import SamplingParams, VocabularyMap, acceptance, sample
from anydraft.acceptance import DrawnTree, Prefix
from anydraft.contrib.prefix_rows import PrefixRows

KINDS = ("row", "without_replacement", "hub")
WALKS = ("top_down", "traversal")
WIDTH = 2  # of the trees: the hub law has two children


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        anchors: places of the continuation, in tokens, where trees are drawn.
        depths: of the binary trees; the shallow ones are the upper levels of the deepest.
        paths: numbers of i.i.d. paths, as long as the deepest tree.
        plays: sets of coins for the walk that selects a path at random.
    """

    temperatures: tuple[float, ...] = (0.3, 0.6, 1.0)
    depths: tuple[int, ...] = (2, 3, 4, 5)
    paths: tuple[int, ...] = (2, 4)
    anchors: tuple[int, ...] = (4, 12)
    plays: int = 48
    seed: int = 0


@dataclass(frozen=True)
class Record:
    """Accepted tokens of one law and walk at one anchor; `luck` has mean zero.

    shape: "binary 3" for a tree of depth 3, "paths 4" for four paths.
    """

    prompt: int
    kind: str
    anchor: int
    temperature: float
    shape: str
    law: str
    walk: str
    accepted: float
    luck: float


class Pair:
    """A target and a drafter, of one vocabulary or bridged by the tokens they share (TLI)."""

    def __init__(self, target: Any, drafter: Any, temperatures: Sequence[float]) -> None:
        """target, drafter: as `anydraft.contrib.hf.load` gives them."""
        self.target, self.drafter, self.temperatures = target, drafter, tuple(temperatures)
        self.same = target.vocabulary == drafter.vocabulary
        shared = None if self.same else VocabularyMap(drafter.vocabulary, target.vocabulary)
        self._to_draft = None if shared is None else shared.to_draft
        self._to_target = None if shared is None else torch.tensor(shared.to_target)
        self._width = target.model.config.get_text_config(decoder=True).vocab_size

    def drafter_context(self, context: Sequence[int]) -> list[int]:
        """The context in the drafter's ids; of specials it lacks, nothing remains."""
        if self.same:
            return list(context)
        table, own = self.target.vocabulary, self.drafter.vocabulary
        text = b"".join(table.token_bytes(token) or b"" for token in context)
        return [*own.prefix, *own.encode(text)]

    def drafter_id(self, token: int) -> int:
        """-1: the drafter lacks the token."""
        return token if self._to_draft is None else int(self._to_draft[token])

    def draft_laws(self, logits: torch.Tensor) -> torch.Tensor:
        """Log masses over target ids at each temperature, [temperatures, target vocab].

        Masses of drafter ids that carry the same token are summed, those of others left out.
        """
        rows = torch.stack([logits.double() / t for t in self.temperatures]).log_softmax(-1)
        if self._to_target is not None:
            mapped = self._to_target >= 0
            masses = torch.zeros(len(rows), self._width, dtype=torch.float64)
            ids = torch.nonzero(mapped)[:, 0]
            masses.index_add_(1, self._to_target[ids], rows[:, ids].exp())
            rows = (masses / masses.sum(-1, keepdim=True)).log()
        return rows.float()


class Rows(Mapping[Prefix, torch.Tensor]):
    """Rows below an anchor, seen by target tokens after it."""

    def __init__(self, of: Callable[[Prefix], torch.Tensor]) -> None:
        self._of = of

    def __getitem__(self, prefix: Prefix) -> torch.Tensor:
        return self._of(prefix)

    def __iter__(self) -> Iterator[Prefix]:
        raise TypeError("[Rows] expected a prefix")

    def __len__(self) -> int:
        raise TypeError("[Rows] expected a prefix")


def measure(
    pair: Pair, prompts: Sequence[tuple[str, Sequence[int]]], plan: Plan
) -> Iterator[Record]:
    """prompts: (kind, target ids) each. Yields the records of each prompt as they come."""
    for number, (kind, context) in enumerate(prompts):
        target = PrefixRows(pair.target.model, context)
        drafter = PrefixRows(
            pair.drafter.model, pair.drafter_context(context), keep=pair.draft_laws
        )
        text = _continuation(pair, target, max(plan.anchors), plan.seed + number)
        for anchor in plan.anchors:
            if anchor <= len(text):
                place = _Anchor(pair, target, drafter, text[:anchor], plan, number)
                yield from place.records(number, kind)


def _continuation(pair: Pair, target: PrefixRows, length: int, seed: int) -> Prefix:
    """What the target writes at temperature 0.6, up to a token that the drafter lacks."""
    text: Prefix = ()
    params = SamplingParams(temperature=0.6, seed=seed)
    while len(text) < length:
        target.extend([text])
        token = int(sample(target.rows[text][None], params, [(0, len(text))])[0])
        if token in pair.target.vocabulary.role("eos") or pair.drafter_id(token) < 0:
            break
        text = (*text, token)
    return text


class _Anchor:
    """One place of one text: its rows, its trees, its paths."""

    def __init__(
        self,
        pair: Pair,
        target: PrefixRows,
        drafter: PrefixRows,
        text: Prefix,
        plan: Plan,
        number: int,
    ) -> None:
        self._pair, self._target, self._drafter = pair, target, drafter
        self._text, self._plan = text, plan
        self._seed = (plan.seed + number) * 1000 + len(text)
        depth, temperatures = max(plan.depths), pair.temperatures
        self._trees = {(t, law): DrawnTree(law) for t in temperatures for law in KINDS}
        count = max(plan.paths, default=0)
        self._paths: dict[float, list[Prefix]] = {t: [()] * count for t in temperatures}
        for _ in range(depth):
            self._grow()
        drawn = {p for tree in self._trees.values() for p in tree.prefixes}
        drawn |= {p[:n] for paths in self._paths.values() for p in paths for n in range(depth + 1)}
        target.extend((*text, *prefix) for prefix in drawn)

    def _grow(self) -> None:
        """One more level of every tree and path, the drafter's rows in one forward pass."""
        ends = {tree.prefixes[i] for tree in self._trees.values() for i in tree.leaves()}
        ends |= {path for paths in self._paths.values() for path in paths}
        self._drafter.extend(self._drafter_prefix(prefix) for prefix in ends)
        for (temperature, _), tree in self._trees.items():
            tree.grow(self._draft_rows(temperature), WIDTH, self._seed)
        for temperature, paths in self._paths.items():
            rows = self._draft_rows(temperature)
            self._paths[temperature] = [
                acceptance.draw_path(rows, path, self._seed, i) for i, path in enumerate(paths)
            ]

    def _drafter_prefix(self, prefix: Prefix) -> Prefix:
        return tuple(self._pair.drafter_id(token) for token in (*self._text, *prefix))

    def _draft_rows(self, temperature: float) -> Rows:
        index = self._pair.temperatures.index(temperature)
        return Rows(lambda prefix: self._drafter.rows[self._drafter_prefix(prefix)][index])

    def _target_rows(self) -> Rows:
        return Rows(lambda prefix: self._target.rows[(*self._text, *prefix)])

    def records(self, number: int, kind: str) -> Iterator[Record]:
        for temperature in self._pair.temperatures:
            rows = self._target_rows(), self._draft_rows(temperature), temperature
            for shape, law, walk, tree, luck in self._judged(rows):
                verifier = _verifier(walk, self._plan.plays)
                yield Record(
                    number,
                    kind,
                    len(self._text),
                    temperature,
                    shape,
                    law,
                    walk,
                    verifier(tree, *rows),
                    luck,
                )

    def _judged(
        self, rows: tuple[Rows, Rows, float]
    ) -> Iterator[tuple[str, str, str, DrawnTree, float]]:
        for law in KINDS:
            rates: dict[Prefix, float] = {}
            for depth in self._plan.depths:
                tree = self._trees[rows[2], law].cut(depth)
                luck = acceptance.luck(tree, *rows, WIDTH, rates)
                for walk in WALKS:
                    yield f"binary {depth}", law, walk, tree, luck
        for count in self._plan.paths:
            paths = self._paths[rows[2]][:count]
            siblings = acceptance.sibling_paths(paths)
            for walk in WALKS:
                yield f"paths {count}", "row", walk, siblings, 0.0
            yield f"paths {count}", "row", "multipath", acceptance.merged_paths(paths), 0.0
            yield f"paths {count}", "row", "single path", acceptance.merged_paths(paths[:1]), 0.0


def _verifier(walk: str, plays: int) -> acceptance.Verifier:
    if walk == "multipath":
        return acceptance.path_verifier(walk, plays)
    return acceptance.tree_verifier("traversal" if walk == "single path" else walk)
