"""Texts that tokenisers disagree about, by a seed: scripts, joined emoji, marks, runs, code."""

import inspect
import pydoc_data.topics
import random
import textwrap

SCRIPTS = [
    (0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x24F), (0x250, 0x2FF), (0x370, 0x3FF), (0x400, 0x52F),
    (0x531, 0x587), (0x591, 0x5F4), (0x600, 0x6FF), (0x700, 0x74F), (0x780, 0x7B1), (0x7C0, 0x7FA),
    (0x901, 0x97F), (0x981, 0x9FE), (0xA01, 0xA76), (0xB82, 0xBFA), (0xC00, 0xC7F), (0xD00, 0xD7F),
    (0xD81, 0xDF4), (0xE01, 0xE5B), (0xE81, 0xEDF), (0xF00, 0xFDA), (0x1000, 0x109F),
    (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x139F), (0x13A0, 0x13FD), (0x1400, 0x167F),
    (0x1780, 0x17F9), (0x1800, 0x18AA), (0x1D00, 0x1DBF), (0x1E00, 0x1FFE), (0x2C00, 0x2D2D),
    (0x3041, 0x30FF), (0x3105, 0x318E), (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0xA000, 0xA48C),
    (0xA640, 0xA7FF), (0xAB30, 0xAB6F), (0xAC00, 0xD7A3), (0xF900, 0xFAD9), (0xFB00, 0xFDFF),
    (0xFE70, 0xFEFC), (0xFF01, 0xFFEE), (0x10000, 0x100FA), (0x10330, 0x1034A), (0x10400, 0x1044F),
    (0x118A0, 0x118DF), (0x11000, 0x11FFF), (0x12000, 0x123FF), (0x13000, 0x1342F),
    (0x16E40, 0x16E9A), (0x1BC00, 0x1BC9F), (0x1D165, 0x1D1E8), (0x1D400, 0x1D7FF),
    (0x1E900, 0x1E95F), (0x1F100, 0x1F251), (0x20000, 0x2A6DF), (0x2F800, 0x2FA1D),
    (0x31350, 0x323AF),
]  # fmt: skip
LETTERS = "etaoinshrdlucmfwypvbgkjqxz"
SPACES = (
    " \t\n\r\x0b\x0c\x1c\x1f\x85\xa0\u1680\u2000\u2003\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
CONTROLS = [
    *map(chr, range(0x20)),
    *map(chr, range(0x7F, 0xA0)),
    *"\xad\u034f\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u202a\u202e\u2060\u2064\u2066\u206f",
    *"\ufeff\ufffc\ufffd\ufffe\uffff\ue000\uf8ff",
    *"\U000e0001\U000e0041\U000e007f\U000e0100\U000f0000\U0010ffff",
]
MARKS = [
    *range(0x300, 0x370), *range(0x1AB0, 0x1ACF), *range(0x1DC0, 0x1E00), *range(0x20D0, 0x20F1),
    *range(0xFE20, 0xFE30), *range(0x591, 0x5BE), *range(0x64B, 0x660), 0x93C, 0x94D, 0x9BC,
    0xE38, 0xE48, 0xF71, 0xF72, 0x302A, 0x3099, 0x309A, 0x1D165, 0x1D16E,
]  # fmt: skip
EMOJI = [*range(0x1F300, 0x1F650), *range(0x1F680, 0x1F6FD), *range(0x1F900, 0x1FA00),
         *range(0x1FA70, 0x1FAF9), *range(0x2600, 0x27C0), 0x231A, 0x2B50, 0x1F0CF]  # fmt: skip
TYPED = [
    "</s>", "<s>", "<unk>", "<pad>", "<0x41>", "<0xE2>", "▁", "▁▁the", "Ġ", "Ċ", "Ã©", "<|im_end|>",
    "<|endoftext|>", "<|eot_id|>", "[UNK]", "[MASK]", "##ing", "<end_of_turn>", "<EOT>", "�",
    "<|begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "[INST]", "<think>", "\n\nHuman:", "META",
]  # fmt: skip
CONTRACTIONS = [
    "'s",
    "'S",
    "'t",
    "'re",
    "'RE",
    "'ve",
    "'m",
    "'ll",
    "'LL",
    "'d",
    "'ſ",
    "’s",
    "'",
    "''",
]
PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~¡«»¿–—‘’“”…。、「」！？·‧※€£¥±×÷∀∑≈①Ⅷ½²ªº"


def _code():
    import argparse
    import asyncio.base_events
    import datetime
    import decimal
    import typing

    modules = (argparse, asyncio.base_events, datetime, typing, decimal, inspect, random, textwrap)
    return [source for module in modules if (source := inspect.getsource(module))]


CODE = _code()
PROSE = list(pydoc_data.topics.topics.values())


def _from(rng, ranges):
    low, high = rng.choice(ranges)
    return [chr(rng.randint(low, high)) for _ in range(rng.randint(1, 9))]


def words(rng):
    """Words of one script, now and then capitalised, with spaces or punctuation between."""
    span = [rng.choice(SCRIPTS)] if rng.random() < 0.7 else SCRIPTS
    made = ["".join(_from(rng, span)) for _ in range(rng.randint(1, 8))]
    made = [rng.choice((str, str.upper, str.title, str.lower))(word) for word in made]
    return rng.choice((" ", " ", "  ", "", ", ", "-", "\n", "\u3000")).join(made)


def latin(rng):
    made = []
    for _ in range(rng.randint(1, 10)):
        word = "".join(rng.choice(LETTERS) for _ in range(rng.randint(1, 8)))
        end = rng.choice(CONTRACTIONS) if rng.random() < 0.3 else ""
        made.append(rng.choice((str, str, str.upper, str.title))(word + end))
    return " ".join(made)


def runs(rng):
    """One sign, or a few, many times over: spaces, digits, newlines, punctuation."""
    kinds = (
        " ",
        " ",
        "\n",
        "\r\n",
        "\t",
        "0123456789",
        "9",
        "=",
        "-",
        "a",
        "٠١٢",
        "０１２",
        "²½Ⅷ",
        SPACES,
    )
    signs = rng.choice(kinds)
    count = int(rng.expovariate(0.1)) + 1
    return "".join(rng.choice(signs) for _ in range(count)) if len(signs) > 2 else signs * count


def emoji(rng):
    def one():
        sign = chr(rng.choice(EMOJI))
        if rng.random() < 0.3:
            sign += chr(rng.randint(0x1F3FB, 0x1F3FF))
        if rng.random() < 0.3:
            sign += "\ufe0f"
        return sign

    flag = "".join(chr(rng.randint(0x1F1E6, 0x1F1FF)) for _ in range(rng.randint(1, 4)))
    keycap = rng.choice("0123456789#*") + "\ufe0f\u20e3"
    joined = "\u200d".join(one() for _ in range(rng.randint(1, 4)))
    return rng.choice((flag, keycap, joined, joined, joined * 3, "\u200d" + one()))


def marked(rng):
    signs = []
    for _ in range(rng.randint(1, 6)):
        signs.append(_from(rng, SCRIPTS)[0] if rng.random() < 0.4 else rng.choice("aeiounAEO \n1"))
        signs += [chr(rng.choice(MARKS)) for _ in range(rng.choice((0, 1, 1, 2, 3, 6)))]
    return "".join(signs)


def hangul(rng):
    """Jamo, which compose."""
    return "".join(
        chr(rng.choice((rng.randint(0x1100, 0x1112), rng.randint(0x1161, 0x1175),
                        rng.randint(0x11A8, 0x11C2), rng.randint(0xAC00, 0xD7A3))))
        for _ in range(rng.randint(1, 12))
    )  # fmt: skip


def controls(rng):
    return "".join(rng.choice([*CONTROLS, " ", "a", "\n"]) for _ in range(rng.randint(1, 8)))


def anything(rng):
    signs = (rng.randrange(0x110000) for _ in range(rng.randint(1, 8)))
    return "".join(chr(sign) for sign in signs if not 0xD800 <= sign < 0xE000)


def _part_of(rng, texts):
    text = rng.choice(texts)
    at = rng.randrange(max(len(text) - 10, 1))
    return text[at : at + rng.randint(1, 300)]


def code(rng):
    return _part_of(rng, CODE)


def prose(rng):
    return _part_of(rng, PROSE)


def punctuated(rng):
    return "".join(rng.choice(PUNCTUATION) for _ in range(rng.randint(1, 6)))


def typed(rng):
    return rng.choice(TYPED)


FRAGMENTS = (words, words, latin, runs, emoji, marked, hangul, controls, anything, code, prose,
             punctuated, typed)  # fmt: skip


def text_of(rng, own_tokens=()):
    """A text of some fragments; `own_tokens` are texts of the vocabulary under test."""
    made = []
    for _ in range(rng.randint(1, 5)):
        if own_tokens and rng.random() < 0.2:
            made.append("".join(rng.choices(own_tokens, k=rng.randint(1, 20))))
        else:
            made.append(rng.choice(FRAGMENTS)(rng))
    return rng.choice(("", "", " ", "\n")).join(made)


def texts_of(seed, characters, own_tokens=()):
    """Texts that come to at least `characters` in all."""
    rng = random.Random(seed)
    texts, count = [], 0
    while count < characters:
        texts.append(text_of(rng, own_tokens))
        count += len(texts[-1])
    return texts


def code_points(step=1, start=0):
    """Every code point that can stand in a text, alone."""
    return [chr(i) for i in range(start, 0x110000, step) if not 0xD800 <= i < 0xE000]


def in_context(signs, size=48):
    """The same between letters, spaces and digits, where their class decides; many in one text."""
    return [
        "".join(f"a{sign}b {sign}{sign} 1{sign}\n" for sign in signs[at : at + size])
        for at in range(0, len(signs), size)
    ]


def shrunk(text, fails):
    """A shorter text that fails too: none of its characters can go."""
    size = len(text) // 2
    while size:
        at = 0
        while at < len(text):
            shorter = text[:at] + text[at + size :]
            if shorter and fails(shorter):
                text = shorter
            else:
                at += size
        size //= 2
    return text
