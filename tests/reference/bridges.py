"""Draft distributions of a drafter with another vocabulary, as distributions over target tokens.

TLI: token-level intersection. SLRS: string-level rejection sampling (psi). Both from Timor et al.,
arXiv 2502.05202. A drafter's token is its text here; a target tokeniser takes the longest match.
"""

from collections import Counter

from tests.reference.rows import norm


def tli_row(probs, to_target, vocab):
    """The drafter's distribution on the shared tokens, by target id (-1: not shared), or None if
    empty.

    Masses of drafter ids that carry the same token are summed.
    """
    row = [probs[0] * 0] * vocab
    for mass, token in zip(probs, to_target, strict=True):
        if token >= 0:
            row[token] += mass
    return norm(row) if any(row) else None


def encode(text, tokens):
    """Ids of the longest matches from the left."""
    ids = []
    while text:
        match = max((t for t in tokens if text.startswith(t)), key=len)
        ids.append(tokens.index(match))
        text = text[len(match) :]
    return ids


def psi(stopped, tokens, begun=()):
    """The distribution of the next target token of what is drafted, given that it begins so and
    goes on.

    stopped: {text: probability}; begun: target tokens.
    """
    distribution = Counter()
    for text, mass in stopped.items():
        spelled = tuple(encode(text, tokens))
        if spelled[: len(begun)] == begun and len(spelled) > len(begun):
            distribution[spelled[len(begun)]] += mass
    return norm([distribution[token] for token in range(len(tokens))])


def texts_of(draft, words, stop):
    """{text: probability} of draws that end when stop(drawn words) says so."""
    texts, open_draws = Counter(), {(): 1}
    while open_draws:
        longer = {}
        for drawn, mass in open_draws.items():
            for word, chance in zip(words, draft(drawn), strict=True):
                if chance == 0:
                    continue
                grown = (*drawn, word)
                if stop(grown):
                    texts["".join(grown)] += mass * chance
                else:
                    longer[grown] = mass * chance
        open_draws = longer
    return texts
