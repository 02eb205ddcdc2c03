"""Writes cpp/src/vocab/unicode_tables.inc: what `tokenizers` knows about each code point.

The tables are measured on the library itself, one code point at a time, because its parts follow
different editions of Unicode (0.23.3: regex classes 16.0, normalisation about 12.0, punctuation
older still), and ids can equal the owner's only with the owner's tables. tiktoken 0.12 agrees with
the regex classes on every code point.

    python tools/unicode_tables.py > cpp/src/vocab/unicode_tables.inc
"""

from __future__ import annotations

import io
import sys
import tempfile
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

import sentencepiece
import tokenizers
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, normalizers, pre_tokenizers

CATEGORIES = (
    "Cn Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co Cs"
).split()
POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
HANGUL = range(0xAC00, 0xAC00 + 11172)
NFC, NFD, NFKD = (getattr(normalizers, n)().normalize_str for n in ("NFC", "NFD", "NFKD"))


def rows(name: str, kind: str, numbers: Iterable[object]) -> None:
    print(f"[[maybe_unused]] constexpr {kind} {name}[] = {{")
    line = "   "
    for number in numbers:
        if len(line) + len(str(number)) + 2 > 100:
            print(line)
            line = "   "
        line += f" {number},"
    print(f"{line}\n}};")


def ranges(name: str, member: Callable[[int], bool]) -> None:
    """First points of runs, alternately inside and outside the set."""
    ends, inside = [], False
    for point in POINTS:
        if member(point) != inside:
            inside = not inside
            ends.append(point)
    rows(name, "uint32_t", ends)


def splits(pre_tokenizer: pre_tokenizers.PreTokenizer) -> Callable[[int], bool]:
    return lambda c: len(pre_tokenizer.pre_tokenize_str(f"a{chr(c)}b")) > 1


def becomes(normalizer: normalizers.Normalizer, what: str) -> Callable[[int], bool]:
    return lambda c: normalizer.normalize_str(chr(c)) == what


def bert(**flags: bool) -> normalizers.Normalizer:
    off = dict.fromkeys(("clean_text", "handle_chinese_chars", "strip_accents", "lowercase"), False)
    return normalizers.BertNormalizer(**{**off, **flags})


def categories() -> list[int]:
    table = [0] * 0x110000
    for index, name in enumerate(CATEGORIES):
        if name not in ("Cs", "Cn"):
            erase = normalizers.Replace(Regex(rf"\p{{{name}}}"), "")
            for point in POINTS:
                if erase.normalize_str(chr(point)) == "":
                    table[point] = index
    return table


def decompositions(normal: Callable[[str], str], usual: Callable[[str], str]) -> list[int]:
    """point, count, points … for each point whose form differs from the usual one."""
    flat: list[int] = []
    for point in POINTS:
        form = normal(chr(point))
        if point not in HANGUL and form != usual(chr(point)):
            flat += [point, len(form), *map(ord, form)]
    return flat


def compositions() -> list[int]:
    flat = []
    for point in POINTS:
        parts = unicodedata.decomposition(chr(point)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            first, second = (int(part, 16) for part in parts)
            if NFC(chr(first) + chr(second)) == chr(point):
                flat.append((first, second, point))
    return [number for triple in sorted(flat) for number in triple]


def combining_classes() -> list[int]:
    """Runs: first point, class. U+0345 has the highest class (240) and moves behind all others."""
    flat, last = [], 0
    for point in POINTS:
        known = point == 0x345 or NFD(f"\u0345{chr(point)}") == f"{chr(point)}\u0345"
        now = unicodedata.combining(chr(point)) if known else 0
        if now != last:
            flat += [point, now]
            last = now
    return flat


def lower_cases() -> list[int]:
    lower = normalizers.Lowercase().normalize_str
    flat = []
    for point in POINTS:
        if len(form := lower(chr(point))) != 1 and point != 0x130:
            raise ValueError(f"expected one lower-case character, got {form!r} for {point:#x}")
        if ord(form[0]) != point and point != 0x130:
            flat += [point, ord(form)]
    return flat


def charsmap(rules: str) -> bytes:
    """SentencePiece's precompiled form of rules: points, a tab, what they become."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rules.tsv"
        file.write_text(rules)
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["a b c d e"] * 20),
            model_writer=model,
            vocab_size=9,
            normalization_rule_tsv=str(file),
            minloglevel=2,
        )
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model.getvalue())
    return proto.normalizer_spec.precompiled_charsmap


def clusters() -> None:
    """What makes grapheme clusters: seen from what the normaliser Precompiled takes as one."""
    lone = normalizers.Precompiled(charsmap("61\t5A\n")).normalize_str
    ranges("kClusterExtendRuns", lambda c: c > 127 and lone("a" + chr(c)) == "Z")
    # Two marks are one cluster where what stands before them takes none.
    mark = normalizers.Precompiled(charsmap("301\t5A\n")).normalize_str
    ranges(
        "kClusterAloneRuns",
        lambda c: c != 0x301 and mark(chr(c) + "\u0301\u0301").count("Z") == 1,
    )
    pair = normalizers.Precompiled(charsmap("61 301\t5A\n")).normalize_str
    ranges("kClusterPrependRuns", lambda c: c > 127 and "Z" not in pair(chr(c) + "a\u0301"))


def main() -> None:
    print("// Generated by tools/unicode_tables.py; do not edit.")
    print(f"// Measured on tokenizers {tokenizers.__version__}.")
    print(f"// Categories: {' '.join(f'{i} {n}' for i, n in enumerate(CATEGORIES[:15]))}")
    print(f"// {' '.join(f'{i + 15} {n}' for i, n in enumerate(CATEGORIES[15:]))}")
    table = categories()
    runs = [(c, table[c]) for c in range(0x110000) if c == 0 or table[c] != table[c - 1]]
    print("// Runs: first point << 5 | category.")
    rows("kCategoryRuns", "uint32_t", [c << 5 | k for c, k in runs])
    print("// Sets that are older than the categories: runs begin and end at these points.")
    ranges("kNumericRuns", splits(pre_tokenizers.Digits()))
    ranges("kPunctuationRuns", splits(pre_tokenizers.Punctuation()))
    ranges("kWordRuns", lambda c: not splits(pre_tokenizers.Whitespace())(c))
    ranges("kAccentRuns", becomes(normalizers.StripAccents(), ""))
    ranges("kBertAccentRuns", becomes(bert(strip_accents=True), ""))
    ranges("kBertRemovedRuns", becomes(bert(clean_text=True), ""))
    ranges("kBertSpaceRuns", becomes(bert(clean_text=True), " "))
    spaced = bert(handle_chinese_chars=True).normalize_str
    ranges("kBertCjkRuns", lambda c: len(spaced(chr(c))) == 3)
    clusters()
    print("// point, count, points …")
    rows("kCanonicalDecompositions", "uint32_t", decompositions(NFD, lambda c: c))
    rows("kCompatibilityDecompositions", "uint32_t", decompositions(NFKD, NFD))
    print("// first, second, composed; sorted.")
    rows("kCompositions", "uint32_t", compositions())
    print("// Runs: first point, combining class.")
    rows("kCombiningRuns", "uint32_t", combining_classes())
    print("// point, lower case; U+0130 becomes two and is left to the code.")
    rows("kLowerCases", "uint32_t", lower_cases())


if __name__ == "__main__":
    sys.exit(main())
