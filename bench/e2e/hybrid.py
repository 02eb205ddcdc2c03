"""Hybrid and recurrent targets: tokens a second against plain decoding, and extra passes.

The models are random (no hybrid's weights can be had here), of a size where passes dominate. The
drafter is scripted: it knows the plain text and proposes its next token with a given probability,
so acceptance is an input, and the drafter costs next to nothing. What is measured is the target's
side: passes on lagging snapshots, and their rows.

    python bench/e2e/hybrid.py --json bench/results/hybrid-<date>.json
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from report import machine

from anydraft import SamplingParams, SpeculativeSession, Vocabulary, hf

VOCAB = 8192
PROMPT = [(7 * i) % VOCAB for i in range(32)]
GREEDY = SamplingParams(temperature=0)
SIZES = {"hidden_size": 512, "num_hidden_layers": 12, "vocab_size": VOCAB}
HEADS = {"num_attention_heads": 8, "num_key_value_heads": 2}


def qwen35() -> Any:
    config = transformers.Qwen3_5TextConfig(
        **SIZES, **HEADS, intermediate_size=1536, head_dim=64, linear_num_key_heads=4,
        linear_num_value_heads=8, linear_key_head_dim=64, linear_value_head_dim=64,
    )  # fmt: skip
    return transformers.Qwen3_5ForCausalLM(config)


def falcon_h1() -> Any:
    config = transformers.FalconH1Config(
        **SIZES, **HEADS, intermediate_size=1024, mamba_d_ssm=768, mamba_n_heads=12,
        mamba_d_head=64, mamba_d_state=64, mamba_n_groups=1,
    )  # fmt: skip
    return transformers.FalconH1ForCausalLM(config)


def lfm2() -> Any:
    layers = ["conv", "conv", "full_attention"] * 4
    config = transformers.Lfm2Config(**SIZES, **HEADS, intermediate_size=1536, layer_types=layers)
    return transformers.Lfm2ForCausalLM(config)


def mamba2() -> Any:
    config = transformers.Mamba2Config(
        **SIZES, num_heads=16, head_dim=64, state_size=64, n_groups=1
    )
    return transformers.Mamba2ForCausalLM(config)


MODELS = {
    "Qwen3_5ForCausalLM": qwen35,
    "FalconH1ForCausalLM": falcon_h1,
    "Lfm2ForCausalLM": lfm2,
    "Mamba2ForCausalLM": mamba2,
}


class Scripted:
    """A drafter that proposes the text's next token with probability `right`, else another."""

    context_length = None

    def __init__(self, vocabulary: Vocabulary, text: Sequence[int], right: float) -> None:
        self.vocabulary, self._text, self._right = vocabulary, list(text), right

    def __call__(self, feeds: Sequence[Any]) -> torch.Tensor:
        rows = []
        for feed in feeds:
            length = max(feed.positions) + 1
            rows += [self._row(place + 1) for place in range(length - feed.rows, length)]
        return torch.stack(rows)

    def _row(self, place: int) -> torch.Tensor:
        token = self._text[min(place, len(self._text) - 1)]
        if random.Random(place).random() >= self._right:
            token = (token + 1) % VOCAB
        row = torch.zeros(VOCAB)
        row[token] = 30.0
        return row


def spell() -> Vocabulary:
    tokens = [f"{i:04d}" for i in range(VOCAB)]
    return Vocabulary.from_bytes([t.encode() for t in tokens], encoder=lambda text: [int(text)])


def seconds_of(session: SpeculativeSession, tokens: int) -> tuple[float, list[int]]:
    begin = time.perf_counter()
    result = session.generate(PROMPT, max_tokens=tokens)
    return time.perf_counter() - begin, list(result.tokens)


def measure(name: str, tokens: int, runs: int) -> dict[str, Any]:
    torch.manual_seed(0)
    vocabulary = spell()
    built = MODELS[name]().eval()
    with torch.no_grad():  # random heads are flat: spread, so that rounding never decides
        built.get_output_embeddings().weight.mul_(20.0)
    target = hf.load(built, vocabulary=vocabulary, pack=False)
    plain = SpeculativeSession(target, None, sampling=GREEDY)
    _, text = seconds_of(plain, tokens)
    sessions: dict[str, SpeculativeSession] = {"plain": plain}
    for right in (0.5, 0.7, 0.9, 1.0):
        drafter = Scripted(vocabulary, [*PROMPT, *text], right)
        sessions[f"right {right}"] = SpeculativeSession(
            target, drafter, bridge="same", draft_length=4, draft_confidence=0.0, sampling=GREEDY
        )
    found: dict[str, Any] = {key: {"seconds": []} for key in sessions}
    for run in range(runs):
        for key, session in sessions.items():
            passes, extra = target.passes
            took, ids = seconds_of(session, tokens)
            if run == 0:
                found[key]["text equals plain"] = ids == text
            found[key]["seconds"].append(round(took, 4))
            found[key]["passes"] = target.passes[0] - passes
            found[key]["extra passes"] = target.passes[1] - extra
    base = statistics.median(found["plain"]["seconds"])
    for entry in found.values():
        middle = statistics.median(entry["seconds"])
        entry["tokens/s"] = round(tokens / middle, 2)
        entry["over plain"] = round(base / middle, 3)
    parameters = sum(p.numel() for p in built.parameters())
    return {"parameters": parameters, "tokens": tokens, "methods": found}


def main() -> int:
    parser = argparse.ArgumentParser(description="hybrid targets against plain decoding")
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    results = {}
    for name in args.models:
        results[name] = measure(name, args.tokens, args.runs)
        print(name, f"{results[name]['parameters'] / 1e6:.0f} M parameters")
        for key, entry in results[name]["methods"].items():
            print(
                f"  {key:10} {entry['tokens/s']:8.2f} tokens/s  {entry['over plain']:.2f} x plain, "
                f"{entry['passes']} passes, {entry['extra passes']} of them extra, "
                f"text {'equal' if entry['text equals plain'] else 'DIFFERS'}",
                flush=True,
            )
    if args.json:
        versions = {"torch": torch.__version__, "transformers": transformers.__version__}
        found = {"machine": machine(), "versions": versions, "models": results}
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
