"""What a model runner of vLLM keeps and passes, for the plug-in's tests."""

from types import SimpleNamespace

import numpy as np
import torch
from toys import TARGET, TableModel

from anydraft.vllm import checks, proposer
from anydraft.vllm.judging import judge
from anydraft.vllm.runner_requests import RunnerRequests

LONGEST = 24


def config(options, *, worker="auto", tokens=3, **more):
    """A `VllmConfig`, as far as the plug-in reads it."""
    speculative = {"model": checks.PROPOSER, "num_speculative_tokens": tokens}
    speculative |= {"rejection_sample_method": "standard"} | more.pop("speculative", {})
    parallel = {"worker_cls": worker, "tensor_parallel_size": 1, "pipeline_parallel_size": 1}
    return SimpleNamespace(
        additional_config={"anydraft": options},
        speculative_config=SimpleNamespace(**speculative),
        parallel_config=SimpleNamespace(**{**parallel, **more.pop("parallel", {})}),
        scheduler_config=SimpleNamespace(async_scheduling=False, **more),
        model_config=SimpleNamespace(max_model_len=LONGEST),
    )


class Host:
    """What a model runner of vLLM keeps and passes: rows that are filled, moved and emptied."""

    def __init__(self, options, *, exact):
        self.runner = SimpleNamespace(requests={}, input_batch=SimpleNamespace(req_ids=[]))
        worker = checks.WORKERS["cpu"] if exact else "auto"
        self.proposer = proposer.Proposer(config(options, worker=worker))
        self.requests = RunnerRequests(self.runner, 0, 0)
        if exact:
            self.proposer.use(self.requests)
        self.texts, self.drafted, self.lost = {}, {}, 0
        self.target = TableModel(TARGET, 1)
        self.random = np.random.default_rng(5)

    def add(self, id, prompt, **params):
        given = {"temperature": 1.1, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "max_tokens": 8}
        given |= {"seed": None, "extra_args": None, "structured_outputs": None, "logit_bias": None}
        self.runner.requests[id] = SimpleNamespace(
            sampling_params=SimpleNamespace(**given | params)
        )
        self.texts[id], self.drafted[id] = list(prompt), []

    def remove(self, id):
        del self.runner.requests[id], self.texts[id], self.drafted[id]

    def step(self, ids):
        """The target on these requests, in this order of rows, and drafts for the next step.
        Drafts may be cut, as a scheduler short of tokens cuts them."""
        batch = self.runner.input_batch
        batch.req_ids = list(ids)
        judged, rows = [], []
        for id in ids:
            tokens = self.drafted[id][: self.random.choice([9, 9, 9, 1])]
            text, known = self.texts[id], self.requests.known(id)
            one = self.proposer.judged(known.number, tokens, known.params.target, len(text))
            self.lost += one.skipped
            judged.append(one)
            rows += [self.target.row((*text, *tokens[:i])) for i in range(len(tokens) + 1)]
        new = judge(torch.from_numpy(np.stack(rows)), judged, self.proposer.drafter, "block")
        table = np.zeros((len(ids), LONGEST + 8), np.int32)
        for row, (id, tokens) in enumerate(zip(ids, new, strict=True)):
            self.texts[id] += tokens
            table[row, : len(self.texts[id])] = self.texts[id]
        batch.num_prompt_tokens = np.full(len(ids), 4)
        lengths = np.array([len(self.texts[id]) for id in ids], np.int32)
        drafts = self.proposer.propose(new, lengths, table, slot_mappings=None)
        self.drafted |= dict(zip(ids, drafts, strict=True))
        return dict(zip(ids, new, strict=True))
