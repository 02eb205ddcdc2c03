"""Questions of several tasks at several temperatures and batch sizes, every method beside plain
decoding on the same models. Spec-Bench: Xia et al. 2024."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from statistics import median
from typing import Any

from anydraft.bench.decode import PLAIN, Method, Ours
from anydraft.bench.decode_peers import Peer
from anydraft.sampling import SamplingParams
from anydraft.session import SpeculativeSession

_log = logging.getLogger("anydraft")
POSITIONS = 8  # of a round's drafts, told one by one
OVERALL = "overall"
Prompts = dict[str, list[list[int]]]  # by task, as ids


@dataclass(frozen=True)
class Cell:
    """All prompts of one task, decoded by one method.

    Attributes:
        seconds: of the whole call, reading the prompts included.
        target_calls, drafted, accepted, kept, rounds: 0 for another library, which does not say.
        kept: rounds that kept at least 1, 2, … drafted tokens.
        texts_equal: whether the texts are plain decoding's of the same turn.
    """

    turn: int
    task: str
    temperature: float
    batch: int
    method: str
    seconds: float
    tokens: int
    target_calls: int
    drafted: int
    accepted: int
    kept: list[int]
    rounds: int
    texts_equal: bool


def measure(
    ours: Ours,
    methods: Sequence[Method],
    prompts: Prompts,
    *,
    temperatures: Sequence[float],
    batches: Sequence[int],
    turns: int,
    tokens: int,
    peers: Sequence[Peer] = (),
    told: Callable[[Cell], None] = lambda cell: None,
) -> list[Cell]:
    """Methods take turns on each task; plain decoding is the first of `methods`.

    peers: decode one prompt after another, greedily: they stand in the cells of batch 1 at T = 0.
    """
    first = next(iter(prompts.values()))[:1]
    sessions = {method.name: session_of(ours, method) for method in methods}
    for session in sessions.values():  # no method pays for first calls
        session.generate([first[0][:8]], max_tokens=16)
    peers = [peer for peer in peers if _warms_up(peer, first[0][:8], ours)]
    cells = []
    for turn, temperature, batch in product(range(turns), temperatures, batches):
        # Most requests have no seed, and with one drawn drafts are no shorter in a batch.
        sampling = SamplingParams(temperature, seed=None if temperature else turn)
        for task, some in prompts.items():
            texts: dict[str, list[list[int]]] = {}
            found = []
            for i in range(len(methods)):
                name = methods[(turn + i) % len(methods)].name
                session = sessions[name]
                began = time.perf_counter()
                made = session.generate(
                    some, sampling=sampling, max_tokens=tokens, batch_size=batch
                )
                seconds = time.perf_counter() - began
                texts[name] = [one.tokens for one in made]
                found.append((name, seconds, made, kept_by_position(session.runs)))
            for name, seconds, made, (kept, rounds) in found:
                cells.append(
                    Cell(
                        turn,
                        task,
                        temperature,
                        batch,
                        name,
                        round(seconds, 4),
                        sum(len(one.tokens) for one in made),
                        sum(one.stats.target_calls for one in made),
                        sum(one.stats.drafted for one in made),
                        sum(one.stats.accepted for one in made),
                        kept,
                        rounds,
                        texts[name] == texts[PLAIN],
                    )
                )
                told(cells[-1])
            for peer in list(peers) if (temperature, batch) == (0, 1) else ():
                try:
                    cells.append(_of_peer(peer, turn, task, some, tokens, ours, texts[PLAIN]))
                    told(cells[-1])
                except RuntimeError as error:
                    _log.warning("%s: left out from turn %d on, %s", peer.name, turn, error)
                    peers = [other for other in peers if other is not peer]
                    cells = [c for c in cells if (c.method, c.turn) != (peer.name, turn)]
    return cells


def _warms_up(peer: Peer, prompt: Sequence[int], ours: Ours) -> bool:
    try:
        peer.run(0, prompt, 16, ours.target.stop_tokens)
    except RuntimeError as error:
        _log.warning("%s: left out, %s", peer.name, error)
        return False
    return True


def _of_peer(
    peer: Peer,
    turn: int,
    task: str,
    prompts: Sequence[Sequence[int]],
    tokens: int,
    ours: Ours,
    plain: list[list[int]],
) -> Cell:
    ends = list(ours.target.stop_tokens)
    runs = [peer.run(i, prompt, tokens, ends) for i, prompt in enumerate(prompts)]
    seconds = round(sum(run.prefill + run.decoding for run in runs), 4)
    count = sum(len(run.tokens) for run in runs)
    equal = [run.tokens for run in runs] == plain
    return Cell(turn, task, 0.0, 1, peer.name, seconds, count, 0, 0, 0, [0] * POSITIONS, 0, equal)


def session_of(ours: Ours, method: Method) -> SpeculativeSession:
    """A session of the method's drafter and options."""
    drafter: Any = ours.drafters.get(method.drafter, method.drafter or None)
    return SpeculativeSession(ours.target, drafter, **method.options)


