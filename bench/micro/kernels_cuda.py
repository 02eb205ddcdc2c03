"""The CUDA engine on a GPU: the CPU engine's tokens first, then times beside its peers.

Writes `kernels_cuda.json` and a Markdown table into the folder in $OUT (default bench/results)
after each case, so that a run that is cut off keeps what it has; stops by itself after $BENCH_S
seconds (default 240). Run by `make gpu`; on a machine without a device it says so and exits with 0.

Peers are modules in the ignored folder .peers/ (cuda_peers.py says what they offer); those that are
absent are named in the results.
"""

import json
import os
import platform
import statistics
import sys
import time
from functools import partial
from pathlib import Path

import cuda_peers
import torch

from anydraft import Law, SamplingParams, Trees, __version__, _core, sample, verify
from anydraft.cuda import Coins, Sampler, Verification, law_params

PLAIN = SamplingParams(temperature=0.8, seed=1)
FILTERED = SamplingParams(temperature=0.8, top_k=50, top_p=0.95, seed=1)
STREAMED = 128 << 20  # bytes of inputs that take turns
ROW, HUB = 1, 3  # numbers of kinds of law


def chains(vocab, requests, drafts, seed):
    """Rows of a drafter close to its target, and tokens drawn from them: chains on the device."""
    generator = torch.Generator(device="cuda").manual_seed(seed)
    nodes = requests * (drafts + 1)
    target = torch.empty(nodes, vocab, dtype=torch.bfloat16, device="cuda")
    draft = torch.empty_like(target)
    for i in range(nodes):  # row by row: little memory beside the result
        row = 2.5 * torch.randn(vocab, generator=generator, device="cuda")
        target[i] = row
        draft[i] = row + 0.5 * torch.randn(vocab, generator=generator, device="cuda")
    tokens = torch.cat(
        [
            torch.multinomial((draft[i : i + 1].float() / 0.8).softmax(-1), 1, generator=generator)
            for i in range(nodes)
        ]
    ).int()[:, 0]
    # Node i + 1 of a chain holds the token drawn at node i.
    return target, draft, tokens.roll(1)


class Chain:
    """One batch of chains, as ours and the peers see it."""

    def __init__(self, vocab, requests, drafts, params, seed, **options):
        self.target, self.draft, self.tokens = chains(vocab, requests, drafts, seed)
        self.drafts, self.params = drafts, params
        nodes = requests * (drafts + 1)
        self.parents = torch.arange(-1, drafts, dtype=torch.int32, device="cuda").repeat(requests)
        self.offsets = torch.arange(0, nodes + 1, drafts + 1, dtype=torch.int32, device="cuda")
        sampler = Sampler(self.draft, law_params([params] * nodes, "cuda"), Coins(seed=9))
        sampler()
        laws = sampler.laws if options.pop("kept_laws", True) else None
        self.call = Verification(
            self.tokens,
            self.parents,
            self.offsets,
            self.target,
            kinds=torch.full((nodes,), ROW, dtype=torch.int32, device="cuda"),
            rows=torch.arange(nodes, dtype=torch.int32, device="cuda"),
            sampling=law_params([params] * requests, "cuda"),
            draft_logits=self.draft,
            coins=Coins(seed=1),
            draft_laws=laws,
            **options,
        )

    def same_tokens_as_the_cpu(self):
        self.call()
        tokens, size = self.tokens.tolist(), self.drafts + 1
        trees = Trees.chains([tokens[i : i + size] for i in range(0, len(tokens), size)])
        cpu = verify(
            trees,
            self.target.cpu(),
            laws=[Law("row", i) for i in range(len(tokens))],
            draft_logits=self.draft.cpu(),
            sampling=self.params,
            on_error="status",
        )
        counts = [end - begin for begin, end in zip(cpu.offsets, cpu.offsets[1:], strict=False)]
        return (
            cpu.next_token == self.call.next_token.tolist() and counts == self.call.counts.tolist()
        )

    def floor_bytes(self):
        """Each target row once, and the two rows where it stops once more (shared/spec/GPU.md)."""
        requests, vocab = len(self.offsets) - 1, self.target.shape[1]
        return 2 * vocab * requests * (self.drafts + 3)


