"""The bridges side by side on real pairs: tokens a target call and acceptance; no clocks.

    python bench/e2e/bridges.py --out bench/results/bridges.json TARGET DRAFTER [...]

Sampled with the same seeds; `auto` also tells what each bridge would have had accepted at the first
position of each of its rounds, from the same rows.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from anydraft import SamplingParams, SpeculativeSession
from anydraft.cli.loading import load
from anydraft.cli.pair import PROMPTS

KINDS = ("prose", "code", "question")


def measure(target: Any, drafter: Any, bridge: Any, prompt: str, args: Any, heat: float) -> Any:
    session = SpeculativeSession(
        target,
        drafter,
        bridge=bridge,
        draft_length=args.draft_length,
        draft_confidence=0.0,
        sampling=SamplingParams(heat, seed=args.seed),
    )
    stats = session.generate(prompt, max_new_tokens=args.max_new_tokens).stats
    return {
        "tokens_per_call": stats.tokens / stats.target_calls,
        "acceptance": stats.acceptance_rate,
        "target_calls": stats.target_calls,
        "draft_calls": stats.draft_calls,
        "bridges": stats.bridges,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", metavar="TARGET DRAFTER")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--temperatures", type=float, nargs="+", default=[0.6, 1.0])
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--draft-length", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    results = []
    for names in zip(args.models[::2], args.models[1::2], strict=True):
        target, drafter = (load("model", name, pack=True) for name in names)
        for heat in args.temperatures:
            for kind, prompt in zip(KINDS, PROMPTS, strict=True):
                for bridge in ("tli", "slrs", "slem", "auto"):
                    result = measure(target, drafter, bridge, prompt, args, heat)
                    pair = " <- ".join(Path(name).name for name in names)
                    result |= {"pair": pair, "temperature": heat, "prompt": kind, "bridge": bridge}
                    results.append(result)
                    calls = f"{result['tokens_per_call']:.2f} tokens a call"
                    print(f"{pair} T={heat} {kind:9} {bridge:5} {calls}", flush=True)
                    settings = {"new_tokens": args.max_new_tokens, "length": args.draft_length}
                    args.out.write_text(json.dumps({**settings, "results": results}, indent=1))


if __name__ == "__main__":
    main()
