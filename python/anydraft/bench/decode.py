"""Decoding a pair of models by every method and by other libraries, interleaved in one run."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from statistics import median
from typing import Any, cast

from anydraft.sampling import SamplingParams
from anydraft.session import SpeculativeSession

PLAIN, LLAMA_CPP = "plain", "llama.cpp plain"
_PEERS = ("llama.cpp", "openvino", "transformers")


@dataclass(frozen=True)
class Method:
    """A way to decode: a drafter ("" none, "lookup", or a key of the drafters) and options."""

    name: str
    drafter: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """One method on one prompt.

    Attributes:
        prefill: seconds until the prompt was read and its first tokens were there.
        decoding: seconds behind that.
        outside: seconds that no model's call took.
        first: tokens that came with the prompt: more than one where they had been drafted.
    """

    method: str
    prompt: int
    tokens: list[int]
    prefill: float
    decoding: float
    outside: float
    target_calls: int
    draft_calls: int = 0
    drafted: int = 0
    accepted: int = 0
    first: int = 1

    @property
    def speed(self) -> float:
        """Tokens a second of decoding; 0 where all came with the prompt."""
        decoded = len(self.tokens) - self.first
        return decoded / self.decoding if decoded > 0 and self.decoding > 0 else 0.0


def methods(drafter: str, same_vocabulary: bool) -> list[Method]:
    """Those that are tried with a drafter; "" and "lookup" are drafters too."""
    if drafter == "":
        return [Method(PLAIN, "")]

    def named(name: str, **options: Any) -> Method:
        return Method(f"{drafter} {name}", drafter, options)

    if drafter == "lookup":
        return [named("8", draft_length=8), named("auto", draft_length="auto")]
    tree = [named("tree 2x2x1x1", tree="2x2x1x1", bridge="same" if same_vocabulary else "tli")]
    auto = [named("auto", draft_length="auto")]
    if same_vocabulary:
        chains = [
            named(f"same {n}, {c}", bridge="same", draft_length=n, draft_confidence=c)
            for n, c in ((3, 0.3), (5, 0.3), (5, 0.5), (8, 0.5))
        ]
        return chains + tree + auto
    slem = [
        named(f"slem {n}, {c}", bridge="slem", draft_length=n, draft_confidence=c)
        for n, c in ((4, 0.3), (6, 0.3), (8, 0.4), (8, 0.6))
    ]
    others = [named("tli 5", bridge="tli", draft_length=5), named("slrs 4", bridge="slrs")]
    return slem + others + tree + auto


class TimedModel:
    """A model whose calls are timed.

    Attributes:
        seconds, calls: of all of them.
        read: `time.perf_counter()` at the end of the first.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self.seconds = self.read = 0.0
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, feeds: Any) -> Any:
        start = time.perf_counter()
        logits = self._model(feeds)
        end = time.perf_counter()
        self.calls += 1
        self.seconds += end - start
        self.read = self.read or end
        return logits


class Ours:
    """Sessions on one target and its drafters."""

    def __init__(self, target: Any, drafters: dict[str, Any], sampling: SamplingParams) -> None:
        self.target, self.drafters, self.sampling = target, drafters, sampling

    def methods(self) -> list[Method]:
        """All that these models can do."""
        names = ["", "lookup", *self.drafters]
        return [method for name in names for method in methods(name, self._is_same(name))]

    def _is_same(self, drafter: str) -> bool:
        model = self.drafters.get(drafter)
        return model is not None and model.vocabulary == self.target.vocabulary

    def run(self, method: Method, number: int, prompt: Sequence[int], tokens: int) -> Run:
        target = TimedModel(self.target)
        drafter: Any = method.drafter or None
        if drafter in self.drafters:
            drafter = TimedModel(self.drafters[drafter])
        session = SpeculativeSession(target, drafter, sampling=self.sampling, **method.options)
        start = time.perf_counter()
        made = session.generate(list(prompt), max_tokens=tokens)
        end = time.perf_counter()
        timed = [target, drafter] if isinstance(drafter, TimedModel) else [target]
        outside = end - start - sum(model.seconds for model in timed)
        stats, events = made.stats, session.runs[0].history
        # A round ends with the token that the target itself draws.
        rounds = [at + 1 for at, event in enumerate(events) if event.origin != "accepted"]
        session.step()  # the models forget the request
        return Run(
            method.name,
            number,
            made.tokens,
            prefill=target.read - start,
            decoding=end - target.read,
            outside=outside,
            target_calls=target.calls,
            draft_calls=stats.draft_calls,
            drafted=stats.drafted,
            accepted=stats.accepted,
            first=min([*rounds, len(events)]),
        )


def measure(
    ours: Ours,
    chosen: Sequence[Method],
    prompts: Sequence[tuple[int, Sequence[int]]],
    tokens: int,
    peers: Sequence[Any] = (),
    told: Callable[[Run], None] = lambda run: None,
) -> list[Run]:
    """Every method on every prompt; one prompt's turn takes them all, beginning elsewhere.

    peers: `decode_peers.Peer`, each on one of `every` prompts; one that fails is asked no more.
    """
    ends = [*ours.target.stop_tokens]
    runs, failed = [], set[str]()

    def of_peer(peer: Any, number: int, prompt: Sequence[int]) -> Run | None:
        try:
            return cast("Run", peer.run(number, prompt, tokens, ends))
        except RuntimeError as error:
            logging.getLogger("anydraft").warning("%s: left out from here, %s", peer.name, error)
            failed.add(peer.name)
            return None

    for turn, (number, prompt) in enumerate(prompts):
        calls: list[Callable[[], Run | None]]
        calls = [partial(ours.run, method, number, prompt, tokens) for method in chosen]
        calls += [
            partial(of_peer, peer, number, prompt)
            for peer in peers
            if turn % peer.every == 0 and peer.name not in failed
        ]
        for i in range(len(calls)):
            if run := calls[(turn + i) % len(calls)]():
                runs.append(run)
                told(run)
    return runs


