"""`anydraft vocab A B`: where two vocabularies meet; `--export FILE A`: one for C++ services."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from anydraft import Vocabulary, VocabularyMap
from anydraft.cli.terminal import for_stdout, table
from anydraft.errors import InputError
from anydraft.hf_encoder import is_installed


def add(commands: Any) -> None:
    """Add the subcommand to a parser's subparsers."""
    parser = commands.add_parser(
        "vocab",
        help="the overlap of two vocabularies, or one exported for C++",
        description="The overlap of two vocabularies: byte strings on both sides, specials. With "
        "--export, one vocabulary and its encoder as a file that the C++ core maps.",
    )
    parser.add_argument(
        "vocabularies",
        nargs="+",
        metavar="PATH",
        help="folder, GGUF file, tokenizer.json, tekken.json, SentencePiece model, ranks or table",
    )
    parser.add_argument("--export", metavar="FILE", help="write the vocabulary to FILE")
    parser.add_argument("--kind", help="what the files are, where they do not say it: llama3, ...")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the overlap, or write the table."""
    names = args.vocabularies
    if len(names) != (1 if args.export else 2):
        wanted = "one vocabulary to export" if args.export else "two vocabularies"
        raise InputError(f"[vocab] expected {wanted}, got {len(names)}")
    vocabularies = [read(name, args.kind) for name in names]
    if args.export:
        return export(vocabularies[0], Path(args.export).expanduser())
    left, right = vocabularies
    both = VocabularyMap(left, right)
    rows = [["", "ids", "byte strings", "shared"]]
    for name, vocabulary in zip(names, vocabularies, strict=True):
        count = len(byte_strings(vocabulary))
        share = both.shared / count if count else 0.0
        rows.append([name, str(vocabulary.size), str(count), f"{share:.1%}"])
    print(table(rows))
    print(f"shared byte strings: {both.shared}")
    print(f"equal: {'yes' if left == right else 'no'}")
    pairs = counterparts(left, right, both)
    print(f"specials with a counterpart: {len(pairs)}")
    for mine, other in pairs:
        print(for_stdout(f"  {mine} = {other}"))
    return 0


def export(vocabulary: Vocabulary, file: Path) -> int:
    """Write the table and say how large it is."""
    vocabulary.export(file)
    print(f"{file}: {vocabulary.size} ids, {file.stat().st_size / 1e6:.1f} MB")
    return 0


def read(name: str, kind: str | None) -> Vocabulary:
    """The vocabulary of a folder or of a file."""
    return Vocabulary.from_file(Path(name).expanduser(), kind=kind, fallback=is_installed())


def byte_strings(vocabulary: Vocabulary) -> set[bytes]:
    """The distinct byte strings of ordinary tokens."""
    return {text for i in range(vocabulary.size) if (text := vocabulary.token_bytes(i))}


def counterparts(left: Vocabulary, right: Vocabulary, both: VocabularyMap) -> list[tuple[str, str]]:
    """Specials that mean the same, by their texts."""
    names = {token: text for text, token in right.specials.items()}
    pairs = ((text, both.to_target[token]) for text, token in left.specials.items())
    return [(text, names.get(other, str(other))) for text, other in pairs if other >= 0]
