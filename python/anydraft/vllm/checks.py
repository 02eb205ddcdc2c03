"""What a configuration of vLLM must be, told before anything is loaded."""

from __future__ import annotations

import importlib
from typing import Any

from anydraft.errors import InputError
from anydraft.vllm.options import Options

PROPOSER = "anydraft.vllm.Proposer"
WORKERS = {
    "cpu": "anydraft.vllm.cpu_worker.CpuWorker",
    "gpu": "anydraft.vllm.gpu_worker.GpuWorker",
}


def is_exact(vllm_config: Any) -> bool:
    """Whether the sampler is ours: the worker is one of ours, or is derived from one."""
    name = vllm_config.parallel_config.worker_cls
    if name in WORKERS.values():
        return True
    module, _, kind = name.rpartition(".")
    if not module:  # "auto"
        return False
    worker = getattr(importlib.import_module(module), kind, None)
    return bool(getattr(worker, "judges_drawn_drafts", False))


def read_options(vllm_config: Any) -> Options:
    """Our options of a `VllmConfig`.

    Raises:
        InputError: options that are wrong, or exclude each other.
    """
    given = vllm_config.additional_config
    options = Options.read(given.get("anydraft") if isinstance(given, dict) else None)
    speculative, exact = vllm_config.speculative_config, is_exact(vllm_config)
    if vllm_config.scheduler_config.async_scheduling:
        _fail("async_scheduling=False (or unset)", "async_scheduling=True")
    if speculative.rejection_sample_method != "standard":
        _fail(
            'rejection_sample_method="standard" (the verifier is an option of anydraft)',
            repr(speculative.rejection_sample_method),
        )
    for name in ("num_speculative_tokens_per_batch_size", "parallel_drafting"):
        if getattr(speculative, name, None):
            _fail(f"no {name} with a proposer of anydraft", repr(getattr(speculative, name)))
    if not exact and options.verifier != Options.verifier:
        _fail("a worker_cls of anydraft with option verifier", "vLLM's own sampler")
    return options


def check_worker(vllm_config: Any) -> None:
    """What a worker of ours must have, before it loads a model.

    Raises:
        InputError: a configuration that it does not serve.
    """
    speculative = vllm_config.speculative_config
    model = None if speculative is None else speculative.model
    if model != PROPOSER:
        _fail(f'speculative_config with "model": "{PROPOSER}" beside this worker_cls', repr(model))
    if vllm_config.parallel_config.pipeline_parallel_size > 1:
        _fail("no pipeline parallelism, which has not been tested", "pipeline_parallel_size > 1")
    if getattr(vllm_config, "reasoning_config", None) is not None:
        _fail(
            "no reasoning_config (budgets of thinking tokens need vLLM's own sampler: leave "
            "worker_cls out)",
            "one",
        )


def _fail(expected: str, got: str) -> None:
    raise InputError(f"[anydraft.vllm] expected {expected}, got {got}")
