"""Requests of vLLM: their parameters, and what clients write wrong in them. A step never raises."""

import logging
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from anydraft import SamplingParams
from anydraft.checks import MOST
from anydraft.vllm.request_params import read_params, seed_of
from anydraft.vllm.runner_requests import RunnerRequests

SIZE = 8  # of the target's vocabulary


def given(**changes):
    """vLLM's `SamplingParams`, as far as the plug-in reads them."""
    params = {"temperature": 0.7, "top_k": -1, "top_p": 0.9, "min_p": 0.0, "seed": -3}
    params |= {"max_tokens": 5, "logit_bias": None, "structured_outputs": None, "extra_args": None}
    return SimpleNamespace(**params | changes)


def read(**changes):
    return read_params(given(**changes), 11, "a request", SIZE)


def test_parameters_of_requests():
    extra = {"anydraft_min_p": 0.1, "anydraft_logit_bias": [7, 1.5]}
    params = read(extra_args=extra)
    assert params.target == SamplingParams(0.7, 0, 0.9, seed=2**64 - 3)
    assert params.drafter == params.target.replace(min_p=0.1)
    assert (params.min_p, params.logit_bias, params.max_tokens) == (0.1, {7: 1.5}, 5)
    assert read(seed=None).target.seed == 11
    grammar = read(structured_outputs=object())
    assert grammar.drafter.greedy and not grammar.target.greedy
    assert read(temperature=1e-6).target.greedy
    assert len({seed_of(seed, rank, i) for seed in (0, 1) for rank in (0, 1) for i in (0, 1)}) == 8


MIN_P, BIAS = "anydraft_min_p", "anydraft_logit_bias"
INFINITE, NONE = float("inf"), float("nan")
WRONG = [
    *({MIN_P: value} for value in (2, -0.1, NONE, INFINITE, "a", "nan", None, True, [], 10**400)),
    *({BIAS: value} for value in ([1], "ab", b"ab", 7, [1, "x"], ["x", 1], [[1], 2], [1, None])),
    *({BIAS: [id, 1.0]} for id in (SIZE, -1, 1.5, 10**400, True, NONE, INFINITE, None)),
    *({BIAS: {1: by}} for by in (NONE, INFINITE, -INFINITE, 1e39, 10**400, "", {})),
    *({name: 1} for name in ("anydraft_minp", "anydraft_logits_bias", "AnyDraft_min_p")),
]


@pytest.mark.parametrize("extra", WRONG, ids=str)
def test_what_is_wrong_is_left_out_and_told(extra, caplog):
    params = read(extra_args=extra)
    assert (params.min_p, params.logit_bias) == (0.0, {})
    [record] = caplog.records
    assert (record.name, record.levelname) == ("anydraft", "WARNING")
    assert "'a request'" in record.getMessage() and next(iter(extra)) in record.getMessage()


def test_the_rest_of_a_request_s_options_holds(caplog):
    extra = {MIN_P: 0.5, BIAS: {"1": 2, SIZE: 1.0, "7": "-1.5"}, "other": object()}
    params = read(extra_args=extra)
    assert (params.min_p, params.logit_bias) == (0.5, {1: 2.0, 7: -1.5})
    assert len(caplog.records) == 1 and f"ids in [0, {SIZE}), got {SIZE}" in caplog.text
    caplog.clear()
    assert read(extra_args={MIN_P: "0.5", BIAS: []}, min_p=0.25).min_p == 0.5
    assert 1 - 1e-12 < read(extra_args={MIN_P: 1}).min_p < 1  # the likeliest alone
    assert read(extra_args={BIAS: [3.0, 1]}).logit_bias == {3: 1.0}
    assert not caplog.records
    assert read(extra_args={MIN_P: "much"}, min_p=0.25).min_p == 0.25


def test_a_warning_is_short_whatever_is_sent(caplog):
    read(extra_args={BIAS: [9, 1.0] * 5000, "anydraft_" + "x" * 10_000: "y\n" * 10_000})
    [record] = caplog.records
    assert "and 4998 more" in record.getMessage()
    assert len(record.getMessage()) < 1000 and "\n" not in record.getMessage()


def test_parameters_that_vllm_lets_through_raise_nothing():
    assert read(top_k=2**40).target.top_k == MOST
    assert read(temperature=INFINITE).target.temperature == 1e30


@pytest.fixture
def samplers(monkeypatch):
    """The module, with names in place of vLLM's."""
    names = {
        "config.model": {"PROCESSED_LOGPROBS_MODES": ()},
        "v1.outputs": {"LogprobsTensors": object, "SamplerOutput": object},
        "v1.sample.logits_processor.builtin": {"MinTokensLogitsProcessor": type("Other", (), {})},
        "v1.sample.ops.bad_words": {"apply_bad_words": None},
        "v1.sample.ops.penalties": {"apply_all_penalties": None},
        "v1.sample.ops.topk_topp_sampler": {"apply_top_k_top_p": None},
        "v1.sample.rejection_sampler": {"RejectionSampler": object},
        "v1.sample.sampler": {"Sampler": object},
    }
    for name, content in names.items():
        fake = ModuleType(f"vllm.{name}")
        fake.__dict__.update(content)
        monkeypatch.setitem(sys.modules, fake.__name__, fake)
    for name in ("row_changes", "samplers"):
        monkeypatch.delitem(sys.modules, f"anydraft.vllm.{name}", raising=False)
    import anydraft.vllm.samplers as module

    yield module
    for name in ("row_changes", "samplers"):
        sys.modules.pop(f"anydraft.vllm.{name}")


def test_a_step_goes_on_for_everybody(samplers, caplog):
    """Requests with all the mistakes beside one whose options are right."""
    extras = [*WRONG, {MIN_P: 0.9, BIAS: [5, 3.5]}, None]
    live = {
        str(i): SimpleNamespace(sampling_params=given(extra_args=e)) for i, e in enumerate(extras)
    }
    runner = SimpleNamespace(requests=live, input_batch=SimpleNamespace(req_ids=list(live)))
    proposer = SimpleNamespace(drafter=None)
    step = samplers.StepSampler(runner, proposer, RunnerRequests(runner, 0, 0), None)
    metadata = SimpleNamespace(
        allowed_token_ids_mask=None,
        bad_words_token_ids={},
        logitsprocs=SimpleNamespace(non_argmax_invariant=[]),
        no_penalties=True,
    )
    logits = torch.arange(len(extras) * SIZE).reshape(-1, SIZE) % 5 * 1.0
    with caplog.at_level(logging.WARNING, "anydraft"):
        for _ in range(2):
            _, rows = step.sample(logits, [[] for _ in extras], metadata)
    assert len(caplog.records) == len(WRONG)  # once a request
    assert all((rows[i] == logits[i]).all() for i in (*range(len(WRONG)), len(extras) - 1))
    biased = logits[len(WRONG)].clone()
    biased[5] += 3.5
    assert rows[len(WRONG)].argmax() == 5 == biased.argmax()
    assert (rows[len(WRONG)] == -torch.inf).sum() == SIZE - 1  # by its min-p
