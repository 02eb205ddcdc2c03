"""Seconds of psi (string-level rejection sampling) against a plain scatter-add of the same row.

python bench/micro/psi.py [TARGET DRAFTER]    tokenizer.json files; default: made-up vocabularies
"""

import random
import sys
from collections import Counter

import numpy as np

from anydraft import SamplingParams, Vocabulary, _core


def made_up(size: int, seed: int) -> Vocabulary:
    """Byte strings as vocabularies have them: all bytes, then ever longer words."""
    rng = random.Random(seed)
    words = [bytes([i]) for i in range(256)]
    known = set(words)
    while len(words) < size:
        word = rng.choice(words) + rng.choice(words[:256])
        if word not in known:
            known.add(word)
            words.append(word)
    ids = {word: i for i, word in enumerate(words)}

    def encode(text: str) -> list[int]:
        data, out = text.encode(), []
        while data:
            end = next(e for e in range(min(len(data), 16), 0, -1) if data[:e] in ids)
            out.append(ids[data[:end]])
            data = data[end:]
        return out

    return Vocabulary.from_bytes(words, encoder=encode)


def main() -> None:
    if len(sys.argv) == 3:
        target, drafter = (Vocabulary.from_file(path) for path in sys.argv[1:])
    else:
        target, drafter = made_up(128_000, 0), made_up(150_000, 1)
    table = _core.VocabularyMapTable(drafter.table, target.table)
    token_trie = _core.DraftTokenTrie(drafter.table, target.table, table)
    lengths = Counter(
        len(token_trie.of(i)) for i in range(0, drafter.size, max(1, drafter.size // 500))
    )
    print(f"drafter {drafter.size} tokens, target {target.size}, shared {table.shared}")
    print(f"target tokens that a drafter token spells, of 500: {sorted(lengths.items())}")
    row = np.random.default_rng(0).standard_normal((1, drafter.size), np.float32) * 3
    for params in (SamplingParams(), SamplingParams(temperature=0.6, top_p=0.95)):
        runs = [
            _core.testing.time_psi(token_trie, row, params, target.size, 3)[:2] for _ in range(100)
        ]
        psi, plain = (min(run[i] for run in runs) * 1e6 for i in range(2))
        print(f"{params}: psi {psi:.0f} us, plain scatter-add {plain:.0f} us: {psi / plain:.2f} x")


if __name__ == "__main__":
    main()
