"""A worker that times itself: seconds of steps, of our proposer, of its drafter's passes, of our
sampler, as JSON in $ANYDRAFT_TIMES when the process ends."""

import atexit
import json
import os
import time
from collections import defaultdict
from pathlib import Path

from anydraft.vllm.cpu_worker import CpuWorker

SECONDS = defaultdict(float)


def timed(name, function):
    def called(*args, **kwargs):
        started = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            SECONDS[name] += time.perf_counter() - started
            SECONDS[f"{name} calls"] += 1

    return called


class _TimedModel:
    """The drafter's model, as a drafter takes it."""

    def __init__(self, model):
        self._call = timed("passes", model)
        self._model = model

    def __call__(self, feeds):
        return self._call(feeds)

    def __getattr__(self, name):
        return getattr(self._model, name)


class TimedWorker(CpuWorker):
    def load_model(self, *args, **kwargs):
        super().load_model(*args, **kwargs)
        runner = self.model_runner
        inner = runner.drafter.drafter._drafter
        inner._model = _TimedModel(inner._model)
        runner.drafter.propose = timed("propose", runner.drafter.propose)
        for sampler in (runner.sampler, runner.rejection_sampler):
            sampler.forward = timed("sample", sampler.forward)
        atexit.register(lambda: Path(os.environ["ANYDRAFT_TIMES"]).write_text(json.dumps(SECONDS)))

    def execute_model(self, *args, **kwargs):
        return timed("step", super().execute_model)(*args, **kwargs)

    def sample_tokens(self, *args, **kwargs):
        return timed("step", super().sample_tokens)(*args, **kwargs)
