"""Accepted tokens of every draft distribution and verifier, on rows of two real models that all of
them share.

For each prompt the target writes a text at each temperature, which gives top-down verification of
every distribution; trees and paths drawn behind the prompt give the gain of the other verifiers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

import torch

from anydraft import SamplingParams, VocabularyMap, sample, theory
from anydraft.bench import acceptance
from anydraft.bench.acceptance import DrawnTree, Prefix
from anydraft.bench.prefix_rows import PrefixRows

DRAFTS = {  # name -> (distribution, children of a node)
    "one draft": ("iid", 1),
    "iid": ("iid", 2),
    "without_replacement": ("without_replacement", 2),
    "spechub": ("spechub", 2),
    "one_hot": ("one_hot", 2),
}
TREES = ("iid", "without_replacement", "spechub")  # drawn and seen by both verifiers
WIDTH = 2  # of the trees: the hub distribution has two children


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        length: tokens the target writes for each prompt, at each temperature.
        depths: of the trees; the shallow drawn ones are the upper levels of the deepest.
        drawn: temperatures at which trees and paths are drawn.
        paths: numbers of i.i.d. paths, as long as the deepest tree.
        draws: of the trees and paths at a prompt, whose results are averaged.
        plays: sets of uniforms for the verifier that selects a path at random.
    """

    temperatures: tuple[float, ...] = (0.3, 0.6, 1.0)
    length: int = 32
    depths: tuple[int, ...] = (2, 3, 4, 5)
    drawn: tuple[float, ...] = (0.6, 1.0)
    paths: tuple[int, ...] = (2, 4)
    draws: int = 6
    plays: int = 16
    seed: int = 0


@dataclass(frozen=True)
class Record:
    """Mean accepted tokens of a draft and a verifier on one prompt.

    shape: "depth 3": from the text the target wrote, over its places that the deepest tree fits in
    (all, where the text ended); "tree 3", "paths 4": of trees or sets of paths drawn behind the
    prompt.
    """

    prompt: int
    kind: str
    temperature: float
    shape: str
    draft: str
    verifier: str
    accepted: float


class Pair:
    """A target and a drafter, of one vocabulary or bridged by the tokens they share (TLI)."""

    def __init__(self, target: Any, drafter: Any, temperatures: Sequence[float]) -> None:
        """target, drafter: as `anydraft.hf.load` gives them."""
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

    def drafter_ids(self, tokens: Prefix) -> Prefix:
        """Target tokens in the drafter's ids; one that it lacks is spelt in others."""
        if self._to_draft is None:
            return tokens
        ids: list[int] = []
        for token in tokens:
            own = self._to_draft[token]
            spelt = self.target.vocabulary.token_bytes(token) or b""
            ids += [own] if own >= 0 else self.drafter.vocabulary.encode(spelt)
        return tuple(ids)

    def draft_distributions(self, logits: torch.Tensor) -> torch.Tensor:
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
        place = _Place(pair, context, plan, plan.seed + number)
        for temperature, shape, draft, verifier, accepted in (*place.along_texts(), *place.drawn()):
            yield Record(number, kind, temperature, shape, draft, verifier, accepted)


Found = tuple[float, str, str, str, float]  # temperature, shape, draft, verifier, accepted tokens