def microseconds(calls, repeats=20):
    """Median of one call, as a graph of all of them is replayed."""
    for call in calls:
        call()
    torch.cuda.synchronize()
    try:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for call in calls:
                call()
        run = graph.replay
    except RuntimeError:  # a peer that waits for the device
        torch.cuda.synchronize()

        def run():
            for call in calls:
                call()

    times = []
    for _ in range(repeats + 3):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end) * 1e3 / len(calls))
    return statistics.median(times[3:])


def copy_bandwidth():
    source = torch.empty(1 << 29, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.numel() / microseconds([lambda: target.copy_(source)]) * 1e6


def copies(make, size_bytes):
    """So many of a case that their inputs do not fit into the cache together, and at least 10."""
    return [make(seed) for seed in range(max(10, STREAMED // max(size_bytes, 1) + 1))]


def chain_case(vocab, requests, drafts, params, bandwidth, **options):
    first = Chain(vocab, requests, drafts, params, 0, **options)
    same = first.same_tokens_as_the_cpu() if requests * (drafts + 1) * vocab < 1 << 26 else None
    row = {
        "what": f"chain K={drafts}, {'top-k top-p' if params.top_k else 'no filter'}",
        "options": options,
        "vocab": vocab,
        "requests": requests,
        "same_tokens_as_cpu": same,
        "room_bytes": first.call.room,
        "hot_us": microseconds([first.call] * 10),
    }
    inputs = first.target.nbytes + first.draft.nbytes
    if inputs < STREAMED * 4:
        rest = copies(lambda s: Chain(vocab, requests, drafts, params, s, **options), inputs)
        row["streamed_us"] = microseconds([case.call for case in rest])
    best = row.get("streamed_us", row["hot_us"])
    row["share_of_copy"] = first.floor_bytes() / best * 1e6 / bandwidth
    row["peers_us"] = cuda_peers.times("chain", first, microseconds)
    return row


def draw_case(vocab, requests, params, bandwidth):
    def make(seed):
        generator = torch.Generator(device="cuda").manual_seed(seed)
        logits = 2.5 * torch.randn(requests, vocab, generator=generator, device="cuda")
        laws = law_params([params] * requests, "cuda")
        case = Sampler(logits.bfloat16(), laws, Coins(seed=1))
        case.logits, case.params = case._kept[0], params
        return case

    first = make(0)
    first()
    keys = [(i, 0) for i in range(requests)]
    row = {
        "what": f"draw, {'top-k top-p' if params.top_k else 'no filter'}",
        "options": {},
        "vocab": vocab,
        "requests": requests,
        "same_tokens_as_cpu": first.tokens.tolist()
        == sample(first.logits.cpu(), params, keys).tolist(),
        "hot_us": microseconds([first] * 10),
    }
    row["streamed_us"] = microseconds(copies(make, first.logits.nbytes))
    row["share_of_copy"] = first.logits.nbytes / row["streamed_us"] * 1e6 / bandwidth
    row["peers_us"] = cuda_peers.times("draw", first, microseconds)
    return row


def tree_case(vocab, bandwidth):
    """32 nodes: 15 inner ones with two children each, by the hub law, and the root's one more."""
    nodes = 32
    parents = [-1] + [(i - 1) // 2 for i in range(1, nodes)]
    generator = torch.Generator(device="cuda").manual_seed(3)
    target = 2.5 * torch.randn(nodes, vocab, generator=generator, device="cuda")
    draft = target + 0.5 * torch.randn(nodes, vocab, generator=generator, device="cuda")
    best = draft.argmax(-1).tolist()
    tokens = [0]
    for node in range(1, nodes):  # the first child any token but the likeliest, which is the second
        tokens.append((best[parents[node]] + 1) % vocab if node % 2 else best[parents[node]])

    def ints(values):
        return torch.tensor(values, dtype=torch.int32, device="cuda")

    case = Verification(
        ints(tokens),
        ints(parents),
        ints([0, nodes]),
        target.bfloat16(),
        kinds=ints([HUB] * nodes),
        rows=ints(range(nodes)),
        sampling=law_params([PLAIN], "cuda"),
        draft_logits=draft.bfloat16(),
        coins=Coins(seed=1),
    )
    us = microseconds([case] * 10)
    read = 2 * vocab * (nodes + nodes // 2) / bandwidth * 1e6
    return {
        "what": "tree of 32 nodes, hub",
        "options": {},
        "vocab": vocab,
        "requests": 1,
        "same_tokens_as_cpu": None,
        "hot_us": us,
        "share_of_copy": read / us,
        "peers_us": {},
    }


def cases(bandwidth):
    """What matters most first."""
    for vocab in (128256, 151936):
        for params in (PLAIN, FILTERED):
            for requests in (1, 64):
                yield partial(chain_case, vocab, requests, 4, params, bandwidth)
                yield partial(draw_case, vocab, requests, params, bandwidth)
        yield partial(tree_case, vocab, bandwidth)
    for splits in (1, 2, 4, 8):
        yield partial(chain_case, 128256, 1, 4, PLAIN, bandwidth, splits=splits)
        yield partial(chain_case, 128256, 1, 4, PLAIN, bandwidth, splits=splits, lazy=True)
    yield partial(chain_case, 128256, 64, 4, PLAIN, bandwidth, lazy=True)
    yield partial(chain_case, 128256, 64, 4, PLAIN, bandwidth, kept_laws=False)
    for vocab in (32000, 128256, 151936, 262144):
        for requests in (1, 16, 64, 256):
            for drafts in (1, 4, 8):
                yield partial(chain_case, vocab, requests, drafts, PLAIN, bandwidth)


def markdown(result):
    lines = [
        f"{result['device']}, copy {result['copy_bandwidth'] / 1e12:.2f} TB/s, bf16 rows, T = 0.8; "
        f"{', '.join(f'{k} {v}' for k, v in result['versions'].items())}. Medians of graph "
        "replays. Share of copy: the bytes of GPU.md's floor over the copy bandwidth.",
        f"Peers: {json.dumps(result['peers'])}.",
        "",
        "| what | vocab | requests | options | as CPU | hot µs | streamed µs | share | peers µs |",
        "|-|-|-|-|-|-|-|-|-|",
    ]
    for row in result["rows"]:
        streamed = f"{row['streamed_us']:.1f}" if "streamed_us" in row else ""
        peers = "; ".join(f"{name} {us:.1f}" for name, us in row["peers_us"].items())
        options = ", ".join(f"{k} {v}" for k, v in row["options"].items())
        lines.append(
            f"| {row['what']} | {row['vocab']} | {row['requests']} | {options} "
            f"| {row['same_tokens_as_cpu']} | {row['hot_us']:.1f} | {streamed} "
            f"| {row['share_of_copy']:.0%} | {peers} |"
        )
    return "\n".join(lines) + "\n"


def main():
    if not _core.cuda_built() or not torch.cuda.is_available():
        print("kernels_cuda: SKIPPED, no CUDA device or a build without CUDA")
        return 0
    folder = Path(os.environ.get("OUT") or Path(__file__).parents[1] / "results")
    folder.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + float(os.environ.get("BENCH_S", "240"))
    bandwidth = copy_bandwidth()
    result = {
        "device": torch.cuda.get_device_name(),
        "copy_bandwidth": bandwidth,
        "versions": {
            "anydraft": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "peers": cuda_peers.present(),
        "rows": [],
    }
    for case in cases(bandwidth):
        if time.monotonic() > until:
            print("kernels_cuda: out of time, the rest was not measured")
            break
        result["rows"].append(case())
        (folder / "kernels_cuda.json").write_text(json.dumps(result, indent=1) + "\n")
        (folder / "kernels_cuda.md").write_text(markdown(result))
        print(json.dumps(result["rows"][-1]), flush=True)
        torch.cuda.empty_cache()
    return 1 if any(row["same_tokens_as_cpu"] is False for row in result["rows"]) else 0


if __name__ == "__main__":
    sys.exit(main())
