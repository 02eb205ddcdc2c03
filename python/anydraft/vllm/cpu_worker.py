"""`worker_cls="anydraft.vllm.cpu_worker.CpuWorker"`."""

from vllm.v1.worker.cpu_worker import CPUWorker

from anydraft.vllm.worker import ExactSampling


class CpuWorker(ExactSampling, CPUWorker):  # type: ignore[misc]
    """vLLM's worker for CPUs with our sampler."""
