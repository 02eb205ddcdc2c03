"""What changes the target's rows before temperature, with vLLM's own operations and in the order
of its sampler."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from vllm.v1.sample.logits_processor.builtin import MinTokensLogitsProcessor
from vllm.v1.sample.ops.bad_words import apply_bad_words
from vllm.v1.sample.ops.penalties import apply_all_penalties

from anydraft.vllm.request_params import RequestParams


def change_rows(
    rows: Any, drafted: Sequence[Sequence[int]], params: Sequence[RequestParams], metadata: Any
) -> Any:
    """float32 [rows, vocab]: each row as the text and the drafted tokens before it change it.

    Args:
        rows: float32 [sum of len(drafted) + 1, vocab]; left as it is.
        metadata: vLLM's `SamplingMetadata` of the same requests.
    """
    counts = [len(tokens) + 1 for tokens in drafted]
    mask, words = metadata.allowed_token_ids_mask, metadata.bad_words_token_ids
    least = [
        one
        for one in metadata.logitsprocs.non_argmax_invariant
        if isinstance(one, MinTokensLogitsProcessor) and one.min_toks
    ]
    biased = any(one.logit_bias for one in params)
    filtered = any(one.min_p for one in params)
    if mask is None and not (words or least or biased or filtered) and metadata.no_penalties:
        return rows
    rows = rows.clone()
    owner = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    texts = _texts(drafted, metadata) if words or not metadata.no_penalties else []
    if mask is not None:
        rows.masked_fill_(mask[owner.to(mask.device)], -torch.inf)
    if words:
        own = {row: words[i] for row, i in enumerate(owner.tolist()) if i in words}
        apply_bad_words(rows, own, texts)
    for processor in least:
        rows = processor.apply_with_spec_decode(rows, counts)
    if biased:
        _add_bias(rows, counts, params)
    if not metadata.no_penalties:
        rows = _penalised(rows, owner, texts, metadata)
    if filtered:
        _apply_min_p(rows, counts, params)
    return rows


def _texts(drafted: Sequence[Sequence[int]], metadata: Any) -> list[list[int]]:
    """The text before each row, drafted tokens included; -1 is none."""
    return [
        [*text, *(token for token in tokens[:row] if token >= 0)]
        for text, tokens in zip(metadata.output_token_ids, drafted, strict=True)
        for row in range(len(tokens) + 1)
    ]


def _add_bias(rows: Any, counts: Sequence[int], params: Sequence[RequestParams]) -> None:
    begin = 0
    for count, one in zip(counts, params, strict=True):
        for token, by in one.logit_bias.items():
            rows[begin : begin + count, token] += by
        begin += count


def _penalised(rows: Any, owner: Any, texts: list[list[int]], metadata: Any) -> Any:
    owner = owner.to(rows.device)
    return apply_all_penalties(
        rows,
        metadata.prompt_token_ids[owner],
        metadata.presence_penalties[owner],
        metadata.frequency_penalties[owner],
        metadata.repetition_penalties[owner],
        texts,
    )


def _apply_min_p(rows: Any, counts: Sequence[int], params: Sequence[RequestParams]) -> None:
    """Before top-k and top-p, at the request's temperature, as vLLM's processor has it."""
    begin = 0
    for count, one in zip(counts, params, strict=True):
        part = rows[begin : begin + count]
        begin += count
        if one.min_p:
            least = part.amax(-1, keepdim=True) + math.log(one.min_p) * one.target.temperature
            part.masked_fill_(part < least, -torch.inf)
