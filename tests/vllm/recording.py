"""A worker that writes down what it verifies: $ANYDRAFT_RECORD/RANK.jsonl."""

import json
import os
from pathlib import Path

from anydraft.vllm.cpu_worker import CpuWorker


class RecordingWorker(CpuWorker):
    def load_model(self, *args, **kwargs):
        super().load_model(*args, **kwargs)
        file = Path(os.environ["ANYDRAFT_RECORD"]) / f"{self.rank}.jsonl"
        sampler = self.model_runner.rejection_sampler
        verify = sampler.forward

        def recorded(metadata, *arguments):
            output = verify(metadata, *arguments)
            drafted = metadata.draft_token_ids.tolist()
            line = {"drafted": drafted, "kept": output.sampled_token_ids.tolist()}
            with file.open("a") as log:
                log.write(json.dumps(line) + "\n")
            return output

        sampler.forward = recorded


class FailingWorker(CpuWorker):
    """Its drafter fails at the tenth pass."""

    def load_model(self, *args, **kwargs):
        super().load_model(*args, **kwargs)
        drafter = self.model_runner.drafter.drafter._drafter
        model, passes = drafter._model, iter(range(10))

        def failing(feeds):
            if next(passes, None) is None:
                raise RuntimeError("the accelerator went away")
            return model(feeds)

        drafter._model = failing
