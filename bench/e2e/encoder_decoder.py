"""Leviathan et al.'s theory beside the clock, on an encoder-decoder pair that is trained here.

Their tables 2 and 3 predict the walltime of T5-XXL from alpha, the draft length and c (section 3).
No trained T5 can be had here, so two small ones are trained: they put spaces and capitals back into
English text (the documentation that comes with Python), byte by byte. alpha is taken apart from
speculation: the mean of sum(min(p, q)) along texts that the target wrote by itself.

    python bench/e2e/encoder_decoder.py --weights FOLDER [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import pydoc_data.topics
import random
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch
import transformers
from report import machine

from anydraft import SamplingParams, SpeculativeSession, Vocabulary, hf, theory

PAD, EOS, FIRST = 0, 1, 2  # a byte's id is FIRST + byte
VOCAB = FIRST + 256
WINDOW = 64
DECODER_LAYERS = {
    "target": 8,
    "drafter": 1,
}


def texts() -> list[str]:
    """Windows of the documentation of Python's language, of about WINDOW bytes."""
    words = " ".join(pydoc_data.topics.topics.values()).encode("ascii", "ignore").decode().split()
    found, line = [], ""
    for word in words:
        if len(line) + len(word) >= WINDOW:
            found.append(line.strip())
            line = ""
        line += " " + word
    random.Random(0).shuffle(found)
    return found


def encode(text: str) -> list[int]:
    return [FIRST + byte for byte in text.encode()]


def squeezed(text: str) -> list[int]:
    """What the encoder is given: no spaces, no capitals."""
    return [*encode(text.replace(" ", "").lower()), EOS]


def spell() -> Vocabulary:
    tokens = [b"", b"", *(bytes([i]) for i in range(256))]
    return Vocabulary.from_bytes(tokens, encoder=encode, roles={"eos": [EOS], "pad": [PAD]})


def build(name: str) -> Any:
    torch.manual_seed(len(name))
    config = transformers.T5Config(
        vocab_size=VOCAB, d_model=96, d_ff=192, d_kv=32, num_heads=4, num_layers=1,
        num_decoder_layers=DECODER_LAYERS[name], dropout_rate=0.0,
        feed_forward_proj="gated-gelu", pad_token_id=PAD, eos_token_id=EOS,
        decoder_start_token_id=PAD,
    )  # fmt: skip
    return transformers.T5ForConditionalGeneration(config)


def padded(rows: list[list[int]], fill: int) -> torch.Tensor:
    width = max(map(len, rows))
    return torch.tensor([row + [fill] * (width - len(row)) for row in rows])


def train(model: Any, lines: list[str], steps: int) -> float:
    """Cross entropy in nats a byte, over the last twentieth of the steps."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    choose, losses = random.Random(1), []
    model.train()
    for _ in range(steps):
        batch = choose.sample(lines, 24)
        inputs = padded([squeezed(text) for text in batch], PAD)
        labels = padded([[*encode(text), EOS] for text in batch], -100)
        loss = model(input_ids=inputs, attention_mask=(inputs != PAD).long(), labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    model.eval()
    return statistics.fmean(losses[-max(1, steps // 20) :])


@torch.inference_mode()
def alpha(target: Any, drafter: Any, prompts: list[list[int]], written: list[list[int]]) -> dict:
    """Mean acceptance at temperature 1 and 0 along the target's own texts."""
    kept: dict[str, list[float]] = {"1.0": [], "0.0": []}
    for prompt, text in zip(prompts, written, strict=True):
        ids = {
            "input_ids": torch.tensor([prompt]),
            "decoder_input_ids": torch.tensor([[PAD, *text[:-1]]]),
        }
        p, q = (model(**ids).logits[0].double().softmax(-1) for model in (target, drafter))
        kept["1.0"] += torch.minimum(p, q).sum(-1).tolist()
        kept["0.0"] += (p.argmax(-1) == q.argmax(-1)).double().tolist()
    return {name: statistics.fmean(values) for name, values in kept.items()}


