"""The main job on a real model: SmolLM2's greedy text is the same with and without drafts."""

import sys
from pathlib import Path

import pytest
import torch
from ties import same_but_for_ties

from anydraft import SamplingParams, SpeculativeSession, Vocabulary, VocabularyMap, hf

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
import models

GREEDY = SamplingParams(temperature=0)
PROMPTS = [
    "Write a Python function that returns the n-th Fibonacci number.",
    "Repeat this sentence three times: the cat sat on the mat and looked at the moon.",
    "List the first ten prime numbers, separated by commas.",
    "Explain in simple words why the sky is blue.",
    "Translate 'good morning, how are you?' into French, German and Spanish.",
    "def binary_search(values, target):\n    # Complete this function.",
    "Write a haiku about the sea. 🌊",
    "Give me a JSON object with the keys name, age and city.",
    "Count from 1 to 20.",
    "What is the difference between a list and a tuple?",
]


@pytest.fixture(scope="module")
def smollm2():
    try:
        folder = models.fetch("smollm2-135m")
    except models.Unavailable as error:
        pytest.skip(f"SmolLM2 cannot be had: {error}")
    return hf.load(folder, pack=True)


def test_greedy_text_is_that_of_plain_decoding(smollm2):
    equal = 0
    for text in PROMPTS:
        prompt = smollm2.chat([{"role": "user", "content": text}])
        plain = SpeculativeSession(smollm2, None, sampling=GREEDY)
        drafted = SpeculativeSession(smollm2, "lookup", draft_length=6, sampling=GREEDY)
        expected = plain.generate(prompt, max_tokens=64)
        got = drafted.generate(prompt, max_tokens=64)
        assert got.stats.target_calls <= expected.stats.target_calls
        equal += same_but_for_ties(smollm2, prompt, expected.tokens, got.tokens)
    assert equal >= 9


def test_the_engine_says_what_transformers_says(smollm2):
    prompt = smollm2.chat([{"role": "user", "content": PROMPTS[0]}])
    ours = SpeculativeSession(smollm2, None, sampling=GREEDY).generate(prompt, max_tokens=24)
    theirs = smollm2.model.generate(
        torch.tensor([prompt]), max_new_tokens=24, do_sample=False, pad_token_id=0
    )[0, len(prompt) :].tolist()
    assert same_but_for_ties(smollm2, prompt, theirs[: len(ours.tokens)], ours.tokens)


def test_seeded_text_with_lookup_is_that_of_plain_decoding(smollm2):
    prompt = smollm2.chat([{"role": "user", "content": PROMPTS[1]}])
    params = SamplingParams(temperature=0.8, top_p=0.95, seed=11)
    texts = {
        SpeculativeSession(smollm2, drafter, sampling=params).generate(prompt, max_tokens=48).text
        for drafter in (None, "lookup")
    }
    assert len(texts) == 1


def test_its_vocabulary_against_an_independent_count(smollm2):
    """MODELS.md: 49135 ordinary byte strings; the owner's encoder gives the same ids."""
    vocabulary: Vocabulary = smollm2.vocabulary
    assert VocabularyMap(vocabulary, vocabulary).shared == 49135
    for text in PROMPTS:
        assert vocabulary.encode(text) == smollm2.tokenizer(text).input_ids


@pytest.mark.parametrize("params", [GREEDY, SamplingParams(temperature=0.8, top_p=0.95, seed=3)])
def test_several_requests_give_what_each_gives_alone(smollm2, params):
    prompts = [smollm2.chat([{"role": "user", "content": text}]) for text in PROMPTS[:4]]
    session = SpeculativeSession(smollm2, "lookup", draft_length=5)
    options = {"max_tokens": 24, "sampling": [params] * len(prompts)}
    together = session.generate(prompts, **options)
    alone = session.generate(prompts, **options, batch_size=1)
    assert [g.tokens for g in together] == [g.tokens for g in alone]


def test_a_penalty_does_what_transformers_does_with_it(smollm2):
    prompt = smollm2.chat([{"role": "user", "content": PROMPTS[1]}])
    options = {"max_tokens": 24, "sampling": GREEDY.replace(repetition_penalty=1.2)}
    theirs = smollm2.model.generate(
        torch.tensor([prompt]),
        max_new_tokens=24,
        do_sample=False,
        pad_token_id=0,
        repetition_penalty=1.2,
    )[0, len(prompt) :].tolist()
    for drafter in (None, "lookup"):
        ours = SpeculativeSession(smollm2, drafter).generate(prompt, **options)
        assert ours.tokens == theirs[: len(ours.tokens)] and len(ours.tokens) > 10
    plain = SpeculativeSession(smollm2).generate(prompt, max_tokens=24, sampling=GREEDY)
    assert plain.tokens != ours.tokens
