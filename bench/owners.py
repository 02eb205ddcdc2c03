"""The libraries that own the real vocabularies, behind one face: their ids are the truth."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import vocabularies
from tokenizers import Tokenizer, normalizers

Ids = list[int]


class TokenizersOwner:
    def __init__(self, path: Path) -> None:
        self.tokenizer = Tokenizer.from_file(str(path))

    def encode(self, texts: list[str], specials: bool = False) -> list[Ids]:
        self.tokenizer.encode_special_tokens = not specials
        batch = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in batch]

    def decode(self, ids: Ids) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=False)


class SentencePieceOwner:
    def __init__(self, path: Path) -> None:
        import sentencepiece

        self.processor = sentencepiece.SentencePieceProcessor(model_file=str(path))

    def encode(self, texts: list[str], specials: bool = False) -> list[Ids]:
        return self.processor.encode(texts, num_threads=1)

    def decode(self, ids: Ids) -> str:
        return self.processor.decode(ids)


class TiktokenOwner:
    def __init__(
        self,
        ranks: dict[bytes, int],
        pattern: str,
        specials: dict[str, int],
        *,
        first_id: int = 0,
        normalize: str | None = None,
    ) -> None:
        import tiktoken

        self.encoding = tiktoken.Encoding(
            "real", pat_str=pattern, mergeable_ranks=ranks, special_tokens=specials
        )
        self.first_id = first_id
        # Not Python's own tables, which change with Python.
        self.normalizer = getattr(normalizers, normalize)() if normalize else None

    def encode(self, texts: list[str], specials: bool = False) -> list[Ids]:
        if self.normalizer:
            texts = [self.normalizer.normalize_str(text) for text in texts]
        if specials:
            lists = [self.encoding.encode(text, allowed_special="all") for text in texts]
        else:
            lists = [self.encoding.encode_ordinary(text) for text in texts]
        if not self.first_id:
            return lists
        return [[token + self.first_id for token in ids] for ids in lists]

    def decode(self, ids: Ids) -> str:
        return self.encoding.decode([token - self.first_id for token in ids])


def _tekken(path: Path) -> TiktokenOwner:
    data = json.loads(path.read_text("utf-8"))
    first = data["config"]["default_num_special_tokens"]
    count = data["config"]["default_vocab_size"] - first
    ranks = {base64.b64decode(t["token_bytes"]): t["rank"] for t in data["vocab"][:count]}
    return TiktokenOwner(ranks, data["config"]["pattern"], {}, first_id=first)


def _ranks(path: Path) -> dict[bytes, int]:
    lines = (line.split() for line in path.read_bytes().splitlines())
    return {base64.b64decode(token): int(rank) for token, rank in lines}


def _gpt2(path: Path) -> TiktokenOwner:
    from tiktoken_ext.openai_public import r50k_pat_str

    return TiktokenOwner(_ranks(path), r50k_pat_str, {"<|endoftext|>": 50256})


def _qwen(path: Path) -> TiktokenOwner:
    # As Qwen's own class does it.
    pattern = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    texts = "<|endoftext|> <|im_start|> <|im_end|>".split() + [f"<|extra_{i}|>" for i in range(205)]
    specials = {text: 151643 + i for i, text in enumerate(texts)}
    return TiktokenOwner(_ranks(path), pattern, specials, normalize="NFC")


_OWN: dict[str, Callable[[Path], Any]] = {"tekken": _tekken, "gpt2": _gpt2, "qwen": _qwen}
NAMES = [*vocabularies.VOCABULARIES, "smollm2"]


def owner_of(name: str) -> Any:
    """An object with encode(texts) and decode(ids) of vocabulary `name`."""
    path = vocabularies.fetch(name)
    if name in _OWN:
        return _OWN[name](path)
    if vocabularies.owner_name(name) == "sentencepiece":
        return SentencePieceOwner(path)
    return TokenizersOwner(path)


# What tiktoken itself uses for this pattern: the same cuts, without backtracking.
_FASTER = {
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
    r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
}


def tiktoken_twin(name: str) -> TiktokenOwner:
    """A byte-level tokenizer.json with one pattern and ids in the order of ranks, in tiktoken."""
    data = json.loads(vocabularies.fetch(name).read_text("utf-8"))
    split, *_ = data["pre_tokenizer"]["pretokenizers"]
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    byte_of = {chr(byte): byte for byte in printable}
    byte_of |= {chr(0x100 + i): byte for i, byte in enumerate(others)}
    added = {token["content"] for token in data["added_tokens"]}
    ranks = {
        bytes(byte_of[sign] for sign in token): rank
        for token, rank in data["model"]["vocab"].items()
        if token not in added
    }
    normalizer = (data["normalizer"] or {}).get("type")
    pattern = split["pattern"]["Regex"]
    return TiktokenOwner(ranks, _FASTER.get(pattern, pattern), {}, normalize=normalizer)


def write_unigram_twin(name: str, path: Path) -> None:
    """The pieces of a SentencePiece Unigram model as a tokenizer.json, without its normaliser."""
    from sentencepiece import SentencePieceProcessor
    from tokenizers import decoders, models, pre_tokenizers

    model = SentencePieceProcessor(model_file=str(vocabularies.fetch(name)))
    pieces = [(model.id_to_piece(i), model.get_score(i)) for i in range(len(model))]
    twin = Tokenizer(models.Unigram(pieces, unk_id=model.unk_id(), byte_fallback=True))
    twin.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    twin.decoder = decoders.Metaspace(prepend_scheme="never", split=False)
    twin.save(str(path))
