"""Tries every decoder and encoder-decoder class of transformers and writes docs/status/models.md.

    python tools/model_table.py [--write] [CLASS ...]

Each class gets a tiny random model; its greedy text under speculation must be that of `generate`,
or the model must be refused with the reason. Exits with 1 where a class is accepted and wrong.
"""

from __future__ import annotations

import argparse
import re
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
import transformers  # noqa: E402

from anydraft import InputError  # noqa: E402
from tests.models import play, tiny  # noqa: E402

SECONDS = 60  # for one class
WAYS = ("plain", "lookup", "draft", "itself", "tree")


def tried(name: str, kind: str) -> tuple[str, Any]:
    """("right", {way: ...}), ("refused", why), ("not tried", why) or ("wrong", how)."""
    try:
        model, other = tiny.build(name, kind), tiny.build(name, kind, seed=1)
    except Exception as failure:
        return "not tried", f"{type(failure).__name__}: {failure}"
    try:
        return "right", play.results(model, other)
    except play.NotTried as failure:
        return "not tried", str(failure)
    except InputError as refusal:
        return "refused", str(refusal)
    except Exception as failure:
        return "wrong", f"{type(failure).__name__}: {failure}"


def all_tried(classes: dict[str, str]) -> Iterator[tuple[str, str, Any]]:
    """(class, verdict, what there is to say) of each."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"longer than {SECONDS} s")

    signal.signal(signal.SIGALRM, stop)
    for name, kind in sorted(classes.items()):
        signal.alarm(SECONDS)
        verdict, said = tried(name, kind)
        signal.alarm(0)
        print(f"{verdict:10} {name}", flush=True)
        yield name, verdict, said


def short(text: str) -> str:
    """A reason in one line, without what is the same in all."""
    text = re.sub(r"\s+", " ", text).removeprefix("[HfModel] expected ")
    text = re.sub(
        r"^a model that gives the same .*?, got \w+ \(", "cache and no cache differ (", text
    )
    return text[:200].replace("|", "/")


def document(rows: list[tuple[str, str, Any]]) -> str:
    """The page."""
    right = [(name, said) for name, verdict, said in rows if verdict == "right"]
    lines = [
        "# Which models work",
        "",
        f"Written by tools/model_table.py with transformers {transformers.__version__}: every "
        "class that it lists for causal, text-to-text and speech-to-text models, as a tiny random "
        f"model. {len(right)} of {len(rows)} classes decode greedily to the very ids of "
        "`generate`, plain, with drafts from lookup, from another model of the class (draft) and "
        "from the model itself (all accepted), two requests at a time; where the model's own "
        "forward pass takes the mask, with trees of drafts. Zamba-2 and Nemotron-H compute single "
        "tokens otherwise than several; their text is that of passes without a cache. The other "
        "classes are refused with the reason, gave another text (wrong), or could not be tried.",
        "",
        "| class | " + " | ".join(WAYS) + " |",
        "|---|" + "---|" * len(WAYS),
    ]
    for name, said in right:
        marks = ["yes" if said.get(way) == "right" else "chains only" for way in WAYS]
        lines.append(f"| {name} | " + " | ".join(marks) + " |")
    for title, wanted in (("Refused", "refused"), ("Wrong", "wrong"), ("Not tried", "not tried")):
        found = [(name, said) for name, verdict, said in rows if verdict == wanted]
        if found:
            lines += ["", f"## {title}", "", "| class | why |", "|---|---|"]
            lines += [f"| {name} | {short(said)} |" for name, said in found]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Tries, reports, and returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("classes", nargs="*", help="default: all")
    parser.add_argument("--write", action="store_true", help="docs/status/models.md")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(1)  # two wait for each other longer than these models take
    classes = {**tiny.causal_classes(), **tiny.encoder_decoder_classes()}
    if args.classes:
        classes = {name: classes[name] for name in args.classes}
    rows = list(all_tried(classes))
    page = document(rows)
    if args.write:
        (ROOT / "docs" / "status").mkdir(parents=True, exist_ok=True)
        (ROOT / "docs" / "status" / "models.md").write_text(page, encoding="utf-8")
    if not any(row[1] == "right" for row in rows):
        print("NOTHING was right: no class could be tried")
        return 1
    wrong = [row for row in rows if row[1] == "wrong"]
    for name, _, said in wrong:
        print(f"WRONG {name}: {said[:300]}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
