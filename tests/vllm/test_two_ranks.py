"""Tensor parallel on two processes over gloo: every rank takes the same decisions."""

import json

import pytest
from engines import HERE, engine, run, speculative
from tiny import write_model

TWO = {
    "tensor_parallel_size": 2,
    "distributed_executor_backend": "mp",
    "max_model_len": 64,
    "num_gpu_blocks_override": 100,
}
PROMPTS = [{"prompt_token_ids": [i % 3] * (1 + i % 5)} for i in range(24)]


@pytest.mark.parametrize("bridge", ["tli", "slem"])
def test_ranks_agree(tmp_path, bridge):
    pair = [
        write_model(tmp_path / name, name, seed=seed)
        for seed, name in enumerate(("target", "drafter"))
    ]
    greedy = {"temperature": 0, "max_tokens": 12, "ignore_eos": True}
    drawn = [{**greedy, "temperature": 1.0, "seed": i} for i in range(len(PROMPTS))]
    runs = [{"prompts": PROMPTS, "params": params} for params in (greedy, drawn)]
    threads = {"VLLM_CPU_OMP_THREADS_BIND": "0|1"}
    plain, _ = run({"engine": engine(pair[0], **TWO), "runs": runs}, environment=threads)
    spoken = speculative(*pair, 3, worker=True, options={"bridge": bridge}, **TWO)
    spoken["worker_cls"] = "recording.RecordingWorker"
    environment = {**threads, "ANYDRAFT_RECORD": str(tmp_path), "PYTHONPATH": str(HERE)}
    texts, sampled = run({"engine": spoken, "runs": runs}, environment=environment)
    assert texts["tokens"] == plain["tokens"]
    assert sampled["counters"]["spec_decode_num_accepted_tokens"] > 10
    logs = [(tmp_path / f"{rank}.jsonl").read_text() for rank in (0, 1)]
    assert logs[0] == logs[1]
    assert sum(len(json.loads(line)["drafted"]) for line in logs[0].splitlines()) > 100
