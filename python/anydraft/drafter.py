"""Drafts for a host that owns the target: its scheduler, its cache, its sampler."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal

from anydraft import _core
from anydraft.bridges import Bridge, drafter_options, is_model, settled_bridge
from anydraft.checks import MOST, UINT32, token_ids, whole_number, whole_numbers
from anydraft.drafts import Proposal, Trees, TreeShape
from anydraft.errors import InputError
from anydraft.model import check_model, draft_rows_of
from anydraft.sampling import SamplingParams, check_draft, each_params
from anydraft.text import Text
from anydraft.verification import VerifyResult
from anydraft.vocabulary import Vocabulary

_log = logging.getLogger("anydraft")
# Names of the model's caches. Sessions count up from 0, and -2 is of measuring row costs.
_CACHES = itertools.count(-3, -1)


@dataclass(frozen=True)
class Draft:
    """What is proposed for one request.

    Attributes:
        tokens, parents: int [nodes], node 0 the context's last token; in verification order.
        proposals: [nodes], how each node's children were drawn.
        paths: [nodes], for the verifier "multipath".
        logits: float32 [rows, vocab] over target ids (numpy), what `proposals` point to; None: the
            draft is certain, or its rows were left where they are.
        sampling: what makes distributions of these.

    >>> certain = [Proposal("one_hot")] * 3
    >>> Draft([5, 1, 2], [-1, 0, 1], certain, [1] * 3, None, SamplingParams()).chain
    [1, 2]
    """

    tokens: list[int]
    parents: list[int]
    proposals: list[Proposal]
    paths: list[int]
    logits: Any
    sampling: SamplingParams

    @property
    def is_certain(self) -> bool:
        """Whether none of its tokens was drawn."""
        return all(proposal.row is None for proposal in self.proposals)

    @property
    def chain(self) -> list[int]:
        """The drafted tokens of a draft without branches."""
        if self.parents != list(range(-1, len(self.parents) - 1)):
            raise InputError("[Draft] expected a draft without branches, got a tree")
        return self.tokens[1:]

    @property
    def trees(self) -> Trees:
        """As `verify` takes it."""
        return Trees(self.tokens, self.parents, [0, len(self.tokens)], self.paths)


class Drafter:
    """Proposes drafts for many requests at once. Verify them with `verify`, or as certain drafts
    with any sampler that draws from the target and keeps what agrees.

    Args:
        target_vocabulary: of the model that will judge.
        draft_model: a model, "lookup", or `Text`.
        bridge: as `SpeculativeSession`'s; "auto" is "same" where the vocabularies are equal, else
            "tli" where they share tokens, else "slem": the one that would choose round by round
            learns from the target's rows, which a host keeps to itself.
        draft_length: most tokens proposed one after another (None: 4, or as deep as the `tree`);
            "auto", which counts with the target's costs, is refused.
        draft_confidence, tree, scheme, verifier: as `SpeculativeSession`'s.

    >>> import torch
    >>> from anydraft import stateless
    >>> v = Vocabulary.from_bytes([b"a", b"b"], encoder=lambda text: [ord(c) - 97 for c in text])
    >>> model = stateless(lambda ids: torch.nn.functional.one_hot(1 - ids, 2) * 99.0, v)
    >>> drafter = Drafter(v, model, draft_length=3)
    >>> [draft] = drafter.propose(["r"], [[0]], SamplingParams(seed=1), 10)
    >>> draft.chain
    [1, 0, 1]
    >>> [draft] = drafter.propose(["r"], [[0, 1, 0, 0]], SamplingParams(seed=1), 2)  # two were kept
    >>> draft.chain
    [1, 0]
    """

    def __init__(
        self,
        target_vocabulary: Vocabulary,
        draft_model: Any,
        *,
        bridge: Bridge = "auto",
        draft_length: int | None = None,
        draft_confidence: float | Literal["auto"] = 0.0,
        tree: str | TreeShape | None = None,
        scheme: str = "iid",
        verifier: str = "auto",
    ) -> None:
        if not isinstance(target_vocabulary, Vocabulary):
            raise InputError(
                f"[Drafter] expected a Vocabulary as target_vocabulary, got {target_vocabulary!r}"
            )
        has_model = is_model(draft_model)
        if draft_model != "lookup" and not isinstance(draft_model, Text):
            check_model(draft_model, "draft_model")
        if isinstance(draft_length, str):  # "auto" counts with the target's row_costs, not given
            raise InputError(f"[Drafter] expected draft_length >= 0, got {draft_length!r}")
        self.bridge, options = drafter_options(
            SimpleNamespace(vocabulary=target_vocabulary),
            draft_model,
            settled_bridge(target_vocabulary, draft_model, bridge),
            draft_length,
            draft_confidence,
            tree,
            scheme,
            verifier,
        )
        self._model = draft_model
        self._width = target_vocabulary.size
        table = draft_model.vocabulary.table if has_model else None
        self._core = _core.Drafter(target_vocabulary.table, table, options)
        self._numbers: dict[Hashable, int] = {}

    def propose(
        self,
        ids: Sequence[Hashable],
        contexts: Sequence[Sequence[int]],
        sampling: SamplingParams | Sequence[SamplingParams],
        remaining: int | Sequence[int],
        *,
        draft_sampling: SamplingParams | None = None,
        stop: Sequence[int] = (),
        dense: bool = True,
    ) -> list[Draft]:
        """A draft for each request; the model is called for all of them together. Where the rows of
        some are no logits, these have empty drafts, and the logger "anydraft" says why.

        Args:
            ids: names of the requests; a new one begins with this call. Its parameters stay those
                of its first call.
            contexts: target ids of each, prompt and text so far; they have grown or been cut since
                the last call. What of the last draft was kept is read off them.
            sampling: the target's, one for all or one each; seeds key the draws.
            remaining: most tokens a draft may have.
            draft_sampling: the drafter's (None: the target's; greedy for slem).
            stop: target ids behind which nothing is drafted.
            dense: whether drafts have `logits`; `verify` needs none.

        Raises:
            InputError: lists that do not fit, an empty context.
            NonFiniteLogitsError: no request has rows that are logits.
            What the model raises: its caches are taken to be cut, and the call may be made again.
        """
        params = each_params(sampling, "Drafter", len(ids))
        check_draft(draft_sampling, "Drafter")
        most = _lengths(remaining, len(ids))
        if not len(ids) == len(contexts) == len(params) == len(most) == len(set(ids)):
            raise InputError(
                f"[Drafter] expected as many contexts, sampling and remaining as distinct ids, got "
                f"{len(contexts)}, {len(params)}, {len(most)} and {len(set(ids))}"
            )
        texts = [token_ids(context, "Drafter", "contexts") for context in contexts]
        ends = token_ids(stop, "Drafter", "stop")
        new = [id for id in ids if id not in self._numbers]
        try:
            for id, one in zip(ids, params, strict=True):
                if id not in self._numbers:
                    number = self._numbers[id] = next(_CACHES)
                    own = one.with_seed()
                    self._core.add(number, sampling=own, draft_sampling=draft_sampling, stop=ends)
            for id, text, left in zip(ids, texts, most, strict=True):
                self._core.propose(self._numbers[id], text, left)
        except BaseException:
            for id in new:  # nothing began
                self.forget(id)
            raise
        numbers = [self._numbers[id] for id in ids]
        while feeds := self._core.next(numbers):
            try:
                logits = draft_rows_of(self._model, feeds)
                logits = logits.cpu() if hasattr(logits, "cpu") else logits
                self._core.feed(feeds, logits)
            except BaseException:
                self._core.failed(feeds)
                raise
        self._check(dict(zip(numbers, texts, strict=True)))
        width = self._width if dense else 0
        return [self._draft(number, width) for number in numbers]

    def verify(
        self,
        ids: Sequence[Hashable],
        lengths: Sequence[int],
        target_logits: Any,
        sampling: SamplingParams | Sequence[SamplingParams],
        *,
        verifier: str = "traversal",
        requests: Sequence[int],
        positions: Sequence[int],
    ) -> VerifyResult:
        """As `anydraft.verify`, of the last drafts of these requests. Their rows are read where the
        drafter left them, through the pair's map: no row over the target's ids is written.

        Args:
            lengths: how many nodes of each draft, behind its root, the target was run on: the first
                ones. Fewer than there are is lossless where their tokens have no say in it;
                children of one node drawn by "spechub" or "greedy_k", and any with verifier
                "multipath", are given all or none, and drafts made for "multipath" are judged by
                it alone: else InputError.
            target_logits: [sum of lengths + 1, vocab], CPU.
            sampling: the target's, one for all or one each; seeds key the uniforms (None: 0).
            requests, positions: [requests] keys of the uniforms.

        Returns:
            The kept nodes; a request that failed says so in `status`.

        Raises:
            InputError: an id that is unknown, arrays that do not fit each other.
        """
        params = each_params(sampling, "Drafter.verify", len(ids), of_rows=True)
        try:
            numbers = [self._numbers[id] for id in ids]
        except KeyError as error:
            raise InputError(
                f"[Drafter.verify] expected ids of requests, got {error.args[0]!r}"
            ) from None
        return VerifyResult(
            *self._core.verify(
                numbers,
                whole_numbers(lengths, "Drafter.verify", "lengths", MOST),
                target_logits,
                params,
                verifier,
                whole_numbers(requests, "Drafter.verify", "requests", UINT32),
                whole_numbers(positions, "Drafter.verify", "positions", UINT32),
            )
        )

    def forget(self, id: Hashable) -> None:
        """A request that has ended: its caches go."""
        number = self._numbers.pop(id, None)
        if number is None:
            return
        self._core.forget(number)
        if hasattr(self._model, "forget"):
            self._model.forget(number)

    def _check(self, texts: dict[int, Sequence[int]]) -> None:
        """Raises where nothing could be drafted at all; else an error is its request's own."""
        errors = dict[int, Exception]()
        for number in texts:
            try:
                self._core.check(number)
            except Exception as error:
                errors[number] = error
        for number, why in errors.items():
            if len(errors) == len(texts):
                raise why
            _log.warning("no draft for a request this time: %s", why)
            self._core.propose(number, texts[number], 0)

    def _draft(self, number: int, width: int) -> Draft:
        import numpy as np

        tokens, parents, named, paths, data, made = self._core.draft(number, width)
        logits = np.frombuffer(bytearray(data), np.float32).reshape(-1, width) if data else None
        proposals = [Proposal(kind, row) for kind, row in named]
        sampling = SamplingParams(made.temperature, made.top_k, made.top_p, made.min_p)
        return Draft(tokens, parents, proposals, paths, logits, sampling)


def _lengths(remaining: Any, count: int) -> list[int]:
    """One for each request."""
    each = remaining if hasattr(remaining, "__iter__") else [remaining] * count
    return [min(whole_number(left, "Drafter", "remaining"), MOST) for left in each]
