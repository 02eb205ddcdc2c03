"""Real models of different families draft for each other: greedy text is that of plain decoding."""

import functools
import sys
from pathlib import Path

import pytest
from ties import same_but_for_ties

from anydraft import SamplingParams, SpeculativeSession, hf

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
import models

GREEDY = SamplingParams(temperature=0)
# Texts to go on with: code, prose with digits, another script; one of the models is no chat model.
PROMPTS = [
    'def fibonacci(n):\n    """Return the n-th Fibonacci number."""\n',
    "The first ten prime numbers are 2, 3, 5, 7,",
    "In French one says « naïve café », in Japanese こんにちは 🌊, and in English",
]
# Target and drafter. smollm2 and qwen have byte-level BPEs of their own, gemma a SentencePiece one.
PAIRS = [
    ("smollm2-135m", "gemma3-270m"),
    ("gemma3-270m", "smollm2-135m"),
    ("gemma3-270m", "qwen2.5-coder-1.5b"),
    ("qwen2.5-coder-1.5b", "gemma3-270m"),
    ("qwen2.5-coder-1.5b", "smollm2-135m"),
]


@functools.cache
def model_of(name):
    try:
        return hf.load(models.fetch(name), pack=True)
    except models.Unavailable as error:
        return pytest.skip(f"!!!! {name} cannot be had: {error}")


@pytest.mark.slow
@pytest.mark.parametrize("bridge", ["tli", "slem"])
@pytest.mark.parametrize("target, drafter", PAIRS)
def test_greedy_text_is_that_of_plain_decoding(target, drafter, bridge):
    target, drafter = model_of(target), model_of(drafter)
    equal = accepted = 0
    for text in PROMPTS:
        prompt = [*target.vocabulary.prefix, *target.vocabulary.encode(text)]
        plain = SpeculativeSession(target, None, sampling=GREEDY)
        drafted = SpeculativeSession(
            target, drafter, bridge=bridge, draft_length=4, sampling=GREEDY
        )
        expected = plain.generate(prompt, max_tokens=32)
        got = drafted.generate(prompt, max_tokens=32)
        accepted += got.stats.accepted
        equal += same_but_for_ties(target, prompt, expected.tokens, got.tokens)
    assert equal >= len(PROMPTS) - 1 and accepted > 15
