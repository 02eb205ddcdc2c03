"""Do sampled texts have the target's distribution? What they cost under the target, in nats a
token.

    python bench/e2e/sampled_distribution.py [--texts N] [--temperature T] [--out FILE]

Qwen2.5-Coder-1.5B drafted by SmolLM2-135M, float32, prompts of three kinds, 48 new tokens. A text
that has the target's distribution costs its entropy, whatever drafted it: the means of two
lossless methods agree within their errors. transformers comes last, as its universal sampling
changes the drafter.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

BENCH = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(BENCH), str(BENCH / "acceptance")]

import models  # noqa: E402
import torch  # noqa: E402
from bridges import KINDS, prompts_of  # noqa: E402
from methods import Method, of_session, theirs  # noqa: E402
from report import machine  # noqa: E402

from anydraft import SamplingParams, SpeculativeSession  # noqa: E402
from anydraft.cli.loading import load  # noqa: E402

NEW_TOKENS = 48


def main() -> int:
    parser = argparse.ArgumentParser(description="what sampled texts cost under the target")
    parser.add_argument("--texts", type=int, default=12)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument(
        "--out", type=Path, default=BENCH / "results" / "e2e-sampled-distribution.json"
    )
    args = parser.parse_args()
    target = load("target", str(models.fetch("qwen2.5-coder-1.5b")), pack=True)
    drafter = load("drafter", str(models.fetch("smollm2-135m")), pack=False)
    nats: dict[str, list[float]] = {}
    for method in methods(target, drafter, args.temperature):
        nats[method.name] = [
            cost(target, method, number, args.temperature) for number in range(args.texts)
        ]
        print(line(method.name, nats[method.name]), flush=True)
    result = {"machine": machine(), "temperature": args.temperature, "nats": nats}
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


def methods(target: Any, drafter: Any, temperature: float) -> list[Method]:
    """Plain decoding, ours, transformers'."""
    sampling = SamplingParams(temperature)
    all_of_them = [of_session("plain", SpeculativeSession(target, sampling=sampling))]
    for bridge in ("tli", "slrs"):
        session = SpeculativeSession(target, drafter, bridge=bridge, sampling=sampling)
        all_of_them.append(of_session(bridge, session))
    drawn = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    return [*all_of_them, theirs("transformers' universal sampling", target, drafter, **drawn)]


def cost(target: Any, method: Method, number: int, temperature: float) -> float:
    """Nats a token of one text under the target's distribution."""
    prompt = target.vocabulary.encode(prompts_of(KINDS[number % 3])[number // 3])
    torch.manual_seed(number)
    text = method.decode(prompt, NEW_TOKENS)[0]
    with torch.inference_mode():
        rows = target.model(torch.tensor([prompt + text])).logits[0, len(prompt) - 1 : -1]
    distributions = (rows.float() / temperature).log_softmax(-1)
    return float(-distributions[range(len(text)), text].mean())


def line(name: str, nats: list[float]) -> str:
    """Mean and standard error."""
    return f"{name}: {mean(nats):.2f} ± {stdev(nats) / len(nats) ** 0.5:.2f} nats a token"


if __name__ == "__main__":
    sys.exit(main())
