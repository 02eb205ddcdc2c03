"""Chain verification on a CUDA device: our kernel, its CPU twin's tokens, and torch beside it.

Writes `verify_cuda.json` and a Markdown table into the folder in $OUT (default bench/results). Run
by `make gpu`; on a machine without a device it says so and exits with 0.
"""

import json
import os
import platform
import statistics
import sys
from pathlib import Path

import torch

from anydraft import Law, SamplingParams, Trees, __version__, _core, verify

PARAMS = SamplingParams(temperature=0.8, seed=1)
DRAFTS = 4


def make(vocab, requests):
    generator = torch.Generator(device="cuda").manual_seed(vocab + requests)
    nodes = requests * (DRAFTS + 1)
    target = 2 * torch.randn(nodes, vocab, generator=generator, device="cuda")
    draft = target + 0.7 * torch.randn(nodes, vocab, generator=generator, device="cuda")
    draft, target = draft.bfloat16(), target.bfloat16()
    tokens = torch.multinomial((draft.float() / 0.8).softmax(-1), 1, generator=generator)[:, 0]
    chains = [[0, *tokens[i * 5 : i * 5 + 4].tolist()] for i in range(requests)]
    return Trees.chains(chains), target, draft, [Law("row", i) for i in range(nodes)]


def torch_verify(target, draft, tokens):
    """The same rule in torch, over full rows of probabilities, for all requests at once."""
    p = (target.float() / 0.8).softmax(-1).view(-1, DRAFTS + 1, target.shape[1])
    q = (draft.float() / 0.8).softmax(-1).view(-1, DRAFTS + 1, draft.shape[1])
    ids = tokens.view(-1, DRAFTS, 1)
    ratio = p[:, :-1].gather(-1, ids) / q[:, :-1].gather(-1, ids)
    accepted = (torch.rand_like(ratio) < ratio).squeeze(-1).int().cumprod(-1).sum(-1)
    index = accepted[:, None, None].expand(-1, 1, p.shape[-1])
    last = p.gather(1, index).squeeze(1)
    residual = (last - q.gather(1, index).squeeze(1)).relu()
    law = torch.where((accepted < DRAFTS)[:, None], residual, last)
    return accepted, torch.multinomial(law + 1e-30, 1)


def milliseconds(call, repeats=30):
    times = []
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        call()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times[5:])


def measure(vocab, requests):
    trees, target, draft, laws = make(vocab, requests)
    options = {"laws": laws, "sampling": PARAMS}
    same = verify(trees, target, draft_logits=draft, **options) == verify(
        trees, target.cpu(), draft_logits=draft.cpu(), **options
    )
    tokens = torch.tensor(trees.tokens, device="cuda").view(-1, DRAFTS + 1)[:, 1:]
    ours = milliseconds(lambda: verify(trees, target, draft_logits=draft, **options))
    theirs = milliseconds(lambda: torch_verify(target, draft, tokens))
    return {
        "vocab": vocab,
        "requests": requests,
        "drafts": DRAFTS,
        "same_tokens_as_cpu": same,
        "ours_ms": ours,
        "torch_ms": theirs,
        "ratio": theirs / ours,
    }


def main():
    if not _core.cuda_built() or not torch.cuda.is_available():
        print("verify_cuda: SKIPPED, no CUDA device or a build without CUDA")
        return 0
    folder = Path(os.environ.get("OUT") or Path(__file__).parents[1] / "results")
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for vocab in (32000, 128256, 151936):
        for requests in (1, 16, 64):
            rows.append(measure(vocab, requests))
            result = {
                "device": torch.cuda.get_device_name(),
                "versions": {
                    "anydraft": __version__,
                    "torch": torch.__version__,
                    "python": platform.python_version(),
                },
                "note": "bf16 rows, T = 0.8, K = 4; ours includes upload, launch and stream wait",
                "rows": rows,
            }
            # Written row by row: a run that is cut off keeps what it has.
            (folder / "verify_cuda.json").write_text(json.dumps(result, indent=1))
            print(rows[-1], flush=True)
    header = (
        "| vocab | requests | same tokens as CPU | ours ms | torch ms | ratio |\n|-|-|-|-|-|-|\n"
    )
    lines = [
        f"| {r['vocab']} | {r['requests']} | {r['same_tokens_as_cpu']} | {r['ours_ms']:.3f} "
        f"| {r['torch_ms']:.3f} | {r['ratio']:.2f} |"
        for r in rows
    ]
    (folder / "verify_cuda.md").write_text(header + "\n".join(lines) + "\n")
    return 0 if all(r["same_tokens_as_cpu"] for r in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
