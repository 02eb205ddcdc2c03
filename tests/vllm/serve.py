"""One engine of vLLM in a process of its own: a job as JSON in, what it generated as JSON out.

    python serve.py job.json result.json

A job: `engine` (arguments of vllm.LLM) and `runs`, each with `prompts`, `params` (one for all or
one each), `batch` (how many are served at once; 0: all) and `abort` (request -> step).
"""

import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def counters(llm):
    found = {}
    for metric in llm.get_metrics():
        name = metric.name.removeprefix("vllm:")
        if name.startswith("spec_decode") or name == "num_preemptions":
            found[name] = getattr(metric, "value", None) or getattr(metric, "values", 0)
    return found


def serve(engine, prompts, params, abort):
    """Tokens and log-probabilities of each prompt, and the number of steps."""
    from vllm import SamplingParams

    tokens, logprobs, steps = {}, {}, 0
    for i, prompt in enumerate(prompts):
        given = SamplingParams(**(params[i] if isinstance(params, list) else params))
        engine.add_request(str(i), prompt, given)
    while engine.has_unfinished_requests():
        for output in engine.step():
            first = output.outputs[0]
            tokens[output.request_id] = list(first.token_ids)
            if first.logprobs is not None:
                logprobs[output.request_id] = [
                    {token: one.logprob for token, one in place.items()} for place in first.logprobs
                ]
        steps += 1
        engine.abort_request([name for name, at in abort.items() if at == steps])
    names = [str(i) for i in range(len(prompts))]
    return [tokens.get(i, []) for i in names], [logprobs.get(i, []) for i in names], steps


def main():
    from vllm import LLM

    job = json.loads(Path(sys.argv[1]).read_text())
    llm = LLM(**job["engine"])
    results = []
    for run in job["runs"]:
        prompts, params = run["prompts"], run["params"]
        batch = run.get("batch") or len(prompts)
        tokens, logprobs, steps, started = [], [], 0, time.perf_counter()
        before = counters(llm)
        for begin in range(0, len(prompts), batch):
            end = begin + batch
            part = params[begin:end] if isinstance(params, list) else params
            new, scores, count = serve(
                llm.llm_engine, prompts[begin:end], part, run.get("abort", {})
            )
            tokens, logprobs, steps = tokens + new, logprobs + scores, steps + count
        seconds = time.perf_counter() - started
        after = counters(llm)
        results.append(
            {
                "tokens": tokens,
                "logprobs": logprobs,
                "steps": steps,
                "seconds": seconds,
                "counters": {
                    name: value - before.get(name, 0)
                    for name, value in after.items()
                    if not isinstance(value, list)
                },
            }
        )
    Path(sys.argv[2]).write_text(json.dumps(results))


if __name__ == "__main__":
    main()
