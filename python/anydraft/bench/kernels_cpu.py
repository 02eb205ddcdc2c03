"""The CPU engine's draws and chain verification: checked first, then timed beside peers."""

from __future__ import annotations

from statistics import median
from typing import Any

from anydraft import Proposal, SamplingParams, Trees, _core, probs, sample, set_threads, verify
from anydraft.bench import peers
from anydraft.bench.timing import Call, copy_bandwidth, interleaved, machine, rows_of

testing: Any = _core.testing

VOCABS = (32000, 128256, 151936, 262144)
DRAFTS = 4

# name -> (parameters, spread of the normal logits: 3 is a peaked row, 1 a flat one)
DRAWS = {
    "temperature 0.8": (SamplingParams(temperature=0.8, seed=1), 3.0),
    "top-p 0.9": (SamplingParams(top_p=0.9, seed=1), 3.0),
    "top-p 0.9, flat": (SamplingParams(top_p=0.9, seed=1), 1.0),
    "top-k 50, top-p 0.95": (SamplingParams(top_k=50, top_p=0.95, seed=1), 3.0),
    "greedy": (SamplingParams(temperature=0), 3.0),
}
_DTYPES = ("float32", "bfloat16")


def run(
    vocabs: tuple[int, ...], chosen: tuple[str, ...], threads: int, seconds: float
) -> dict[str, Any]:
    """All measurements as the JSON file holds them; wrong results end the bench.

    Args:
        vocabs: sizes of the vocabulary.
        chosen: peers out of `peers.NAMES`.
        threads: of ours and of torch.
        seconds: spent on each line of the tables.
    """
    import torch

    torch.set_num_threads(threads)
    set_threads(threads)
    result: dict[str, Any] = {"machine": machine(threads), "instruction_sets": _instruction_sets()}
    result["copy_bandwidth"] = bandwidth = copy_bandwidth()
    result["draws"] = []
    for vocab in vocabs:
        for name, (params, spread) in DRAWS.items():
            for dtype in _DTYPES:
                _check(vocab, dtype, params, spread)
            result["draws"] += [
                _draw(vocab, dtype, name, streamed, chosen, bandwidth, seconds)
                for dtype in _DTYPES
                for streamed in (False, True)
            ]
    result["batches"] = [_two_threads(vocab, seconds) for vocab in vocabs]
    set_threads(threads)
    result["chains"] = [
        _chain(vocab, accepted, chosen, seconds) for vocab in vocabs for accepted in (2, DRAFTS)
    ]
    return result


def _instruction_sets() -> list[str]:
    return list(testing.instruction_sets())


def _check(vocab: int, dtype: str, params: SamplingParams, spread: float) -> None:
    """The distribution of a float64 softmax within 1e-6; the same tokens from every instruction
    set.
    """
    import torch

    row = rows_of(vocab, dtype, spread, False)
    distribution = probs(row, params)[0].double()
    kept = distribution > 0
    if params.greedy:
        expected = torch.zeros_like(distribution)
        expected[row[0].float().argmax()] = 1
    else:
        expected = (row[0].double() / params.temperature).softmax(-1) * kept
        if params.top_p < 1 and not params.top_k:
            _check_nucleus(row[0], expected, kept, params.top_p)
        expected /= expected.sum()
    if (distribution - expected).abs().max() > 1e-6:
        raise AssertionError(f"distribution at vocab {vocab}, {dtype}, {params}")
    keys = [(i, 0) for i in range(50)]
    tokens = []
    for name in [*_instruction_sets(), ""]:
        testing.use_instruction_set(name)
        tokens.append(sample(row.expand(50, -1), params, keys).tolist())
    if any(other != tokens[0] for other in tokens):
        raise AssertionError(f"tokens differ at vocab {vocab}, {dtype}, {params}")


def _check_nucleus(row: Any, masses: Any, kept: Any, top_p: float) -> None:
    """It reaches top_p, and without its smallest logit (and ties) it does not."""
    larger = row > row[kept].min()
    if masses.sum() < top_p - 1e-6 or masses[larger].sum() > top_p + 1e-6:
        raise AssertionError(f"nucleus of top-p {top_p} at vocab {len(row)}, {row.dtype}")


