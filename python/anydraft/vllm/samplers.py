"""vLLM's two samplers with our verification in them: a token's distribution is exact, whatever was
drafted, and every draw is keyed by seed, request and position."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from vllm.config.model import PROCESSED_LOGPROBS_MODES
from vllm.v1.outputs import LogprobsTensors, SamplerOutput
from vllm.v1.sample.ops.topk_topp_sampler import apply_top_k_top_p
from vllm.v1.sample.rejection_sampler import RejectionSampler
from vllm.v1.sample.sampler import Sampler

from anydraft.vllm.judging import Judged, judge
from anydraft.vllm.proposer import Proposer
from anydraft.vllm.row_changes import change_rows
from anydraft.vllm.runner_requests import Known, RunnerRequests

Share = Callable[[Any], Any]  # a tensor of the first rank for all ranks


class StepSampler:
    """New tokens of all requests of a step."""

    def __init__(
        self, runner: Any, proposer: Proposer, requests: RunnerRequests, share: Share | None
    ) -> None:
        """share: from the first rank to all, where there are several; the others judge nothing."""
        self._runner = runner
        self._proposer = proposer
        self._requests = requests
        self._share = share

    @property
    def is_idle(self) -> bool:
        """vLLM measures its memory, or warms up: there are no requests."""
        return not self._runner.input_batch.req_ids

    def sample(self, logits: Any, drafted: Sequence[list[int]], metadata: Any) -> tuple[Any, Any]:
        """(int32 [requests, longest + 1] new tokens, -1 behind them; the rows they were drawn from
        before temperature: float32, as `logits`).

        Args:
            logits: [sum of len(drafted) + 1, vocab], the requests' rows in order.
        """
        self._requests.vocab_size = logits.shape[-1]
        known = [self._requests.known(id) for id in self._runner.input_batch.req_ids]
        params = [one.params for one in known]
        rows = change_rows(logits.float(), drafted, params, metadata)
        longest = max(map(len, drafted))
        tokens = torch.full((len(drafted), longest + 1), -1, dtype=torch.int32)
        if self._proposer.drafter is not None:
            judged = self._judged(drafted, known)
            verifier = self._proposer.options.verifier
            new = judge(rows.cpu(), judged, self._proposer.drafter, verifier)
            for row, kept in zip(tokens, new, strict=True):
                row[: len(kept)] = torch.tensor(kept, dtype=torch.int32)
        tokens = tokens.to(logits.device)
        return (tokens if self._share is None else self._share(tokens)), rows

    def _judged(self, drafted: Sequence[list[int]], known: Sequence[Known]) -> list[Judged]:
        lengths = self._runner.input_batch.num_tokens_no_spec
        return [
            self._proposer.judged(one.number, tokens, one.params.target, int(lengths[row]))
            for row, (tokens, one) in enumerate(zip(drafted, known, strict=True))
        ]


class PlainSampler(Sampler):  # type: ignore[misc]
    """vLLM's sampler of steps without drafts."""

    def __init__(self, sampler: Sampler, step: StepSampler) -> None:
        super().__init__(sampler.logprobs_mode, sampler.use_fp64_gumbel)
        self._step = step

    def forward(
        self,
        logits: Any,
        sampling_metadata: Any,
        predict_bonus_token: bool = False,
        logprobs_mode_override: Any = None,
    ) -> SamplerOutput:
        if self._step.is_idle:
            return super().forward(
                logits, sampling_metadata, predict_bonus_token, logprobs_mode_override
            )
        tokens, rows = self._step.sample(
            logits, [[] for _ in range(len(logits))], sampling_metadata
        )
        logprobs = None
        if sampling_metadata.logprob_token_ids:
            scores = row_logprobs(self, logits, rows, [1] * len(logits), sampling_metadata)
            logprobs = self.gather_specific_token_logprobs(
                scores, sampling_metadata.logprob_token_ids, tokens[:, 0].long()
            )
        elif sampling_metadata.max_num_logprobs is not None:
            logprobs = gathered(self, logits, rows, [1] * len(logits), tokens, sampling_metadata)
        return SamplerOutput(sampled_token_ids=tokens, logprobs_tensors=logprobs)


class SpeculativeSampler(RejectionSampler):  # type: ignore[misc]
    """vLLM's sampler of steps with drafts."""

    def __init__(self, stock: RejectionSampler, plain: PlainSampler, step: StepSampler) -> None:
        super().__init__(stock.sampler)
        self._plain = plain
        self._step = step

    def forward(
        self, metadata: Any, draft_probs: Any, logits: Any, sampling_metadata: Any
    ) -> SamplerOutput:
        if self._step.is_idle:
            return super().forward(metadata, draft_probs, logits, sampling_metadata)
        flat, drafted = metadata.draft_token_ids.tolist(), list[list[int]]()
        for count in metadata.num_draft_tokens:
            drafted.append(flat[:count])
            del flat[:count]
        tokens, rows = self._step.sample(logits, drafted, sampling_metadata)
        logprobs = None
        if sampling_metadata.max_num_logprobs is not None:
            counts = [len(one) + 1 for one in drafted]
            logprobs = gathered(self._plain, logits, rows, counts, tokens, sampling_metadata)
        return SamplerOutput(sampled_token_ids=tokens, logprobs_tensors=logprobs)


def row_logprobs(
    sampler: Sampler, logits: Any, rows: Any, counts: Sequence[int], metadata: Any
) -> Any:
    """float32 [rows, vocab], by vLLM's `logprobs_mode`."""
    mode = sampler.logprobs_mode
    scores = logits.float()
    if mode in PROCESSED_LOGPROBS_MODES:
        scores = _filtered(rows, counts, metadata)
    return scores if mode.endswith("_logits") else sampler.compute_logprobs(scores)


def gathered(
    sampler: Sampler, logits: Any, rows: Any, counts: Sequence[int], tokens: Any, metadata: Any
) -> LogprobsTensors:
    """Log-probabilities of the new tokens, and of the likeliest: one row for each place of
    `tokens`, those of empty places to be left out by vLLM."""
    scores = row_logprobs(sampler, logits, rows, counts, metadata)
    first = torch.tensor([0, *counts[:-1]]).cumsum(0)
    at = (first[:, None] + torch.arange(tokens.shape[1])).clamp(max=len(scores) - 1)
    return sampler.gather_logprobs(
        scores[at.flatten().to(scores.device)],
        metadata.max_num_logprobs,
        tokens.flatten().clamp(min=0).long(),
    )


def _filtered(rows: Any, counts: Sequence[int], metadata: Any) -> Any:
    """The rows as tokens are drawn from them."""
    if metadata.temperature is None:
        return rows
    owner = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)).to(rows.device)
    temperature = metadata.temperature[owner]
    rows = rows / torch.where(temperature < 1e-5, 1.0, temperature)[:, None]
    k, p = (None if one is None else one[owner] for one in (metadata.top_k, metadata.top_p))
    return apply_top_k_top_p(rows, k, p)