def kept_by_position(runs: Sequence[Any]) -> tuple[list[int], int]:
    """(rounds that kept at least 1, 2, … drafted tokens; rounds), of what was emitted."""
    kept, rounds = [0] * POSITIONS, 0
    for run in runs:
        place = 0
        for event in run.history:
            if event.origin != "accepted":
                rounds, place = rounds + 1, 0
            else:
                if place < POSITIONS:
                    kept[place] += 1
                place += 1
    return kept, rounds


def summary(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """For each temperature, batch and method: speed over plain by task and overall (medians over
    turns), tokens a target call, acceptance by position, whether all texts are plain's."""
    rows = []
    for key in dict.fromkeys((c.temperature, c.batch, c.method) for c in cells):
        own = [c for c in cells if (c.temperature, c.batch, c.method) == key]
        plain = [c for c in cells if (c.temperature, c.batch, c.method) == (*key[:2], PLAIN)]
        tasks = [*dict.fromkeys(c.task for c in own), OVERALL]
        rounds = sum(c.rounds for c in own)
        drafted, calls = sum(c.drafted for c in own), sum(c.target_calls for c in own)
        rows.append(
            {
                "temperature": key[0],
                "batch": key[1],
                "method": key[2],
                "tokens_per_second": round(median(_speeds(own, OVERALL)), 2),
                "over_plain": {task: _over(own, plain, task) for task in tasks},
                "tokens_per_target_call": round(sum(c.tokens for c in own) / calls, 2)
                if calls
                else None,
                "acceptance": round(sum(c.accepted for c in own) / drafted, 3) if drafted else None,
                "kept_by_position": [
                    round(sum(c.kept[i] for c in own) / rounds, 3) if rounds else 0.0
                    for i in range(POSITIONS)
                ],
                "texts_equal": all(c.texts_equal for c in own),
            }
        )
    return rows


def _speeds(cells: Sequence[Cell], task: str) -> list[float]:
    """Tokens a second, by turn."""
    speeds = []
    for turn in sorted({cell.turn for cell in cells}):
        own = [c for c in cells if c.turn == turn and task in (c.task, OVERALL)]
        speeds.append(sum(c.tokens for c in own) / sum(c.seconds for c in own))
    return speeds


def _over(own: Sequence[Cell], plain: Sequence[Cell], task: str) -> float:
    pairs = zip(_speeds(own, task), _speeds(plain, task), strict=False)  # a peer may have ended
    return round(median(a / b for a, b in pairs), 2)


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """A table for each temperature and batch size."""
    parts = []
    for temperature, batch in dict.fromkeys((r["temperature"], r["batch"]) for r in rows):
        own = [r for r in rows if (r["temperature"], r["batch"]) == (temperature, batch)]
        tasks = list(own[0]["over_plain"])
        head = ["over plain", *tasks, "tokens/s", "tokens a call", "kept: 1st, 2nd, 4th", "texts"]
        lines = [
            f"## T = {temperature:g}, batch {batch}",
            "",
            _line(head),
            _line(["---"] * len(head)),
        ]
        for row in own:
            kept = ", ".join(f"{row['kept_by_position'][i]:.2f}" for i in (0, 1, 3))
            lines.append(
                _line(
                    [
                        row["method"],
                        *(f"{row['over_plain'][task]:.2f}" for task in tasks),
                        f"{row['tokens_per_second']:.1f}",
                        "-"
                        if row["tokens_per_target_call"] is None
                        else f"{row['tokens_per_target_call']:.2f}",
                        kept if row["tokens_per_target_call"] else "-",
                        "equal" if row["texts_equal"] else "differ",
                    ]
                )
            )
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def plot(rows: Sequence[dict[str, Any]], file: Any) -> None:
    """Speed over plain by task, a panel for each temperature and batch size; needs matplotlib."""
    from matplotlib.figure import Figure

    panels = list(dict.fromkeys((r["temperature"], r["batch"]) for r in rows))
    figure = Figure(figsize=(8, 2.4 * len(panels)), layout="constrained")
    for i, panel in enumerate(panels):
        axes = figure.add_subplot(len(panels), 1, i + 1)
        own = [r for r in rows if (r["temperature"], r["batch"]) == panel and r["method"] != PLAIN]
        tasks = list(own[0]["over_plain"])
        width = 0.8 / len(own)
        for j, row in enumerate(own):
            places = [k + j * width for k in range(len(tasks))]
            axes.bar(places, list(row["over_plain"].values()), width, label=row["method"])
        axes.axhline(1.0, color="black", linewidth=0.8)
        axes.set_xticks([k + 0.4 - width / 2 for k in range(len(tasks))], tasks, fontsize=8)
        axes.set(title=f"T = {panel[0]:g}, batch {panel[1]}", ylabel="over plain")
    figure.axes[0].legend(fontsize=8)
    figure.savefig(file, dpi=120)


def as_json(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Raw results."""
    return [asdict(cell) for cell in cells]