class _Place:
    """One prompt: the rows behind it, the texts that the target writes, trees and paths."""

    def __init__(self, pair: Pair, context: Sequence[int], plan: Plan, seed: int) -> None:
        self._pair, self._plan, self._seed = pair, plan, seed
        self._target = PrefixRows(pair.target.model, context)
        drafter_context = pair.drafter_context(context)
        self._drafter = PrefixRows(
            pair.drafter.model, drafter_context, keep=pair.draft_distributions
        )

    def along_texts(self) -> Iterator[Found]:
        texts = self._texts()
        ends = set(self._pair.target.vocabulary.role("eos"))
        self._drafter.extend(self._pair.drafter_ids(text) for text in texts.values())
        for temperature, text in texts.items():
            ended = text[-1] in ends
            places = range(len(text) if ended else len(text) - max(self._plan.depths) + 1)
            for draft, (scheme, width) in DRAFTS.items() if places else ():
                shares = self._shares(text, temperature, scheme, width)
                for depth in self._plan.depths:
                    along = mean(acceptance.accepted_along(shares[i:], depth) for i in places)
                    yield temperature, f"depth {depth}", draft, "top_down", along

    def _texts(self) -> dict[float, Prefix]:
        """What the target writes at each temperature, with the EOS where it ends there."""
        ends = self._pair.target.vocabulary.role("eos")
        texts: dict[float, Prefix] = dict.fromkeys(self._pair.temperatures, ())
        for place in range(self._plan.length):
            going = [t for t, text in texts.items() if not (text and text[-1] in ends)]
            self._target.extend(texts[t] for t in going)
            for number, t in enumerate(going):
                params = SamplingParams(temperature=t, seed=self._seed)
                row = self._target.rows[texts[t]][None]
                texts[t] += (int(sample(row, params, [(number, place)])[0]),)
        return texts

    def _shares(self, text: Prefix, temperature: float, scheme: str, width: int) -> list[float]:
        """Of each token of the text: accepted mass / target mass."""
        shares = []
        for place, token in enumerate(text):
            target = (self._target.rows[text[:place]].double() / temperature).softmax(-1)
            draft = self._draft_rows(temperature)[text[:place]].double().exp()
            mass = theory.accepted_mass(target, draft, token, width, scheme)
            shares.append(mass / float(target[token]))
        return shares

    def drawn(self) -> Iterator[Found]:
        """Means over several trees and paths behind the prompt."""
        accepted: dict[tuple[float, str, str, str], list[float]] = {}
        seeds = self._seed * self._plan.draws
        for draw in range(self._plan.draws):
            for t, shape, draft, verifier, kept in self._drawn_once(seeds + draw):
                accepted.setdefault((t, shape, draft, verifier), []).append(kept)
        for found, values in accepted.items():
            yield *found, mean(values)

    def _drawn_once(self, seed: int) -> Iterator[Found]:
        """All are drawn first: few forward passes of both models."""
        trees = {(t, scheme): DrawnTree(scheme) for t in self._plan.drawn for scheme in TREES}
        paths: dict[float, list[Prefix]]
        paths = {t: [()] * max(self._plan.paths, default=0) for t in self._plan.drawn}
        for _ in range(max(self._plan.depths)):
            self._grow(trees, paths, seed)
        wanted = {prefix for tree in trees.values() for prefix in tree.prefixes}
        self._target.extend(wanted | {path for of_t in paths.values() for path in of_t})
        for (temperature, scheme), tree in trees.items():
            rows = self._rows_of(tree, temperature)
            for depth in self._plan.depths:
                for verifier in ("top_down", "traversal"):
                    judge = acceptance.tree_verifier(verifier)
                    accepted = judge(tree.cut(depth), *rows, temperature)
                    yield temperature, f"tree {depth}", scheme, verifier, accepted
        for temperature, drawn in paths.items():
            for count in self._plan.paths:
                for verifier, accepted in self._of_paths(drawn[:count], temperature):
                    yield temperature, f"paths {count}", "iid", verifier, accepted

    def _of_paths(self, paths: list[Prefix], temperature: float) -> Iterator[tuple[str, float]]:
        siblings, merged = acceptance.sibling_paths(paths), acceptance.merged_paths(paths)
        rows = self._rows_of(siblings, temperature)
        for verifier in ("top_down", "traversal"):
            yield verifier, acceptance.tree_verifier(verifier)(siblings, *rows, temperature)
        rows = self._rows_of(merged, temperature)
        select = acceptance.path_verifier("multipath", self._plan.plays)
        yield "multipath", select(merged, *rows, temperature)

    def _grow(
        self,
        trees: Mapping[tuple[float, str], DrawnTree],
        paths: dict[float, list[Prefix]],
        seed: int,
    ) -> None:
        """One more level of every tree and path, the drafter's rows in one forward pass."""
        ends = {tree.prefixes[i] for tree in trees.values() for i in tree.leaves()}
        ends |= {path for of_t in paths.values() for path in of_t}
        self._drafter.extend(self._pair.drafter_ids(prefix) for prefix in ends)
        for (temperature, _), tree in trees.items():
            tree.grow(self._draft_rows(temperature), WIDTH, seed)
        for temperature, drawn in paths.items():
            rows = self._draft_rows(temperature)
            paths[temperature] = [
                acceptance.draw_path(rows, path, seed, i) for i, path in enumerate(drawn)
            ]

    def _rows_of(self, tree: DrawnTree, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
        return acceptance.rows_of(tree, self._target.rows, self._draft_rows(temperature))

    def _draft_rows(self, temperature: float) -> Rows:
        index = self._pair.temperatures.index(temperature)
        return Rows(lambda prefix: self._drafter.rows[self._pair.drafter_ids(prefix)][index])
