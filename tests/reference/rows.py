"""Rows of masses by token id: lists of Fractions. Every function takes floats as well.

Arithmetic starts from the ints 0 and 1, so a Fraction stays a Fraction.
"""

import random
from fractions import Fraction


def delta(token, vocab):
    """All mass on one token."""
    return [Fraction(int(i == token)) for i in range(vocab)]


def norm(row):
    total = sum(row)
    return [mass / total for mass in row]


def without(row, gone):
    """The row with the tokens of `gone` set to zero; not renormalised."""
    return [row[0] * 0 if token in gone else mass for token, mass in enumerate(row)]


def relu_minus(row, other):
    """relu(row - other), token by token; not renormalised."""
    return [max(a - b, 0) for a, b in zip(row, other, strict=True)]


def scaled(factor, row):
    return [factor * mass for mass in row]


def overlap(row, other):
    """Sum of the token-wise minima: one minus the total variation of two distributions."""
    return sum(min(a, b) for a, b in zip(row, other, strict=True))


def argmax(row):
    """Ties go to the lowest id."""
    return max(range(len(row)), key=lambda token: (row[token], -token))


def random_row(rng, vocab, *, zeros=0.3, most=5):
    """A distribution with small numerators, so that ties and zeros are frequent."""
    row = [0 if rng.random() < zeros else rng.randint(1, most) for _ in range(vocab)]
    if not any(row):
        row[rng.randrange(vocab)] = 1
    return norm([Fraction(mass) for mass in row])


def random_model(seed, vocab, **options):
    """A distribution for every prefix: each drawn once, from the seed and the prefix alone."""
    known = {}

    def model(prefix):
        if prefix not in known:
            rng = random.Random(f"{seed} {prefix}")
            known[prefix] = random_row(rng, vocab, **options)
        return known[prefix]

    return model
