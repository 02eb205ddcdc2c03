"""Speculative decoding inside vLLM, as a plug-in: no fork, and no patch but where the
option greedy_only meets a sampler that is not exact (`compat.guard_greedy_only`).

`Proposer` alone drafts for vLLM's own sampler. With one of the workers (`anydraft.vllm.cpu_worker`,
`anydraft.vllm.gpu_worker`) the sampler is this package's too. `anydraft vllm-config` prints the
whole configuration.
"""

from anydraft.vllm.proposer import Proposer

__all__ = ["Proposer"]