def _draw(
    vocab: int,
    dtype: str,
    name: str,
    streamed: bool,
    chosen: tuple[str, ...],
    bandwidth: float,
    seconds: float,
) -> dict[str, Any]:
    params, spread = DRAWS[name]
    rows = rows_of(vocab, dtype, spread, streamed)
    count = len(rows)

    def at(turn: int) -> Any:
        return rows[turn % count][None]

    calls: dict[str, Call] = {"ours": lambda turn: sample(at(turn), params, [(0, turn)])}
    if not params.greedy and params.top_p == 1:
        calls["bare exponentials"] = lambda turn: testing.bare_exponentials(
            at(turn), params.temperature
        )
    for peer, sampler in peers.samplers(params, chosen).items():
        calls[peer] = lambda turn, sampler=sampler: sampler(at(turn))  # type: ignore[misc]
    times = interleaved(calls, seconds)
    rate = vocab * rows.element_size() / times["ours"]
    return {
        "vocab": vocab,
        "dtype": dtype,
        "what": name,
        "streamed": streamed,
        "seconds": times,
        "ratios": {peer: time / times["ours"] for peer, time in times.items() if peer != "ours"},
        "bytes_per_second": rate,
        "share_of_copy": rate / bandwidth,
    }


def _two_threads(vocab: int, seconds: float) -> dict[str, Any]:
    """Eight rows in one call: one thread against two, and what two can do at most.

    The limit is that of the rows' bare exponentials, fifty times on threads that never wait.
    """
    import torch

    params = SamplingParams(temperature=0.8, seed=1)
    rows = 3 * torch.randn(8, vocab, generator=torch.Generator().manual_seed(vocab))
    keys = [(i, 0) for i in range(8)]

    def with_threads(count: int) -> Call:
        def call(_: int) -> Any:
            set_threads(count)
            return sample(rows, params, keys)

        return call

    times = interleaved({"1": with_threads(1), "2": with_threads(2)}, seconds)
    bare: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(7):
        for count, found in bare.items():
            found.append(testing.time_on_threads(rows, params.temperature, count, 50))
    return {
        "vocab": vocab,
        "rows": 8,
        "seconds": times,
        "ratio": times["1"] / times["2"],
        "limit": median(bare[1]) / median(bare[2]),
    }


def _chain(vocab: int, accepted: int, chosen: tuple[str, ...], seconds: float) -> dict[str, Any]:
    """K = 4 drafts from logits; the uniforms are given, so that `accepted` drafts are kept."""
    import torch

    temperature = 0.8
    generator = torch.Generator().manual_seed(vocab)
    target = 3 * torch.randn(DRAFTS + 1, vocab, generator=generator)
    draft = target[:DRAFTS] + 0.7 * torch.randn(DRAFTS, vocab, generator=generator)
    distribution = (draft / temperature).softmax(-1)
    tokens = torch.multinomial(distribution, 1, generator=generator)[:, 0].tolist()
    if accepted < DRAFTS:  # a token that the drafter likes and the target does not
        target[accepted, tokens[accepted]] = draft[accepted, tokens[accepted]] - 5
    trees, small = (Trees.chains([[0, *(t % size for t in tokens)]]) for size in (vocab, 64))
    distributions = [*(Proposal("iid", i) for i in range(DRAFTS)), Proposal("one_hot")]
    keep = [0.5, *([1e-9] * accepted), *([1 - 1e-9] * (DRAFTS - accepted))]
    uniforms = (keep, [0.37] * (DRAFTS + 1))
    params = SamplingParams(temperature=temperature)

    tiny_target, tiny_draft = torch.zeros(DRAFTS + 1, 64), torch.zeros(DRAFTS, 64)
    options: dict[str, Any] = {
        "proposals": distributions,
        "sampling": params,
        "verifier": "top_down",
        "uniforms": uniforms,
    }

    def ours(_: int) -> Any:
        return verify(trees, target, draft_logits=draft, **options)

    kept = len(ours(0).accepted)
    if kept != accepted:
        raise AssertionError(f"expected {accepted} drafts kept, got {kept}")
    calls: dict[str, Call] = {
        "ours": ours,
        "the call": lambda _: verify(small, tiny_target, draft_logits=tiny_draft, **options),
        "bare exponentials": lambda _: testing.bare_verification(
            target, draft, accepted, temperature
        ),
    }
    if "transformers" in chosen:
        calls["transformers: _speculative_sampling"] = lambda _: peers.speculative_sampling(
            target, draft, tokens, temperature
        )
    times = interleaved(calls, seconds)
    return {
        "vocab": vocab,
        "drafts": DRAFTS,
        "accepted": accepted,
        "seconds": times,
        "ratios": {
            peer: time / times["ours"]
            for peer, time in times.items()
            if peer not in ("ours", "the call")
        },
    }
