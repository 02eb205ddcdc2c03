"""Who stands in which row, read off vLLM's model runner."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from anydraft.vllm.batch_drafter import Ask
from anydraft.vllm.request_params import RequestParams, read_params, seed_of


class RunnerRequests:
    """The requests of a runner, with their parameters.

    Args:
        runner: vLLM's model runner: `input_batch` has the rows, `requests` all that have not
            ended.
        engine_seed, rank: of the engine, and its data parallel rank.
    """

    def __init__(self, runner: Any, engine_seed: int, rank: int) -> None:
        self._runner = runner
        self._key = engine_seed, rank
        self._params: dict[Hashable, RequestParams] = {}
        self._count = 0

    def params(self, id: Hashable) -> RequestParams:
        """Parameters of a request, read when it is first seen."""
        if id not in self._params:
            seed = seed_of(*self._key, self._count)
            self._count += 1
            self._params[id] = read_params(self._runner.requests[id].sampling_params, seed)
        return self._params[id]

    def asks(self, contexts: dict[int, Any], most: dict[int, int]) -> dict[int, Ask]:
        ids = self._runner.input_batch.req_ids
        asked = dict[int, Ask]()
        for row, context in contexts.items():
            id = ids[row]
            params, remaining = self.params(id), most[row]
            if params.max_tokens is not None:
                text = len(context) - int(self._runner.input_batch.num_prompt_tokens[row])
                remaining = min(remaining, params.max_tokens - text - 1)
            asked[row] = Ask(id, context, params.drafter, max(0, remaining))
        return asked

    def gone(self, held: Sequence[Hashable]) -> Sequence[Hashable]:
        ended = [id for id in self._params if id not in self._runner.requests]
        for id in ended:
            del self._params[id]
        return [id for id in held if id not in self._runner.requests]
