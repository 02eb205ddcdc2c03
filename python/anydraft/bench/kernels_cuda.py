"""The CUDA engine's draws and verification: checked against the CPU's, then timed beside peers."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from anydraft import CudaUnavailableError, Proposal, SamplingParams, Trees, _core, sample, verify
from anydraft.bench import peers_cuda, report_cuda
from anydraft.bench.peer_distributions import PeerDistributions
from anydraft.bench.timing import machine
from anydraft.cuda import Sampler, Uniforms, Verification, distribution_params

PLAIN = SamplingParams(temperature=0.8, seed=1)
FILTERED = SamplingParams(temperature=0.8, top_k=50, top_p=0.95, seed=1)
VOCABS = (128256, 151936)
DRAFTS = 4
STREAMED_BYTES = 128 << 20  # of inputs that take turns: more than any cache holds
_ROW, _HUB = 1, 3  # numbers of kinds of distribution

Call = Callable[[], Any]
_DISTRIBUTIONS = PeerDistributions()


def run(
    vocabs: tuple[int, ...], chosen: tuple[str, ...], seconds: float, file: Path | None
) -> dict[str, Any]:
    """All measurements as the JSON file holds them.

    What matters most comes first. A case that fails is in the result with its error, and the others
    go on; `file` is written after each, so a run that is cut off keeps what it has.

    Args:
        vocabs: sizes of the vocabulary of the main cases.
        chosen: peers out of `peers_cuda.NAMES`; those that are absent are named in the result.
        seconds: no case begins later.
        file: JSON, with the tables beside it, or None.

    Raises:
        CudaUnavailableError: no CUDA device, or a build without CUDA.
    """
    import torch

    if not _core.cuda_built():
        raise CudaUnavailableError(
            "[bench] expected a build with CUDA, got one without: reinstall with ANYDRAFT_CUDA=ON "
            "and nvcc on the PATH"
        )
    if not torch.cuda.is_available():
        raise CudaUnavailableError("[bench] expected a CUDA device that torch can use, got none")
    until = time.monotonic() + seconds
    peers, said = peers_cuda.load(chosen)
    bandwidth = _copy_bandwidth()
    result: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": machine(1) | {"gpu": torch.cuda.get_device_name()},
        "copy_bandwidth": bandwidth,
        "peers": said,
        "complete": False,
        "rows": [],
    }
    for case in _cases(vocabs, peers, bandwidth):
        late = time.monotonic() > until
        if not late:
            result["rows"].append(_attempt(case))
            torch.cuda.empty_cache()
        if file:
            report_cuda.write(result, file)
        if late:
            break
    else:
        result["complete"] = True
        if file:
            report_cuda.write(result, file)
    return result


def _attempt(case: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return case()
    except Exception as error:
        what = {"what": str(getattr(case, "args", ("", ""))[0]), "vocab": 0, "requests": 0}
        return what | {"error": f"{type(error).__name__}: {error}"[:300]}


def _cases(vocabs: tuple[int, ...], peers: Any, bandwidth: float) -> Iterator[Any]:
    def chain(vocab: int, requests: int, params: SamplingParams, **options: Any) -> Any:
        return partial(_chain, "chain", vocab, requests, params, peers, bandwidth, **options)

    for vocab in vocabs:
        for requests in (1, 64, 8):
            for params in (PLAIN, FILTERED):
                yield chain(vocab, requests, params)
                if requests != 8:
                    yield partial(_draw, "draw", vocab, requests, params, peers, bandwidth)
        yield partial(_tree, "tree", vocab, peers, bandwidth)
    peers = {}
    first = vocabs[0]
    for requests in (1, 64):
        yield chain(first, requests, PLAIN, lazy=True)
        yield chain(first, requests, PLAIN, kept_distributions=False)
    for splits in (1, 2, 4, 8):
        yield chain(first, 1, PLAIN, splits=splits)
    for vocab in (32000, 262144):
        for requests in (1, 16, 64, 256):
            for drafts in (1, 4, 8):
                yield chain(vocab, requests, PLAIN, drafts=drafts)


class _Chains:
    """Chains of drafts, drawn from rows near their target's, on the device."""

    def __init__(
        self,
        vocab: int,
        requests: int,
        params: SamplingParams,
        seed: int,
        drafts: int = DRAFTS,
        kept_distributions: bool = True,
        **options: Any,
    ) -> None:
        import torch

        self.drafts, self.params, nodes = drafts, params, requests * (drafts + 1)
        self.target, self.draft = _rows(nodes, vocab, seed)
        every = distribution_params([params] * nodes, "cuda")
        sampler = Sampler(self.draft, every, Uniforms(seed=9 + seed), purpose=0)
        sampler()
        # Node i + 1 of a chain holds the token drawn at node i.
        self.tokens = sampler.tokens.int().roll(1)
        parents = torch.arange(-1, drafts, dtype=torch.int32, device="cuda").repeat(requests)
        self.call = Verification(
            self.tokens,
            parents,
            torch.arange(0, nodes + 1, drafts + 1, dtype=torch.int32, device="cuda"),
            self.target,
            kinds=torch.full((nodes,), _ROW, dtype=torch.int32, device="cuda"),
            rows=torch.arange(nodes, dtype=torch.int32, device="cuda"),
            sampling=distribution_params([params] * requests, "cuda"),
            draft_logits=self.draft,
            verifier="top_down",
            uniforms=Uniforms(seed=1),
            draft_distributions=sampler.distributions if kept_distributions else None,
            **options,
        )

    def check(self) -> None:
        self.call()
        tokens, size = self.tokens.tolist(), self.drafts + 1
        trees = Trees.chains([tokens[i : i + size] for i in range(0, len(tokens), size)])
        distributions = [Proposal("iid", i) for i in range(len(tokens))]
        _same(self.call, trees, distributions, self.target, self.draft, self.params)


