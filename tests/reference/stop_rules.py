"""String-level rejection sampling with any stop rule: psi, in exact fractions.

`words` are the drafter's tokens as texts; END, where it has one, ends a text and stands for a
target token of its own; "" says nothing. A sequence is (word numbers, characters of it that target
tokens have said, mass). Timor et al., arXiv 2502.05202, algorithm 3; the budget, and the tokens
behind the first, are as cpp/src/bridge/sequences.h has them.
"""

from collections import Counter
from fractions import Fraction

from tests.reference.bridges import encode
from tests.reference.rows import norm

END = None


class Sequences:
    def __init__(self, draft, words, tokens, stop, rows):
        """draft(word numbers) -> masses [words]; stop(texts not said in full yet) -> bool."""
        self.draft, self.words, self.tokens = draft, words, tokens
        self.stop, self.rows = stop, rows

    def rest(self, sequence):
        numbers, said, _ = sequence
        return "".join(self.words[i] or "" for i in numbers)[said:]

    def ended(self, sequence):
        return bool(sequence[0]) and self.words[sequence[0][-1]] is END

    def stopped(self, sequence):
        numbers, said, _ = sequence
        if self.ended(sequence):
            return True
        ends = [sum(len(self.words[j]) for j in numbers[: i + 1]) for i in range(len(numbers))]
        unsaid = [self.words[i] for i, end in zip(numbers, ends, strict=True) if end > said]
        return bool(unsaid) and self.stop(unsaid)

    def first_token(self, sequence):
        text = self.rest(sequence)
        if text:
            return encode(text, self.tokens)[0]
        return len(self.tokens) if self.ended(sequence) else None  # END's id is the last

    def grown(self, sequences):
        """As far as the rule lets them go on, or the budget of rows does."""
        spent = 0
        while spent < self.rows:
            live = [s for s in sequences if s[2] * self.rows >= 1 and not self.stopped(s)]
            live.sort(key=lambda s: -s[2])
            asked = [s for s in live if s[2] * 4 >= live[0][2]][: self.rows - spent]
            if not asked:
                break
            spent += len(asked)
            sequences = [s for s in sequences if s not in asked]
            for numbers, said, mass in asked:
                for i, chance in enumerate(self.draft(numbers)):
                    if chance > 0 and self.words[i] != "":
                        sequences.append(((*numbers, i), said, mass * chance))
        return sequences

    def psi(self, begun=()):
        """The distribution of the target token behind the drafted tokens `begun`; END's comes
        last.
        """
        sequences = self.grown([((), 0, Fraction(1))])
        for token in begun:
            kept = [s for s in sequences if self.first_token(s) == token]
            total, size = sum(s[2] for s in kept), len(self.tokens[token])
            sequences = self.grown([(i, said + size, mass / total) for i, said, mass in kept])
        distribution = Counter()
        for sequence in sequences:
            distribution[self.first_token(sequence)] += sequence[2]
        return norm([distribution[token] for token in range(len(self.tokens) + 1)])
