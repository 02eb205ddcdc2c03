"""A request's tokens are the same alone and in any batch, join order, number of threads, API."""

import random

import numpy as np
import pytest
from toys import DRAFTER, TARGET, TableModel

from anydraft import SamplingParams, SpeculativeSession, set_threads

BRIDGES = ["none", "lookup", "same", "tli", "slem", "slrs", "auto"]
SHAPES = [{}, {"tree": "2x2"}, {"tree": "dynamic:2,2,3,5"}, {"draft_length": "auto"}]
CHANGED = {
    "repetition_penalty": 1.3,
    "frequency_penalty": 0.2,
    "logit_bias": {2: 0.7},
    "bad_words": [[0, 1]],
    "min_tokens": 3,
}
PROMPTS = [[0, 1, 2, 0, 1], [2], [3, 3, 1], [1, 0], [4, 2, 2]]
PARAMS = [
    SamplingParams(temperature=1.2, seed=5, max_tokens=25),
    SamplingParams(temperature=0, seed=1, max_tokens=9, **CHANGED),
    SamplingParams(temperature=0.8, top_p=0.9, seed=2, max_tokens=30),
    SamplingParams(temperature=1.0, seed=2, max_tokens=17, **CHANGED),
    SamplingParams(temperature=1.4, top_k=5, seed=8, max_tokens=1),
]


class Wide(TableModel):
    """So many ids of no mass that the engine takes its threads."""

    def __call__(self, feeds):
        rows = super().__call__(feeds)
        return np.pad(rows, ((0, 0), (0, 20000)), constant_values=-np.inf)


@pytest.fixture(autouse=True)
def as_before():
    yield
    set_threads(0)


def session(bridge, shape, target=TableModel):
    target = target(TARGET, 1)
    if bridge in ("none", "lookup"):
        shape = {name: value for name, value in shape.items() if name != "tree"}
        return SpeculativeSession(target, None if bridge == "none" else "lookup", **shape)
    drafter = TableModel(TARGET if bridge == "same" else DRAFTER, 2)
    return SpeculativeSession(target, drafter, bridge=bridge, **shape)


def alone(bridge, shape):
    texts = []
    for prompt, params in zip(PROMPTS, PARAMS, strict=True):
        made = session(bridge, shape).generate(prompt, sampling=params)
        texts.append((made.tokens, made.text, made.finish_reason))
    return texts


@pytest.mark.parametrize("bridge", BRIDGES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_whenever_requests_join_and_leave(bridge, shape):
    """add and step: requests come in any order, some are cancelled on the way."""
    expected = alone(bridge, shape)
    for seed in range(3):
        chosen, run = random.Random(seed), session(bridge, shape)
        waiting = [*range(len(PROMPTS)), *[-1] * 3]
        chosen.shuffle(waiting)
        handles, events, leaving = {}, {}, []
        while waiting or run._active:
            if waiting and chosen.random() < 0.4:
                i = waiting.pop()
                handle = run.add(PROMPTS[i], sampling=PARAMS[i])
                events[handle.id] = []
                if i < 0:
                    leaving.append(handle)
                else:
                    handles[i] = handle
            if leaving and chosen.random() < 0.3:
                leaving.pop().cancel()
            for handle, event in run.step():
                events[handle.id].append(event)
        for i, handle in handles.items():
            made = handle.generation
            assert (made.tokens, made.text, made.finish_reason) == expected[i]
            told = events[handle.id]  # every event once, the last ones too
            assert [event.tokens[0] for event in told] == made.tokens
            assert "".join(event.text for event in told) == made.text
        assert len(run._engine) == 0 and run.target.texts == {}


@pytest.mark.parametrize("bridge", BRIDGES)
@pytest.mark.parametrize("shape", SHAPES[:2], ids=str)
def test_on_any_number_of_threads(bridge, shape):
    expected = alone(bridge, shape)
    for count in (1, 2, 3):
        set_threads(count)
        made = session(bridge, shape, Wide).generate(PROMPTS, sampling=PARAMS)
        assert [(m.tokens, m.text, m.finish_reason) for m in made] == expected


def test_step_tells_of_errors_and_goes_on():
    run = session("tli", {})

    def broken(prompt, output, row):
        if len(output) == 4:
            raise ZeroDivisionError
        return row

    params = PARAMS[0].replace(ignore_eos=True)
    good = run.add(PROMPTS[0], sampling=params)
    bad = run.add(PROMPTS[0], sampling=params, logits_processor=broken)
    while run._active:
        run.step()
    assert isinstance(bad.error, ZeroDivisionError) and bad.generation.finish_reason is None
    before = bad.generation.tokens  # a place that was drafted has no row: nothing of its round
    assert before == good.generation.tokens[: len(before)] and len(before) <= 4
    assert good.generation.finish_reason == "length"
    with pytest.raises(ZeroDivisionError):
        list(bad)
    bad.processor = None
    list(bad)
    assert bad.generation.tokens == good.generation.tokens