def best_of_each(runs: Sequence[Run], chosen: Sequence[Method]) -> list[Method]:
    """Plain, and of each drafter its fastest method and "auto"."""
    ratios = summary(runs)["methods"]
    kept = []
    for drafter in dict.fromkeys(method.drafter for method in chosen):
        own = [m for m in chosen if m.drafter == drafter and m.name in ratios]
        best = max(own, key=lambda m: ratios[m.name]["over_plain"] or 0)
        kept += [m for m in own if m is best or m.name.endswith(" auto")]
    return kept


def summary(runs: Sequence[Run], best: Sequence[str] = ()) -> dict[str, Any]:
    """Medians over prompts; ratios are medians of those of single prompts, where of several runs
    the median one counts. `least_over_plain` is the least ratio, where the quickest counts: a
    memory that is slow for minutes would otherwise pass for a slow method.

    best: names chosen on other prompts, of which `best_over_plain` takes the best; empty: of all.
    """
    by_name, quickest = _of_prompts(runs, 0.5), _of_prompts(runs, 1)
    own_names = [n for n in by_name if n != PLAIN and n.split()[0] not in _PEERS]
    rivals = {
        "over_plain": [PLAIN],
        "over_llamacpp": [LLAMA_CPP],
        "over_openvino": [n for n in by_name if n.startswith("openvino")],
    }
    plain = by_name.get(PLAIN, {})
    rows = {name: _row(own) for name, own in by_name.items()}
    for name in by_name:
        rows[name]["texts_equal"] = all(
            run.tokens == plain[run.prompt].tokens
            for run in runs
            if run.method == name and run.prompt in plain
        )
        rows[name]["least_over_plain"] = min(
            _ratios(quickest[name], quickest.get(PLAIN, {})), default=None
        )
    for key, names in rivals.items():
        for name, own in by_name.items():
            ratios = [_ratio(own, by_name[rival]) for rival in names if rival in by_name]
            known = [ratio for ratio in ratios if ratio is not None]
            rows[name][key] = min(known, default=None)  # over its best
    candidates = [name for name in own_names if not best or name in best]
    return {
        "prompts": len(by_name.get(PLAIN, {})),
        "methods": rows,
        **{
            f"best_{key}": max(
                (rows[n][key] for n in candidates if rows[n][key] is not None), default=None
            )
            for key in rivals
        },
        "texts_equal": all(rows[name]["texts_equal"] for name in own_names),
    }


def kind_of(name: str) -> str:
    """Of a prompt: what its name says before ":" or "/"."""
    return re.split("[:/]", name)[0]


def by_kind(runs: Sequence[Run], names: dict[int, str]) -> dict[str, dict[str, float | None]]:
    """{kind of prompts: {method: speed over plain, the median}}."""
    kinds: dict[str, list[Run]] = {}
    for run in runs:
        kinds.setdefault(kind_of(names[run.prompt]), []).append(run)
    return {
        kind: {name: row["over_plain"] for name, row in summary(own)["methods"].items()}
        for kind, own in kinds.items()
    }


def _of_prompts(runs: Sequence[Run], place: float) -> dict[str, dict[int, Run]]:
    """{method: {prompt: of its runs by speed the one at this place}}; 0.5: the median."""
    turns: dict[str, dict[int, list[Run]]] = {}
    for run in runs:
        turns.setdefault(run.method, {}).setdefault(run.prompt, []).append(run)
    return {
        method: {
            prompt: sorted(own, key=lambda run: run.speed)[int(place * (len(own) - 1) + 0.5)]
            for prompt, own in prompts.items()
        }
        for method, prompts in turns.items()
    }


def _row(own: dict[int, Run]) -> dict[str, Any]:
    runs = list(own.values())
    drafted = sum(run.drafted for run in runs)
    calls = sum(run.target_calls for run in runs)
    return {
        "prompts": len(runs),
        "tokens_per_second": round(median(run.speed for run in runs), 2),
        "prefill_seconds": round(median(run.prefill for run in runs), 3),
        "tokens_per_target_call": round(sum(len(run.tokens) for run in runs) / calls, 2)
        if calls
        else None,
        "acceptance": round(sum(run.accepted for run in runs) / drafted, 3) if drafted else None,
        "outside_models": round(
            sum(run.outside for run in runs) / sum(run.prefill + run.decoding for run in runs), 4
        ),
    }


def _ratios(own: dict[int, Run], other: dict[int, Run]) -> list[float]:
    """Of each prompt of which both decoded something behind their first tokens."""
    return [
        round(own[n].speed / other[n].speed, 3)
        for n in own
        if n in other and own[n].speed > 0 and other[n].speed > 0
    ]


def _ratio(own: dict[int, Run], other: dict[int, Run]) -> float | None:
    ratios = _ratios(own, other)
    return round(median(ratios), 3) if ratios else None


def as_json(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Raw results, seconds rounded to 0.1 ms."""
    return [
        {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in each.items()
        }
        for each in map(asdict, runs)
    ]
