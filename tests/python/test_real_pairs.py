"""Greedy text across real vocabularies of different families is that of plain decoding."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from real import vocabulary_of

from anydraft import SamplingParams, SpeculativeSession

GREEDY = SamplingParams(temperature=0)
# Words that families cut differently: digits, runs of spaces, accents, scripts, joined emoji, code.
TEXT = (
    "def area(radius: float) -> float:\n    return 3.14159265 * radius ** 2  # r², naïve café\n\n\n"
    "In 2026, about 1234567 people said “hello”;   some wrote 你好世界, こんにちは, привет мир, "
    "مرحبا بالعالم or 안녕하세요 👩‍👩‍👧‍👦🇩🇪 — don't they'LL?\t\tx = [i for i in range(10)]\n"
).encode() * 2
PAIRS = [
    ("qwen3", "llama2"),
    ("llama3", "gemma3"),
    ("ai21", "llama2"),
    ("gpt4o", "tekken"),
    ("mistral_v3", "gpt2"),
    ("deepseek_v4", "ai21"),
]
SMALL = {"llama2", "ai21", "tekken", "mistral_v3", "gpt2", "deepseek_v4"}


class Follower:
    """A model that goes on as TEXT does, but at `noise` of all places says something of its own:
    a fixed function of the bytes so far, so that greedy text is well defined."""

    def __init__(self, vocabulary, name, noise):
        self.vocabulary, self.name, self.noise = vocabulary, name, noise
        self.texts = {}
        self.next_token = {}
        for at in range(len(TEXT)):
            ids = vocabulary.encode(TEXT[at : at + 40])
            self.next_token[TEXT[:at]] = ids[0]

    def forget(self, request):
        self.texts.pop(request, None)

    def __call__(self, feeds):
        rows = []
        for feed in feeds:
            ids = self.texts.get(feed.request, [])
            ids = ids if feed.keep is None else ids[: len(feed.keep)]
            for number, token in enumerate(feed.tokens):
                ids = [*ids, token]
                if number >= len(feed.tokens) - feed.rows:
                    rows.append(self.row(ids))
            self.texts[feed.request] = ids
        return np.array(rows, np.float32).reshape(len(rows), self.vocabulary.size)

    def row(self, ids):
        said = self.vocabulary.decode(ids)
        digest = hashlib.sha256(self.name.encode() + said).digest()
        logits = np.zeros(self.vocabulary.size, np.float32)
        if digest[0] < 256 * self.noise:
            token = int.from_bytes(digest[1:5], "little") % self.vocabulary.size
        else:
            token = self.next_token.get(self.place(said), 5)
        logits[token] = 1
        return logits

    def place(self, said):
        """The longest beginning of TEXT whose end the text so far ends in."""
        for size in range(12, 0, -1):
            tail = said[-size:]
            at = TEXT.find(tail) if len(tail) == size else -1
            if at >= 0:
                return TEXT[: at + size]
        return b""


def check_pair(target_name, draft_name):
    target_vocabulary, draft_vocabulary = vocabulary_of(target_name), vocabulary_of(draft_name)
    target = Follower(target_vocabulary, "target", 0.1)
    prompts = [TEXT[:60], TEXT[30:200], TEXT[100:240]]
    for bridge in ("slem", "tli"):
        accepted = 0
        for prompt in prompts:
            plain = SpeculativeSession(target, None, sampling=GREEDY)
            expected = plain.generate(target_vocabulary.encode(prompt), max_tokens=60)
            drafter = Follower(draft_vocabulary, "drafter", 0.05)
            session = SpeculativeSession(
                target, drafter, bridge=bridge, draft_length=6, sampling=GREEDY
            )
            got = session.generate(target_vocabulary.encode(prompt), max_tokens=60)
            assert got.tokens == expected.tokens
            accepted += got.stats.accepted
        assert accepted > 60  # the drafts were good: the bridges were crossed, not avoided


@pytest.mark.parametrize("target, draft", [p for p in PAIRS if {*p} <= SMALL])
def test_greedy_text_is_that_of_plain_decoding(target, draft):
    check_pair(target, draft)


@pytest.mark.slow
@pytest.mark.parametrize("target, draft", [p for p in PAIRS if not {*p} <= SMALL])
def test_greedy_text_is_that_of_plain_decoding_for_large_vocabularies(target, draft):
    check_pair(target, draft)


def test_no_owners_library_is_loaded_while_decoding(tmp_path):
    """Two exported tables are all that a process needs to draft across vocabularies."""
    for name in ("llama2", "gpt2"):
        vocabulary_of(name).export(tmp_path / name)
    program = f"""
import sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from anydraft import SamplingParams, SpeculativeSession, Vocabulary
import numpy as np
class Model:
    def __init__(self, name):
        self.vocabulary = Vocabulary.from_file(Path({str(tmp_path)!r}) / name)
        self.ids = self.vocabulary.encode(" the quick brown fox")
    def __call__(self, feeds):
        said = [self.ids[position % len(self.ids)] for feed in feeds
                for position in feed.positions[len(feed.positions) - feed.rows:]]
        rows = np.zeros((len(said), self.vocabulary.size), np.float32)
        rows[range(len(said)), said] = 1
        return rows
    def forget(self, request):
        pass
target = Model("llama2")
session = SpeculativeSession(target, Model("gpt2"), bridge="slem",
                             sampling=SamplingParams(temperature=0))
said = session.generate(target.vocabulary.encode("Hello"), max_tokens=24)
assert "quick brown" in said.text and said.stats.accepted > 0, said
owners = {{"tokenizers", "sentencepiece", "tiktoken", "transformers"}} & {{*sys.modules}}
assert not owners, owners
"""
    subprocess.run([sys.executable, "-c", program], check=True)