class _Draws:
    def __init__(self, vocab: int, requests: int, params: SamplingParams, seed: int) -> None:
        self.params, self.logits = params, _rows(requests, vocab, seed)[0]
        self.call = Sampler(
            self.logits, distribution_params([params] * requests, "cuda"), Uniforms(seed=1)
        )

    def check(self) -> None:
        self.call()
        keys = [(i, 0) for i in range(len(self.logits))]
        if self.call.tokens.tolist() != sample(self.logits.cpu(), self.params, keys).tolist():
            raise AssertionError("the device drew other tokens than the CPU")


class _Hubs:
    """One binary tree of 32 nodes by SpecHub's distribution: the second child the drafter's
    likeliest.
    """

    def __init__(self, vocab: int, params: SamplingParams, seed: int) -> None:
        import torch

        nodes = 32
        self.params = params
        self.parents = [-1] + [(i - 1) // 2 for i in range(1, nodes)]
        self.target, self.draft = _rows(nodes, vocab, seed)
        best, second = self.draft.float().topk(2, -1).indices.T.tolist()
        # A node of one child has it from the row alone, which is then certain of its likeliest.
        lone = nodes - 1 if nodes % 2 == 0 else -1
        self.tokens = [0] + [
            (best if i % 2 == 0 or i == lone else second)[self.parents[i]] for i in range(1, nodes)
        ]

        def ints(values: list[int]) -> Any:
            return torch.tensor(values, dtype=torch.int32, device="cuda")

        self.call = Verification(
            ints(self.tokens),
            ints(self.parents),
            ints([0, nodes]),
            self.target,
            kinds=ints([_HUB] * nodes),
            rows=ints(list(range(nodes))),
            sampling=distribution_params([params], "cuda"),
            draft_logits=self.draft,
            verifier="top_down",
            uniforms=Uniforms(seed=1),
        )

    def check(self) -> None:
        self.call()
        trees = Trees(self.tokens, self.parents, [0, len(self.tokens)])
        distributions = [Proposal("spechub", i) for i in range(len(self.tokens))]
        _same(self.call, trees, distributions, self.target, self.draft, self.params)


def _rows(count: int, vocab: int, seed: int) -> tuple[Any, Any]:
    """bfloat16 target rows, and rows of a drafter near them."""
    import torch

    generator = torch.Generator(device="cuda").manual_seed(seed)
    target = torch.empty(count, vocab, dtype=torch.bfloat16, device="cuda")
    draft = torch.empty_like(target)
    for i in range(count):  # row by row: little memory beside the result
        row = 2.5 * torch.randn(vocab, generator=generator, device="cuda")
        target[i] = row
        draft[i] = row + 0.5 * torch.randn(vocab, generator=generator, device="cuda")
    return target, draft


def _same(
    call: Verification,
    trees: Trees,
    distributions: Any,
    target: Any,
    draft: Any,
    params: SamplingParams,
) -> None:
    cpu = verify(
        trees,
        target.cpu(),
        proposals=distributions,
        draft_logits=draft.cpu(),
        sampling=params,
        verifier="top_down",
    )
    counts = [end - begin for begin, end in zip(cpu.offsets, cpu.offsets[1:], strict=False)]
    if cpu.next_token != call.next_token.tolist() or counts != call.counts.tolist():
        raise AssertionError("the device kept other tokens than the CPU")


def _chain(
    what: str,
    vocab: int,
    requests: int,
    params: SamplingParams,
    peers: Any,
    bandwidth: float,
    **options: Any,
) -> dict[str, Any]:
    drafts = options.get("drafts", DRAFTS)
    # Each target row once, and the two rows where it stops once more.
    floor = 2 * vocab * requests * (drafts + 3)
    row = _measure(
        lambda seed: _Chains(vocab, requests, params, seed, **options),
        "chain",
        floor,
        4 * vocab * requests * (drafts + 1),
        peers,
        bandwidth,
    )
    head = {"what": f"chain K={drafts}, {_name(params)}", "vocab": vocab, "requests": requests}
    return head | {"options": options} | row


def _draw(
    what: str, vocab: int, requests: int, params: SamplingParams, peers: Any, bandwidth: float
) -> dict[str, Any]:
    size = 2 * vocab * requests
    row = _measure(
        lambda seed: _Draws(vocab, requests, params, seed), "draw", size, size, peers, bandwidth
    )
    head = {"what": f"draw, {_name(params)}", "vocab": vocab, "requests": requests}
    return head | {"options": {}} | row


def _tree(what: str, vocab: int, peers: Any, bandwidth: float) -> dict[str, Any]:
    # 32 target rows, and the draft rows of 16 inner nodes.
    size = 2 * vocab * 48
    row = _measure(
        lambda seed: _Hubs(vocab, PLAIN, seed), "tree", size, 4 * vocab * 32, peers, bandwidth
    )
    return {"what": "tree of 32 nodes, hub", "vocab": vocab, "requests": 1, "options": {}} | row


def _name(params: SamplingParams) -> str:
    return "top-k 50, top-p 0.95" if params.top_k else "no filter"


def _measure(
    make: Callable[[int], Any], kind: str, floor: int, size: int, peers: Any, bandwidth: float
) -> dict[str, Any]:
    """Times of ours and of the peers that can do it; `size` bytes of inputs, `floor` to be read."""
    count = max(2, STREAMED_BYTES // size + 1)
    cases = [make(seed) for seed in range(count)]
    cases[0].check()
    ours = _times([case.call for case in cases])
    row: dict[str, Any] = {
        "same_tokens_as_cpu": True,
        "launches": _launches(cases[0].call),
        "hot_us": ours[0],
        "streamed_us": ours[1],
        "bytes_per_second": floor / ours[1] * 1e6,
        "share_of_copy": floor / ours[1] * 1e6 / bandwidth,
        "peers": {},
    }
    for name, peer in peers.items():
        try:
            if not hasattr(peer, kind) or getattr(peer, kind)(cases[0]) is None:
                continue
            wrong = _DISTRIBUTIONS.wrong(name, peer, kind, cases[0].params)
            if wrong:
                row["peers"][name] = {"error": f"not comparable: {wrong}"}
                continue
            calls: list[Call] = [getattr(peer, kind)(case) for case in cases]
            hot, streamed = _times(calls, in_graph=not getattr(peer, "waits", False))
            row["peers"][name] = {
                "hot_us": hot,
                "streamed_us": streamed,
                "launches": _launches(calls[0]),
                "ratio": streamed / ours[1],
            }
        except Exception as error:
            row["peers"][name] = {"error": f"{type(error).__name__}: {error}"[:200]}
    return row


def _times(calls: list[Call], in_graph: bool = True) -> tuple[float, float]:
    """Microseconds a call: one input again and again, and all inputs in turn."""
    return _microseconds(calls[:1] * 10, in_graph), _microseconds(calls, in_graph)


def _microseconds(calls: list[Call], in_graph: bool = True, repeats: int = 15) -> float:
    """Median over replays of a CUDA graph of all calls; without one for what waits for the device,
    which cannot be in a graph."""
    import torch

    cuda: Any = torch.cuda

    for call in calls[:3]:
        call()
    torch.cuda.synchronize()
    replay = _graph(calls) if in_graph else None
    run = replay or (lambda: [call() for call in calls])
    times: list[float] = []
    for _ in range(repeats + 2):
        begin, end = (cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end) * 1e3 / len(calls))
    return statistics.median(times[2:])


def _graph(calls: list[Call]) -> Call | None:
    import torch

    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            for call in calls:
                call()
    except RuntimeError:
        torch.cuda.synchronize()
        return None
    return graph.replay


def _launches(call: Call) -> int | None:
    """Kernels and copies of a call, as torch's profiler sees them; None where it does not work."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    try:
        with profile(activities=[ProfilerActivity.CUDA]) as seen:
            call()
            torch.cuda.synchronize()
        events = [e for e in seen.events() or () if "CUDA" in str(e.device_type)]
        return len(events) or None
    except Exception:
        return None


def _copy_bandwidth() -> float:
    """Bytes a second, read and written, of torch's copy between large buffers."""
    import torch

    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2e6 * source.numel() / _microseconds([lambda: target.copy_(source)])
