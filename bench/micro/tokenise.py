"""Native tokenising against the libraries that own the vocabularies, one thread, in one run.

    python bench/micro/tokenise.py [--quick] [--only NAME ...] [--out FILE]

Pieces of 2 kB of prose and code, from Python to Python on both sides; the ids are compared before
anything is timed, and rounds of both sides alternate. Then the building of a map, and the bridging
of one round, beside what transformers does there. Writes bench/results/tokenise-<date>.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
BENCH = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(BENCH), str(BENCH / "e2e")]

import owners  # noqa: E402
import vocabularies  # noqa: E402
from packages import Unavailable, say  # noqa: E402
from report import machine  # noqa: E402

from anydraft import Vocabulary, VocabularyMap  # noqa: E402

PIECE = 2000  # bytes
# Byte-level tokenizer.json files that tiktoken can be given too.
TWINS = ("llama3", "gpt4o", "qwen3", "gpt35turbo")
WINDOW = 20  # tokens that transformers decodes and encodes again in a round
DRAFT = 8


def pieces(characters: int) -> list[str]:
    """Python's own library and its manual, half and half, cut into pieces of 2 kB."""
    import pydoc_data.topics

    folder = Path(json.__file__).parents[1]
    code = "".join(
        path.read_text("utf-8", "replace")
        for path in sorted(folder.glob("*.py"))[: characters // 10_000]
    )
    prose = "".join(pydoc_data.topics.topics.values())
    half = min(characters // 2, len(code), len(prose))
    return [text[at : at + PIECE] for text in (code, prose) for at in range(0, half - PIECE, PIECE)]


def alternate(sides: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each, their rounds in turn."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            start = time.perf_counter()
            side()
            times[name].append(time.perf_counter() - start)
    return {name: median(seconds) for name, seconds in times.items()}


def encoding(name: str, texts: list[str], rounds: int) -> dict[str, Any]:
    """MB/s of ours and of the owners, for one vocabulary."""
    ours = Vocabulary.from_file(vocabularies.fetch(name))
    libraries = {vocabularies.owner_name(name): owners.owner_of(name)}
    if name in TWINS:
        libraries["tiktoken"] = owners.tiktoken_twin(name)
    return {"family": vocabularies.family(name)} | race(name, ours, libraries, texts, rounds)


def unigram_twin(name: str, texts: list[str], rounds: int) -> dict[str, Any]:
    """The same for a SentencePiece model's pieces as a tokenizer.json."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        owners.write_unigram_twin(name, path)
        ours, library = Vocabulary.from_file(path), owners.TokenizersOwner(path)
    result = race(f"{name}'s twin", ours, {"tokenizers": library}, texts, rounds)
    return {"family": vocabularies.family(name)} | result


def race(
    name: str, ours: Vocabulary, libraries: dict[str, Any], texts: list[str], rounds: int
) -> dict[str, Any]:
    """Ids compared, then rounds of both sides in turn."""
    mine = [ours.encode_as_owner(text, specials=False) for text in texts]
    for library, owner in libraries.items():
        if owner.encode(texts) != mine:
            raise AssertionError(f"{name}: other ids than {library}'s")
    sides: dict[str, Callable[[], Any]] = {
        "anydraft": lambda: [ours.encode_as_owner(text, specials=False) for text in texts],
    }
    if ours.exact:
        sides["anydraft exact"] = lambda: [ours.encode(text) for text in texts]
    sides |= {lib: (lambda owner=owner: owner.encode(texts)) for lib, owner in libraries.items()}
    if "tokenizers" in libraries:
        one = libraries["tokenizers"].tokenizer
        sides["tokenizers, piece by piece"] = lambda: [
            one.encode(text, add_special_tokens=False).ids for text in texts
        ]
    seconds = alternate(sides, rounds)
    size = sum(len(text.encode()) for text in texts)
    result = {side: round(size / 1e6 / spent, 2) for side, spent in seconds.items()}
    ratios = {
        side: round(spent / seconds["anydraft"], 2)
        for side, spent in seconds.items()
        if not side.startswith("anydraft")
    }
    return {"MB/s": result, "times faster than": ratios}


def fast_tokenizer(name: str) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_file=str(vocabularies.fetch(name)))


def maps(draft: str, target: str, rounds: int) -> dict[str, Any]:
    """Building the map of two vocabularies."""
    from transformers.generation.candidate_generator import AssistantToTargetTranslator

    left, right = (Vocabulary.from_file(vocabularies.fetch(name)) for name in (draft, target))
    assistant, main = fast_tokenizer(draft), fast_tokenizer(target)
    seconds = alternate(
        {
            "anydraft": lambda: VocabularyMap(left, right),
            "transformers": lambda: AssistantToTargetTranslator(main, assistant, right.size),
        },
        rounds,
    )
    return {
        "shared": VocabularyMap(left, right).shared,
        "ms": {side: round(spent * 1e3, 2) for side, spent in seconds.items()},
        "times faster": round(seconds["transformers"] / seconds["anydraft"], 1),
    }


def bridging(draft: str, target: str, texts: list[str], rounds: int) -> dict[str, Any]:
    """One round: K drafted tokens into the target's, and what was kept back into the drafter's;
    beside it the window that transformers decodes and encodes again, both ways."""
    left, right = (Vocabulary.from_file(vocabularies.fetch(name)) for name in (draft, target))
    assistant, main = fast_tokenizer(draft), fast_tokenizer(target)
    starts = range(0, 200, 10)
    drafts = [ids[at : at + DRAFT] for ids in map(left.encode, texts[:20]) for at in starts]
    kept = [ids[at : at + DRAFT] for ids in map(right.encode, texts[:20]) for at in starts]
    windows = [ids[at : at + WINDOW] for ids in map(left.encode, texts[:20]) for at in starts]
    backs = [ids[at : at + WINDOW] for ids in map(right.encode, texts[:20]) for at in starts]

    def ours() -> None:
        for drafted, emitted in zip(drafts, kept, strict=True):
            right.encode(left.decode(drafted))
            left.encode(right.decode(emitted))

    def theirs() -> None:
        for window, back in zip(windows, backs, strict=True):
            main(assistant.decode(window), add_special_tokens=False)
            assistant(main.decode(back), add_special_tokens=False)

    seconds = alternate({"anydraft": ours, "transformers": theirs}, rounds)
    return {side: round(spent / len(drafts) * 1e6, 1) for side, spent in seconds.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="less text, fewer rounds")
    parser.add_argument("--only", nargs="+", choices=owners.NAMES, default=owners.NAMES)
    parser.add_argument("--out", type=Path, metavar="FILE", help="the JSON file")
    args = parser.parse_args()
    rounds = 3 if args.quick else 7
    texts = pieces(200_000 if args.quick else 800_000)
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
    where = machine() | {"threads": 1}
    where["versions"] |= {name: version(name) for name in ("tiktoken", "sentencepiece")}
    result: dict[str, Any] = {"date": date, "machine": where, "encoding": {}}
    for name in args.only:
        try:
            result["encoding"][name] = encoding(name, texts, rounds)
            say(f"{name}: {result['encoding'][name]}")
        except Unavailable as error:
            say(f"SKIPPED {name}: {error}")
    if "ai21" in result["encoding"]:
        twin = "ai21's pieces in a tokenizer.json"
        result["encoding"][twin] = unigram_twin("ai21", texts, rounds)
        say(f"{twin}: {result['encoding'][twin]}")
    if {"llama3", "qwen3"} <= {*args.only}:
        result["map llama3 x qwen3"] = maps("llama3", "qwen3", rounds)
        result["bridging a round, us"] = bridging("llama3", "qwen3", texts, rounds)
        say(str({key: result[key] for key in ("map llama3 x qwen3", "bridging a round, us")}))
    out = args.out or BENCH / "results" / f"tokenise-{date}{'-quick' if args.quick else ''}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    say(f"written to {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
