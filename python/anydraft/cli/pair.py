"""`anydraft pair`: will this drafter make this target faster here, by which bridge, how much?"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from anydraft import SamplingParams, SpeculativeSession, VocabularyMap
from anydraft.cli.compare import Feed
from anydraft.cli.loading import add_model_options, load_drafter, load_target
from anydraft.cli.terminal import say, table
from anydraft.errors import InputError

PROMPTS = (
    "The history of the city begins with a small harbour at the mouth of the river, where",
    "def binary_search(items, wanted):\n    low, high = 0, len(items)\n    while low < high:\n",
    "Question: A train leaves at 9:40 and arrives at 12:05. How long is the journey?\nAnswer:",
)
LONGEST = 8  # draft length considered
_REPEATS = 7
_CONTEXT = 64  # tokens before the rows that are timed
_MARGIN = 1.03  # less than this is not worth a second model


@dataclass(frozen=True)
class Costs:
    """Seconds of calls on this machine.

    Attributes:
        draft: one drafter token.
        target: one target call on 1, 2, ... LONGEST + 1 tokens.
    """

    draft: float
    target: tuple[float, ...]

    def verify(self, tokens: float) -> float:
        """Seconds of a target call; between whole numbers on the line between them."""
        index = min(int(tokens), len(self.target) - 1)
        low, high = self.target[index - 1], self.target[index]
        return low + (high - low) * (tokens - index)


@dataclass(frozen=True)
class Measured:
    """A bridge on the prompts.

    Attributes:
        acceptance: share of the drafted target tokens that were kept, of those that were judged.
        calls_per_token: drafter calls for each target token proposed.
        overhead: seconds of a round outside the models.
        texts: of each text, which of its tokens a draft would have had right.
    """

    bridge: str
    acceptance: float
    calls_per_token: float
    overhead: float
    texts: tuple[tuple[bool, ...], ...]

    def rounds(self, length: int) -> tuple[int, int]:
        """(target calls, drafted tokens) of these texts, had drafts been so many tokens long.

        Easy tokens come in runs, so one acceptance rate for all would not do.
        """
        rounds, drafted = 0, 0
        for text in self.texts:
            at = 0
            while at < len(text):
                end = at + min(length, len(text) - at - 1)  # the last token is never drafted
                rounds, drafted = rounds + 1, drafted + end - at
                while at < end and text[at]:
                    at += 1
                at += 1  # and one token of the target's own
        return rounds, drafted

    def speedup(self, length: int, costs: Costs) -> float:
        """Predicted tokens per second over plain decoding's.

        Args:
            length: as `draft_length` of a session; drafter tokens for slem.
        """
        proposed = length / self.calls_per_token if self.bridge == "slem" else float(length)
        low, high = self.rounds(int(proposed)), self.rounds(int(proposed) + 1)
        rest = proposed - int(proposed)
        rounds, drafted = ((1 - rest) * a + rest * b for a, b in zip(low, high, strict=True))
        spent = drafted * self.calls_per_token * costs.draft
        spent += rounds * (costs.verify(drafted / rounds + 1) + self.overhead)
        return sum(map(len, self.texts)) * costs.target[0] / spent


def add(commands: Any) -> None:
    """Add the subcommand to a parser's subparsers."""
    parser = commands.add_parser(
        "pair",
        help="whether a drafter would make a target faster on this machine",
        description="Measures acceptance by bridge and the cost of calls, and predicts speed-ups.",
    )
    option = parser.add_argument
    option("target", metavar="TARGET", help="GGUF file, folder or name of the model")
    option("drafter", metavar="DRAFTER", help="the same")
    option("--prompt", action="append", metavar="TEXT", help="several times for several prompts")
    option("--temperature", type=float, default=0.0, help="0 (the default): greedy")
    option("--max-tokens", type=int, default=48, metavar="N", help="for each prompt, bridge")
    option("--check", action="store_true", help="also time the best choice against plain decoding")
    add_model_options(option)
    option("--json", action="store_true", help="print one JSON object instead")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, predict, report."""
    if args.max_tokens < 8:
        raise InputError(f"[pair] expected --max-tokens >= 8, got {args.max_tokens}")
    if args.drafter in ("lookup", "none"):
        raise InputError(
            f"[pair] expected two models, got {args.drafter}: `anydraft bench decode` has lookup"
        )
    target = load_target(args)
    drafter = load_drafter(args)
    prompts = args.prompt or list(PROMPTS)
    sampling = SamplingParams(args.temperature, seed=0)
    say("timing calls of both models ...")
    costs = measure_costs(target, drafter, prompts[0])
    bridges = []
    for bridge in bridges_of(target, drafter):
        say(f"decoding {len(prompts)} prompts, bridge {bridge} ...")
        told = measure_bridge(target, drafter, bridge, prompts, sampling, args.max_tokens)
        bridges.append(told)
    best, length = best_choice(bridges, costs)
    report = _report(target, drafter, costs, bridges, best, length)
    if args.check:
        say("decoding with the best choice and plainly ...")
        measured = check(target, drafter, best, length, prompts, sampling, args.max_tokens)
        report["measured"] = measured
    if args.json:
        print(json.dumps(report))
    else:
        _show(report)
    return 0


def bridges_of(target: Any, drafter: Any) -> list[str]:
    """Those that fit the two vocabularies."""
    if target.vocabulary == drafter.vocabulary:
        return ["same"]
    shared = VocabularyMap(drafter.vocabulary, target.vocabulary).shared
    return [*(["tli", "slrs"] if shared else []), "slem"]


def measure_costs(target: Any, drafter: Any, prompt: str) -> Costs:
    """Medians over interleaved calls behind a prompt."""
    seconds: dict[int, list[float]] = {size: [] for size in range(LONGEST + 2)}
    texts = [_context(model, prompt) for model in (target, drafter)]
    for model, text in zip((target, drafter), texts, strict=True):
        _call(model, text, 0, len(text))
    for repeat in range(_REPEATS + 1):
        for size in seconds:  # 0: the drafter
            model, text = (target, texts[0]) if size else (drafter, texts[1])
            started = time.perf_counter()
            _call(model, text[: max(size, 1)], len(text), max(size, 1))
            if repeat:  # the first calls of a size are slow
                seconds[size].append(time.perf_counter() - started)
    for model in (target, drafter):
        if hasattr(model, "forget"):
            model.forget(Feed([], [], []).request)
    medians = [statistics.median(seconds[size]) for size in seconds]
    return Costs(medians[0], tuple(medians[1:]))


def _context(model: Any, prompt: str) -> list[int]:
    """The prompt's tokens, again and again up to 64, or as many as the model has room for."""
    tokens: list[int] = model.vocabulary.encode(prompt)
    room = (getattr(model, "context_length", None) or _CONTEXT + LONGEST + 1) - LONGEST - 1
    if not tokens or room <= LONGEST:
        raise InputError(f"[pair] expected a prompt of tokens and a context for it, got {prompt!r}")
    size = min(_CONTEXT, room)
    return (tokens * (size // len(tokens) + 1))[:size]


def _call(model: Any, tokens: list[int], kept: int, rows: int) -> None:
    size = len(tokens)
    positions, parents = list(range(kept, kept + size)), list(range(-1, size - 1))
    logits = model([Feed(tokens, positions, parents, keep=range(kept), rows=rows)])
    if getattr(logits, "is_cuda", False):
        logits[-1:, :1].cpu()  # a device only queues its work


def measure_bridge(
    target: Any,
    drafter: Any,
    bridge: str,
    prompts: Sequence[str],
    sampling: SamplingParams,
    new_tokens: int,
) -> Measured:
    """Decode the prompts with the longest drafts and count."""
    session = _session(target, drafter, bridge, LONGEST, sampling)
    texts, stats = [], []
    for prompt in prompts:
        stream = session.stream(prompt, max_tokens=new_tokens)
        origins = [event.origin for event in stream]
        # Nobody asked the drafter for the bonus behind a draft that was right: it is as likely so.
        texts.append(tuple(origin != "recovered" for origin in origins))
        stats.append(stream.generation.stats)
    if max(map(len, texts), default=0) < 2:
        raise _too_short()
    drafted, accepted = sum(s.drafted for s in stats), sum(s.accepted for s in stats)
    judged = accepted + sum(text.count(False) for text in texts)
    spent = sum(s.seconds - s.draft_seconds - s.target_seconds for s in stats)
    return Measured(
        bridge,
        accepted / judged if judged else 0.0,
        sum(s.draft_calls for s in stats) / drafted if drafted else 1.0,
        spent / max(1, sum(s.target_calls for s in stats)),
        tuple(texts),
    )


def best_choice(bridges: Sequence[Measured], costs: Costs) -> tuple[Measured, int]:
    """The bridge and draft length of the highest predicted speed-up."""
    choices = [(bridge, length) for bridge in bridges for length in range(1, LONGEST + 1)]
    return max(choices, key=lambda choice: choice[0].speedup(choice[1], costs))


def check(
    target: Any,
    drafter: Any,
    best: Measured,
    length: int,
    prompts: Sequence[str],
    sampling: SamplingParams,
    new_tokens: int,
) -> float:
    """The speed-up of a choice as timed, prompts' first calls left out."""
    session = _session(target, drafter, best.bridge, length, sampling)
    plain = SpeculativeSession(target, sampling=sampling)
    rates = [[0.0, 0.0], [0.0, 0.0]]
    for prompt in prompts:
        for rate, which in zip(rates, (session, plain), strict=True):
            stream = which.stream(prompt, max_tokens=new_tokens)
            next(stream, None)  # the prompt's own call
            first = stream.generation.stats
            for _ in stream:
                pass
            last = stream.generation.stats
            rate[0] += last.tokens - first.tokens
            rate[1] += last.seconds - first.seconds
    if not all(tokens and seconds for tokens, seconds in rates):
        raise _too_short()
    return rates[0][0] / rates[0][1] / (rates[1][0] / rates[1][1])


def _too_short() -> InputError:
    return InputError(
        "[pair] expected prompts whose texts go on, so that there is something to draft, got texts "
        "that all end at their first token: give others by --prompt"
    )


def _session(
    target: Any, drafter: Any, bridge: Any, length: int, sampling: SamplingParams
) -> SpeculativeSession:
    return SpeculativeSession(
        target,
        drafter,
        bridge=bridge,
        draft_length=length,
        draft_confidence=0.0,
        sampling=sampling,
    )


def _report(
    target: Any,
    drafter: Any,
    costs: Costs,
    bridges: Sequence[Measured],
    best: Measured,
    length: int,
) -> dict[str, Any]:
    shared = VocabularyMap(drafter.vocabulary, target.vocabulary).shared
    speedups = {
        b.bridge: [round(b.speedup(n, costs), 3) for n in range(1, LONGEST + 1)] for b in bridges
    }
    return {
        "shared": shared,
        "target_size": target.vocabulary.size,
        "drafter_size": drafter.vocabulary.size,
        "target_seconds": costs.target,
        "draft_seconds": costs.draft,
        "bridges": [_told(bridge) for bridge in bridges],
        "speedups": speedups,
        "bridge": best.bridge,
        "draft_length": length,
        "predicted": best.speedup(length, costs),
    }


def _told(bridge: Measured) -> dict[str, Any]:
    told = asdict(bridge)
    del told["texts"]
    return told


def _show(report: dict[str, Any]) -> None:
    costs, draft = report["target_seconds"], report["draft_seconds"]
    share = report["shared"] / report["drafter_size"]
    say(f"shared tokens {report['shared']}: {share:.0%} of the drafter's")
    say(f"drafter call {draft * 1e3:.1f} ms: {draft / costs[0]:.2f} of a target call")
    sizes = ", ".join(f"{n}: {cost / costs[0]:.2f}" for n, cost in enumerate(costs, 1))
    say(f"target call {costs[0] * 1e3:.1f} ms; on n tokens, in calls on one: {sizes}")
    rows = [["bridge", "acceptance", *(f"length {n}" for n in range(1, LONGEST + 1))]]
    for bridge in report["bridges"]:
        speedups = report["speedups"][bridge["bridge"]]
        rows.append(
            [bridge["bridge"], f"{bridge['acceptance']:.2f}", *(f"{s:.2f}" for s in speedups)]
        )
    say("predicted speed-up by draft length:\n" + table(rows))
    choice = f'bridge "{report["bridge"]}", draft length {report["draft_length"]}'
    predicted = f"{report['predicted']:.2f} x plain decoding"
    if report["predicted"] < _MARGIN:
        say(f"no: plain decoding is as fast or faster here (best: {choice}, {predicted})")
    else:
        say(f"yes: {choice}, about {predicted}")
    if "measured" in report:
        say(f"measured: {report['measured']:.2f} x")
