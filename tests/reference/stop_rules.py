"""String-level rejection sampling with any stop rule: psi, in exact fractions.

A drafter's words are strings; END, where it has one, ends a text, and stands for a target token of
its own. A sequence is (words, characters that target tokens have said, mass). Timor et al.,
arXiv 2502.05202, section 4; the budget and further target tokens are as bridge/sequences.h has
them.
"""

from collections import Counter
from fractions import Fraction

from tests.reference.bridges import encode
from tests.reference.rows import norm

END = object()


def rest(sequence):
    words, said, _ = sequence
    return "".join(word for word in words if word is not END)[said:]


def first_token(sequence, tokens):
    """Id of the target token that what is left to say begins with; END's stands behind all."""
    text = rest(sequence)
    if text:
        try:
            return encode(text, tokens)[0]
        except ValueError:  # no token fits
            return None
    ended = bool(sequence[0]) and sequence[0][-1] is END
    return len(tokens) if ended else None


def unsaid_words(sequence):
    """How many words of a sequence have not been said in full."""
    words, said, _ = sequence
    ends = [len("".join(words[: i + 1])) for i in range(len(words))]
    return sum(end > said for end in ends)


def after_words(count):
    """The stop rule of so many drafter tokens."""
    return lambda sequence: unsaid_words(sequence) >= count


def grow(draft, words, sequences, stop, rows):
    """Sequences that stopped, by the rule or by the budget of rows."""
    spent = 0
    while spent < rows:
        live = [
            s
            for s in sequences
            if s[2] * rows >= 1 and not (s[0] and (s[0][-1] is END or (rest(s) and stop(s))))
        ]
        live.sort(key=lambda s: -s[2])
        together = [s for s in live if s[2] * 4 >= live[0][2]][: rows - spent]
        if not together:
            break
        sequences = [s for s in sequences if s not in together]
        for drawn, said, mass in together:
            for word, chance in zip(words, draft(drawn), strict=True):
                if chance > 0 and word != "":
                    sequences.append(((*drawn, word), said, mass * Fraction(chance)))
        spent += len(together)
    return sequences


def psi_after(draft, words, tokens, stop, rows, begun=()):
    """The law of the target token behind the drafted tokens `begun`, END's last; None: none."""
    sequences = [((), 0, Fraction(1))]
    for token in (*begun, None):
        sequences = grow(draft, words, sequences, stop, rows)
        firsts = [first_token(s, tokens) for s in sequences]
        if token is None:
            break
        size = len(tokens[token])
        kept = [s for s, first in zip(sequences, firsts, strict=True) if first == token]
        total = sum(s[2] for s in kept)
        sequences = [(drawn, said + size, mass / total) for drawn, said, mass in kept]
    law = Counter()
    for first, sequence in zip(firsts, sequences, strict=True):
        if first is not None:
            law[first] += sequence[2]
    return norm([law[token] for token in range(len(tokens) + 1)]) if law else None
