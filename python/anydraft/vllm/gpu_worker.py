"""`worker_cls="anydraft.vllm.gpu_worker.GpuWorker"`."""

from vllm.v1.worker.gpu_worker import Worker

from anydraft.vllm.worker import ExactSampling


class GpuWorker(ExactSampling, Worker):  # type: ignore[misc]
    """vLLM's worker for GPUs with our sampler. It has not run on a GPU yet."""
