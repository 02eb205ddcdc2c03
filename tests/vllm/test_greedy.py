"""Greedy text is vLLM's own plain text, whatever is drafted."""

import functools
import json
from pathlib import Path

import pytest
from engines import MODELS, PAIRS, PROMPTS, engine, run, speculative

from anydraft import Vocabulary

GREEDY = {"temperature": 0, "max_tokens": 24, "ignore_eos": True}
RUNS = [
    {"prompts": PROMPTS, "params": GREEDY, "batch": 1},
    {"prompts": PROMPTS, "params": GREEDY},
]


@functools.cache
def plain(pair):
    """Texts at batch 1 and 8."""
    return [result["tokens"] for result in run({"engine": engine(PAIRS[pair][0]), "runs": RUNS})]


@pytest.mark.parametrize("worker", [False, True], ids=["proposer", "worker"])
@pytest.mark.parametrize("pair", PAIRS)
def test_greedy_text_is_plain_text(pair, worker):
    results = run({"engine": speculative(*PAIRS[pair], worker=worker), "runs": RUNS})
    for alone, result in zip(plain(pair), results, strict=True):
        assert result["tokens"] == alone
        assert result["counters"]["spec_decode_num_accepted_tokens"] > 100


@pytest.mark.parametrize("worker", [False, True], ids=["proposer", "worker"])
def test_text_that_is_expected(worker, tmp_path):
    """Each text as it will come, but for some words."""
    pair = "smollm2<-gemma"
    vocabulary = Vocabulary.from_file(Path(MODELS[PAIRS[pair][0]]) / "tokenizer.json")
    texts = [
        prompt + vocabulary.decode(tokens).decode("utf-8", "replace")
        for prompt, tokens in zip(PROMPTS, plain(pair)[1], strict=True)
    ]
    file = tmp_path / "texts.json"
    file.write_text(json.dumps(texts))
    environment = {"EXPECTED_TEXTS": str(file), "PYTHONPATH": str(Path(__file__).parent)}
    given = speculative(PAIRS[pair][0], "text:expecting:rest", worker=worker)
    for alone, result in zip(
        plain(pair), run({"engine": given, "runs": RUNS}, environment=environment), strict=True
    ):
        assert result["tokens"] == alone
        assert result["counters"]["spec_decode_num_accepted_tokens"] > 250


@pytest.mark.parametrize(
    ("caching", "chunked"), [(False, False), (False, True), (True, False), (True, True)]
)
@pytest.mark.parametrize("pair", PAIRS)
def test_prefix_caching_and_chunked_prefill(pair, caching, chunked):
    """Prompts twice: the second time they are cached where that is on."""
    more = {"enable_prefix_caching": caching, "enable_chunked_prefill": chunked}
    more |= {"max_num_batched_tokens": 64} if chunked else {}
    twice = [RUNS[1], RUNS[1]]
    for result in run({"engine": speculative(*PAIRS[pair], worker=True, **more), "runs": twice}):
        assert result["tokens"] == plain(pair)[1]


@pytest.mark.parametrize("pair", PAIRS)
def test_preempted_aborted_and_stopped_requests(pair):
    """Few blocks of cache and small chunks: requests are preempted, prompts come in pieces. Others
    are aborted, or end at a token in the middle of a draft."""
    texts = plain(pair)[1]
    params = [GREEDY | {"stop_token_ids": [text[9 + i % 4]]} for i, text in enumerate(texts)]
    expected = [
        text[: text.index(one["stop_token_ids"][0]) + 1]
        for text, one in zip(texts, params, strict=True)
    ]
    abort = {"3": 4, "6": 7, "11": 12}
    more = {
        "max_model_len": 128,
        "max_num_batched_tokens": 48,
        "num_gpu_blocks_override": {"gemma<-smollm2": 60, "smollm2<-gemma": 10}[pair],
        "block_size": 32,
        "worker": True,
    }
    job = {"engine": speculative(*PAIRS[pair], **more), "runs": []}
    job["runs"] = [
        {"prompts": PROMPTS, "params": params, "abort": abort},
        {"prompts": PROMPTS, "params": GREEDY},
    ]
    stopped, whole = run(job)
    for i, (text, wanted) in enumerate(zip(stopped["tokens"], expected, strict=True)):
        assert text == wanted[: len(text)] if str(i) in abort else text == wanted
    assert whole["tokens"] == texts
    assert whole["counters"]["num_preemptions"] > 0