def measure(
    target: Any, drafter: Any, prompts: list[list[int]], temperature: float, runs: int
) -> dict[str, Any]:
    """Plain decoding and chains of several lengths, in turns."""
    sampling = [SamplingParams(temperature=temperature, seed=i) for i in range(len(prompts))]
    sessions = {0: SpeculativeSession(target, None)}
    for length in (1, 2, 3, 5):
        sessions[length] = SpeculativeSession(
            target, drafter, bridge="same", draft_length=length, draft_confidence=0.0
        )
    found: dict[int, dict[str, Any]] = {
        key: {"seconds": [], "calls": [], "draft_calls": []} for key in sessions
    }
    for run in range(runs):
        for length, session in sessions.items():
            begin = time.perf_counter()
            results = [
                session.generate(prompt, sampling=params, max_tokens=WINDOW + 8)
                for prompt, params in zip(prompts, sampling, strict=True)
            ]
            entry, stats = found[length], [result.stats for result in results]
            entry["seconds"].append(round(time.perf_counter() - begin, 4))
            if run == 0:
                entry["written"] = [list(result.tokens) for result in results]
            entry["tokens"] = sum(s.tokens for s in stats)
            entry["target_calls"] = sum(s.target_calls for s in stats)
            entry["calls"].append(sum(s.target_seconds for s in stats) / entry["target_calls"])
            calls = max(sum(s.draft_calls for s in stats), 1)
            entry["draft_calls"].append(sum(s.draft_seconds for s in stats) / calls)
    return found


def table(found: dict[int, dict[str, Any]], rate: float) -> list[dict[str, Any]]:
    """What theory says of each length, and what the clock does."""
    plain = found[0]
    rows = []
    for length, entry in found.items():
        if not length:
            continue
        call = statistics.median(plain["calls"])
        c, verify = (statistics.median(entry[key]) / call for key in ("draft_calls", "calls"))
        pace = statistics.median(plain["seconds"]) / plain["tokens"]
        speed = pace / (statistics.median(entry["seconds"]) / entry["tokens"])
        rows.append(
            {
                "draft length": length,
                "alpha": round(rate, 3),
                "c": round(c, 3),
                "verify cost": round(verify, 3),
                "tokens a round predicted": round(theory.expected_tokens(rate, length), 3),
                "tokens a round": round(entry["tokens"] / entry["target_calls"], 3),
                "speed predicted": round(theory.walltime_improvement(rate, length, c, verify), 3),
                "speed": round(speed, 3),
                "text equals plain": entry["written"] == plain["written"],
            }
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description="theory beside the clock, encoder-decoder pair")
    parser.add_argument("--steps", type=int, default=1600, help="of training, each model")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--weights", type=Path, required=True, help="a folder: trained once")
    parser.add_argument("--train-only", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    lines = texts()
    prompts, lines = [squeezed(text) for text in lines[: args.prompts]], lines[args.prompts :]
    models, losses = {}, {}
    args.weights.mkdir(parents=True, exist_ok=True)
    for name in DECODER_LAYERS:
        models[name] = build(name)
        kept = args.weights / f"{name}-{args.steps}.pt"
        if not kept.exists():
            loss = train(models[name], lines, args.steps)
            torch.save((loss, models[name].state_dict()), kept)
        loss, weights = torch.load(kept)
        models[name].load_state_dict(weights)
        losses[name] = round(loss, 3)
        print(f"{name}: {losses[name]} nats a byte", flush=True)
    if args.train_only:
        return 0
    vocabulary = spell()
    target, drafter = (
        hf.load(model, vocabulary=vocabulary, pack=False) for model in models.values()
    )
    results = {}
    for temperature in (0.0, 1.0):
        found = measure(target, drafter, prompts, temperature, args.runs)
        rates = alpha(*models.values(), prompts, found[0]["written"])
        rows = table(found, rates[str(temperature)])
        results[f"temperature {temperature}"] = {
            "rows": rows,
            "seconds": {str(length): entry["seconds"] for length, entry in found.items()},
            "first text": bytes(t - FIRST for t in found[0]["written"][0] if t >= FIRST).decode(
                errors="replace"
            ),
        }
        for row in rows:
            print(temperature, row, flush=True)
    if args.json:
        versions = {"torch": torch.__version__, "transformers": transformers.__version__}
        sizes = {name: sum(p.numel() for p in model.parameters()) for name, model in models.items()}
        head = {"machine": machine(), "versions": versions, "parameters": sizes}
        head |= {"training steps": args.steps, "nats a byte": losses, "prompts": len(prompts)}
        args.json.write_text(json.dumps(head | results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
