"""Who stands in which row, read off vLLM's model runner."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from anydraft.checks import MOST
from anydraft.vllm.batch_drafter import Ask
from anydraft.vllm.request_params import RequestParams, read_params, seed_of


@dataclass(frozen=True)
class Known:
    """A request that has been seen.

    Attributes:
        number: names it to the drafter: clients may use an id again.
        params: its parameters.
    """

    number: int
    params: RequestParams


class RunnerRequests:
    """The requests of a runner, with their parameters.

    Args:
        runner: vLLM's model runner: `input_batch` has the rows, `requests` all that have not
            ended.
        engine_seed, rank: of the engine, and its data parallel rank.

    Attributes:
        vocab_size: columns of the target's rows. The sampler, which sees them, says it before it
            asks for a request.
    """

    def __init__(self, runner: Any, engine_seed: int, rank: int) -> None:
        self.vocab_size = MOST
        self._runner = runner
        self._key = engine_seed, rank
        self._known: dict[str, tuple[Any, Known]] = {}  # with vLLM's parameters they were read from
        self._count = 0

    def known(self, id: str) -> Known:
        """A request by vLLM's id."""
        given = self._runner.requests[id].sampling_params
        source, known = self._known.get(id, (None, None))
        if known is None or source is not given:
            seed = seed_of(*self._key, self._count)
            params = read_params(given, seed, id, self.vocab_size)
            known = Known(self._count, params)
            self._count += 1
            self._known[id] = given, known
        return known

    def asks(self, contexts: dict[int, Any], most: dict[int, int]) -> dict[int, Ask]:
        batch, asked = self._runner.input_batch, dict[int, Ask]()
        for row, context in contexts.items():
            known, remaining = self.known(batch.req_ids[row]), most[row]
            if known.params.max_tokens is not None:
                text = len(context) - int(batch.num_prompt_tokens[row])
                remaining = min(remaining, known.params.max_tokens - text - 1)
            asked[row] = Ask(known.number, context, known.params.drafter, max(0, remaining))
        return asked

    def gone(self, held: Sequence[Hashable]) -> Sequence[Hashable]:
        self._known = {
            id: known for id, known in self._known.items() if id in self._runner.requests
        }
        live = {known.number for _, known in self._known.values()}
        return [number for number in held if number not in live]
