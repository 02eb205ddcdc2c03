"""What our workers share: vLLM's worker, with our sampler."""

from __future__ import annotations

from typing import Any

from anydraft.vllm import checks, compat
from anydraft.vllm.proposer import Proposer
from anydraft.vllm.runner_requests import RunnerRequests
from anydraft.vllm.samplers import PlainSampler, SpeculativeSampler, StepSampler


class ExactSampling:
    """Stands before a worker of vLLM among the bases of a class."""

    judges_drawn_drafts = True
    model_runner: Any

    def __init__(self, vllm_config: Any, *args: Any, **kwargs: Any) -> None:
        compat.check({**compat.PROPOSER_HOOKS, **compat.SAMPLER_HOOKS})
        checks.check_worker(vllm_config)
        self._own_config = vllm_config
        super().__init__(vllm_config, *args, **kwargs)  # type: ignore[call-arg]

    def load_model(self, *args: Any, **kwargs: Any) -> None:
        super().load_model(*args, **kwargs)  # type: ignore[misc]
        install(self.model_runner, self._own_config)


def install(runner: Any, vllm_config: Any) -> None:
    """Gives a model runner our samplers, and its proposer the requests behind its rows."""
    proposer: Proposer = runner.drafter
    rank = vllm_config.parallel_config.data_parallel_rank
    requests = RunnerRequests(runner, vllm_config.model_config.seed or 0, rank)
    proposer.use(requests)
    step = StepSampler(runner, proposer, requests, _share(vllm_config))
    plain = PlainSampler(runner.sampler, step)
    runner.rejection_sampler = SpeculativeSampler(runner.rejection_sampler, plain, step)
    runner.sampler = plain


def _share(vllm_config: Any) -> Any:
    """None on one rank. On several the first judges, so that all take the same decision."""
    if vllm_config.parallel_config.tensor_parallel_size == 1:
        return None
    from vllm.distributed import get_tp_group

    return get_tp_group().broadcast
