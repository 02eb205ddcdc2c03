"""What our worker's sampler draws inside vLLM, against the target's exact distribution."""

import numpy as np
import pytest
import torch
from engines import run, speculative, start
from tiny import SIZE, Exact, write_model

from anydraft.testing import chi_square

PROMPT = [0, 1, 2, 0]
COUNT = 20_000
BASE = {"max_tokens": 5, "ignore_eos": True}
CASES = {
    "plain": {"temperature": 1.0},
    "filters": {
        "temperature": 0.8,
        "top_k": 5,
        "top_p": 0.9,
        "extra_args": {"anydraft_min_p": 0.04},
    },
    "changes": {
        "temperature": 1.2,
        "repetition_penalty": 1.3,
        "presence_penalty": 0.4,
        "frequency_penalty": 0.3,
        "allowed_token_ids": [0, 1, 2, 3, 5],
        "min_tokens": 5,
        "stop_token_ids": [2],
        "extra_args": {"anydraft_logit_bias": {"1": 1.0, "3": -0.5}},
    },
}
ENGINE = {"max_num_seqs": 128, "max_model_len": 64, "num_gpu_blocks_override": 600}


@pytest.fixture(scope="session")
def pair(tmp_path_factory):
    """Folders of a tiny target and a tiny drafter."""
    folder = tmp_path_factory.mktemp("models")
    return [
        write_model(folder / name, name, seed=seed)
        for seed, name in enumerate(("target", "drafter"))
    ]


def job(pair, bridge, cases=CASES, *, worker=True):
    """Requests that are counted, and among them others of all lengths, so that batches are
    ragged."""
    runs = []
    for case in cases:
        prompts, params = [], []
        for i in range(COUNT):
            prompts.append({"prompt_token_ids": PROMPT})
            params.append({**BASE, **cases[case], "seed": i})
            if i % 10 == 0:
                prompts.append({"prompt_token_ids": [1] * (1 + i % 7)})
                params.append({"max_tokens": 1 + i % 11, "ignore_eos": True, "temperature": 0})
        runs.append({"prompts": prompts, "params": params})
    options = {"bridge": bridge}
    return {"engine": speculative(*pair, 3, worker=worker, options=options, **ENGINE), "runs": runs}


def check_first_three_tokens(pair, bridge, cases, results):
    exact = Exact(pair[0], PROMPT)
    for case, result in zip(cases, results, strict=True):
        counted = [text for i, text in enumerate(result["tokens"]) if i % 11 != 1]
        assert len(counted) == COUNT
        counts = np.zeros((SIZE,) * 3)
        for text in counted:
            counts[tuple(text[:3])] += 1
        joint = exact.joint(cases[case])
        told = chi_square(*(torch.from_numpy(x.flatten()) for x in (counts, joint)))
        accepted = result["counters"]["spec_decode_num_accepted_tokens"]
        print(
            f"{bridge} {case}: p {told.p_value:.3f}, accepted {accepted}, {result['seconds']:.0f} s"
        )
        assert told.p_value > 1e-3, case
        assert accepted > 300


@pytest.mark.parametrize("bridge", ["tli", "slrs", "slem"])
def test_first_three_tokens(pair, bridge):
    check_first_three_tokens(pair, bridge, CASES, run(job(pair, bridge)))


def test_requests_that_draw_beside_greedy_only(pair):
    """vLLM's own sampler, with the function in it that greedy_only puts there."""
    cases = {
        "plain": {"temperature": 0.7},
        "filters": {"temperature": 1.3, "top_k": 5, "top_p": 0.9},
    }
    status, results, printed = start(job(pair, "slem", cases, worker=False))
    assert status == 0, printed[-6000:]
    assert printed.count("a request draws although the option greedy_only") == 1
    check_first_three_tokens(pair, "slem", cases, results)


def test_seeds_reproduce(pair):
    """The same requests again; with certain drafts also in other batches."""
    prompts = [{"prompt_token_ids": [i % 3] * (1 + i % 5)} for i in range(200)]
    params = [
        {"max_tokens": 9, "ignore_eos": True, "temperature": 1.0, "seed": i} for i in range(200)
    ]
    once = {"prompts": prompts, "params": params}
    for bridge in ("tli", "slem"):
        engine = speculative(*pair, 3, worker=True, options={"bridge": bridge}, **ENGINE)
        first, again, fewer = run({"engine": engine, "runs": [once, once, {**once, "batch": 7}]})
        assert first["tokens"] == again["tokens"]
        assert len({tuple(text) for text in first["tokens"]}) > 150
        if bridge == "slem":
            assert first["tokens"] == fewer["tokens"]


def test_processed_logprobs_are_those_of_the_distribution(pair):
    more = {"logprobs_mode": "processed_logprobs", **ENGINE}
    engine = speculative(*pair, 3, worker=True, options={"bridge": "tli"}, **more)
    exact = Exact(pair[0], PROMPT)
    prompts = [{"prompt_token_ids": PROMPT}] * 20
    runs = [
        {"prompts": prompts, "params": {**BASE, **CASES[case], "logprobs": 2}} for case in CASES
    ]
    for case, result in zip(CASES, run({"engine": engine, "runs": runs}), strict=True):
        for text, logprobs in zip(result["tokens"], result["logprobs"], strict=True):
            for i, (token, told) in enumerate(zip(text, logprobs, strict=True)):
                masses = exact.masses(tuple(text[:i]), CASES[case])
                assert told[str(token)] == pytest.approx(np.log(masses[token]), abs=1e-3)
                assert max(told.values()) == pytest.approx(np.log(masses.max()), abs=1e-3)
