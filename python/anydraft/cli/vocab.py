"""`anydraft vocab A B`: where two vocabularies meet."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from anydraft import Vocabulary, VocabularyMap
from anydraft.cli.terminal import table


def add(commands: Any) -> None:
    """Add the subcommand to a parser's subparsers."""
    parser = commands.add_parser(
        "vocab",
        help="the overlap of two vocabularies",
        description="The overlap of two vocabularies: byte strings on both sides, specials.",
    )
    parser.add_argument("vocabularies", nargs=2, metavar="DIR", help="or a tokenizer.json")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the overlap."""
    names = args.vocabularies
    left, right = (read(name) for name in names)
    both = VocabularyMap(left, right)
    rows = [["", "ids", "byte strings", "shared"]]
    for name, vocabulary in zip(names, (left, right), strict=True):
        count = len(byte_strings(vocabulary))
        share = both.shared / count if count else 0.0
        rows.append([name, str(vocabulary.size), str(count), f"{share:.1%}"])
    print(table(rows))
    print(f"shared byte strings: {both.shared}")
    print(f"equal: {'yes' if left == right else 'no'}")
    pairs = counterparts(left, right, both)
    print(f"specials with a counterpart: {len(pairs)}")
    for mine, other in pairs:
        print(f"  {mine} = {other}")
    return 0


def read(name: str) -> Vocabulary:
    """The vocabulary of a folder or of a tokenizer.json."""
    path = Path(name).expanduser()
    return Vocabulary.from_file(path / "tokenizer.json" if path.is_dir() else path)


def byte_strings(vocabulary: Vocabulary) -> set[bytes]:
    """The distinct byte strings of ordinary tokens."""
    return {text for i in range(vocabulary.size) if (text := vocabulary.token_bytes(i))}


def counterparts(left: Vocabulary, right: Vocabulary, both: VocabularyMap) -> list[tuple[str, str]]:
    """Specials that mean the same, by their texts."""
    names = {token: text for text, token in right.specials.items()}
    pairs = ((text, both.to_target[token]) for text, token in left.specials.items())
    return [(text, names.get(other, str(other))) for text, other in pairs if other >= 0]
