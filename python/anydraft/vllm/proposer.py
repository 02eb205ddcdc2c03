"""Drafts for vLLM: `speculative_config={"method": "custom_class", "model": ...}`."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Protocol

from anydraft.drafter import Draft
from anydraft.vllm import checks, compat
from anydraft.vllm.batch_drafter import CERTAIN, Ask, BatchDrafter
from anydraft.vllm.judging import Judged
from anydraft.vllm.row_requests import RowRequests
from anydraft.vllm.target import target_vocabulary


class Requests(Protocol):
    """Who stands in which row."""

    def asks(self, contexts: dict[int, Any], most: dict[int, int]) -> dict[int, Ask]:
        """What is asked for each row; none: a row that wants no draft."""

    def gone(self, held: Sequence[Hashable]) -> Sequence[Hashable]:
        """Those of the requests with caches that have ended."""


class Proposer:
    """The class of vLLM's `method: custom_class`.

    Alone, its drafts are certain, so vLLM's own sampler keeps the target's distribution at any
    temperature. One of our workers gives it the requests' own parameters, and judges drafts that
    are drawn.

    The drafter runs on the first rank of a tensor parallel group, where vLLM collects drafts.

    Args:
        vllm_config: vLLM's whole configuration; `additional_config["anydraft"]` are the `Options`.

    Raises:
        Error: what cannot be, before the target is loaded.
    """

    def __init__(self, vllm_config: Any) -> None:
        compat.check()
        self.options = checks.read_options(vllm_config)
        self._has_drafted = False
        if not checks.is_exact(vllm_config):
            if self.options.greedy_only:
                compat.guard_greedy_only(lambda: self._has_drafted)
            else:
                compat.check_stock_sampler()
        target = target_vocabulary(vllm_config.model_config)
        self.num_tokens = int(vllm_config.speculative_config.num_speculative_tokens)
        self._longest = int(vllm_config.model_config.max_model_len)
        self.drafter: BatchDrafter | None = None
        if tensor_parallel_rank(vllm_config) == 0:
            self.drafter = BatchDrafter(
                self.options, target, self.num_tokens, exact=checks.is_exact(vllm_config)
            )
        self.drafts: dict[Hashable, tuple[int, Draft]] = {}  # with the lengths of their contexts
        self._requests: Requests = _ByText(self.options.cache_tokens)

    def load_model(self, target: Any) -> None:
        """Nothing: the drafter is loaded before the target, so that its errors come early."""

    def use(self, requests: Requests) -> None:
        """Whom to ask who stands in which row."""
        self._requests = requests

    def drew(self, id: Hashable, position: int, tokens: list[int]) -> bool:
        """Whether these tokens begin a draft that was drawn behind a text of this length. Others
        are certain: greedy drafts, and what vLLM fills in by itself."""
        length, draft = self.drafts.get(id, (-1, None))
        if draft is None or length != position or draft.is_certain:
            return False
        return draft.chain[: len(tokens)] == tokens

    def judged(self, id: Hashable, tokens: list[int], sampling: Any, position: int) -> Judged:
        """A request of a step as it is to be judged, with the drafted tokens the target saw; -1
        stands where vLLM only filled up the step."""
        rows = len(tokens)
        tokens = tokens[: tokens.index(-1)] if -1 in tokens else tokens
        drawn_for = id if tokens and self.drew(id, position, tokens) else None
        if drawn_for is not None and (self.drafter is None or id not in self.drafter.held):
            tokens, drawn_for = [], None  # its cache had to go
        return Judged(tokens, drawn_for, sampling, position, skipped=rows - len(tokens))

    def propose(
        self,
        sampled_token_ids: Sequence[Sequence[int]],
        num_tokens_no_spec: Any,
        token_ids_cpu: Any,
        slot_mappings: Any = None,
    ) -> list[list[int]]:
        """As vLLM calls it after each step.

        Args:
            sampled_token_ids: new tokens of each row; none: a prompt not yet read to its end.
            num_tokens_no_spec: int32 [rows], length of prompt and text.
            token_ids_cpu: int32 [rows, max_model_len].

        Returns:
            For each row at most num_speculative_tokens drafted tokens.
        """
        drafted: list[list[int]] = [[] for _ in sampled_token_ids]
        if self.drafter is None:
            return drafted
        contexts = {
            row: token_ids_cpu[row, : num_tokens_no_spec[row]]
            for row, tokens in enumerate(sampled_token_ids)
            if len(tokens)
        }
        most = {
            row: min(self.num_tokens, self._longest - len(context) - 1)
            for row, context in contexts.items()
        }
        asks = self._requests.asks(contexts, most)
        for id in self._requests.gone(tuple({**self.drafts, **dict.fromkeys(self.drafter.held)})):
            self.drafter.forget(id)
            self.drafts.pop(id, None)
        drafts = self.drafter.propose(list(asks.values()))
        for (row, ask), draft in zip(asks.items(), drafts, strict=True):
            self.drafts.pop(ask.id, None)
            if draft is not None:
                drafted[row] = draft.chain
                self._has_drafted = True
                self.drafts[ask.id] = len(ask.context), draft
        return drafted


class _ByText:
    """Requests of which nothing is known but their text."""

    def __init__(self, tokens: int) -> None:
        self._rows = RowRequests(tokens)
        self._gone: list[int] = []

    def asks(self, contexts: dict[int, Any], most: dict[int, int]) -> dict[int, Ask]:
        names, self._gone = self._rows.names(contexts)
        return {
            row: Ask(names[row], context, CERTAIN, most[row]) for row, context in contexts.items()
        }

    def gone(self, held: Sequence[Hashable]) -> Sequence[Hashable]:
        return self._gone


def tensor_parallel_rank(vllm_config: Any) -> int:
    """This process's rank in its tensor parallel group."""
    if vllm_config.parallel_config.tensor_parallel_size == 1:
        return 0
    from vllm.distributed import get_tensor_model_parallel_rank

    return int(get_tensor_model_parallel_rank())
