"""Descriptions of tokenisers out of the files their owners write.

A description is a parsed tokenizer.json, or the same shape with what the other kinds of file say
instead; `Vocabulary.from_description` takes it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from anydraft.errors import UnsupportedTokenizerError, VocabularyError
from anydraft.gguf_metadata import GGUF_MAGIC
from anydraft.gguf_splits import PRE_TOKENIZERS
from anydraft.gguf_vocabulary import describe_gguf
from anydraft.tiktoken_presets import RANK_KINDS, RankKind

Json = dict[str, Any]

TABLE_MAGIC = b"ADVOCAB\n"
TOKENIZERS = ("tokenizer.json", "tekken.json", "tokenizer.model")  # of a folder, in this order
KINDS = ("tokenizer.json", "tekken", "sentencepiece", *RANK_KINDS)
_RANK_LINE = re.compile(rb"[A-Za-z0-9+/]+=* \d+\r?\n")
# Special tokens of tekken files that do not list theirs (up to version 7): Mistral's own order.
_TEKKEN_SPECIALS = (
    "<unk> <s> </s> [INST] [/INST] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS] "
    "[/TOOL_RESULTS] [TOOL_CALLS] [IMG] <pad> [IMG_BREAK] [IMG_END] [PREFIX] [MIDDLE] [SUFFIX] "
    "[SYSTEM_PROMPT] [/SYSTEM_PROMPT] [TOOL_CONTENT]"
).split()


class Description(NamedTuple):
    """What `Vocabulary.from_description` takes."""

    data: Json
    config: Json  # as a tokenizer_config.json: bos_token, eos_token, pad_token, unk_token


def tokenizer_in(folder: Path) -> Path:
    """The file of a model's folder that holds its tokeniser.

    Raises:
        FileNotFoundError: none is there.
    """
    for name in TOKENIZERS:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(
        f"[Vocabulary.from_file] expected one of {', '.join(TOKENIZERS)} in {folder}, got none"
    )


def read_description(path: Path, kind: str | None) -> Description:
    """The description in `path`, whose kind is one of KINDS, or seen from the content (None).

    Raises:
        FileNotFoundError: no such file.
        UnsupportedTokenizerError: a kind that is not known, or a rank file without one.
        VocabularyError: a file that is not what its kind says.
    """
    with path.open("rb") as file:
        if file.read(len(GGUF_MAGIC)) == GGUF_MAGIC:
            return _gguf(path, kind)
    if kind == "gguf":
        raise VocabularyError(f"[Vocabulary.from_file] expected a GGUF file, got {path.name}")
    if kind is not None and kind not in KINDS:
        raise UnsupportedTokenizerError(
            f"[Vocabulary.from_file] expected kind in {', '.join(KINDS)}, got {kind!r}"
        )
    content = path.read_bytes()
    if content.lstrip()[:1] == b"{":
        data = _json(content, path)
        tekken = kind == "tekken" or (kind is None and "vocab" in data and "model" not in data)
        return _tekken(data, path) if tekken else Description(data, _config_beside(path))
    if _RANK_LINE.match(content):
        return _ranks(content, _rank_kind(content, kind, path), path)
    if kind in (None, "sentencepiece"):
        return _sentencepiece(content, path)
    raise VocabularyError(f"[Vocabulary.from_file] expected a file of kind {kind}, got {path.name}")


def _gguf(path: Path, kind: str | None) -> Description:
    """kind: the name of a pre-tokeniser, for files too old to say it."""
    if kind not in (None, "gguf", *PRE_TOKENIZERS):
        raise VocabularyError(
            "[Vocabulary.from_file] expected kind to be gguf or the name of a pre-tokeniser "
            f"({', '.join(PRE_TOKENIZERS)}) for {path.name}, got {kind}"
        )
    return Description(*describe_gguf(path, None if kind == "gguf" else kind))


def _json(content: bytes, path: Path) -> Json:
    try:
        data: Json = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise VocabularyError(
            f"[Vocabulary.from_file] expected JSON in {path.name}, got {error}"
        ) from error
    return data


def _config_beside(path: Path) -> Json:
    config = path.with_name("tokenizer_config.json")
    return _json(config.read_bytes(), config) if config.is_file() else {}


def _bos_first(text: str, token: int) -> Json:
    """The post-processor of a tokeniser that puts one special before every text."""
    special = {"SpecialToken": {"id": text, "type_id": 0}}
    return {
        "type": "TemplateProcessing",
        "single": [special, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [special, *({"Sequence": {"id": name, "type_id": 0}} for name in "AB")],
        "special_tokens": {text: {"id": text, "ids": [token], "tokens": [text]}},
    }


def _tiktoken(
    ranks: dict[bytes, int], pattern: str, specials: dict[str, int], bos: str | None
) -> Json:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {
        "owner": "tiktoken",
        "model": {"type": "BPE", "ranks": ranks},
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"Regex": pattern},
            "behavior": "Isolated",
            "invert": False,
        },
        "added_tokens": [
            {"id": token, "content": text, "special": True, **flags}
            for text, token in specials.items()
        ],
        "post_processor": None if bos is None else _bos_first(bos, specials[bos]),
    }


# ---- tiktoken rank files -------------------------------------------------------------------------
def _rank_kind(content: bytes, kind: str | None, path: Path) -> RankKind:
    if kind in RANK_KINDS:
        return RANK_KINDS[kind]
    if kind is not None:
        raise VocabularyError(
            f"[Vocabulary.from_file] expected a file of kind {kind}, got ranks: {path.name}"
        )
    sha256 = hashlib.sha256(content).hexdigest()
    for known in RANK_KINDS.values():
        if known.sha256 == sha256:
            return known
    raise UnsupportedTokenizerError(
        "[Vocabulary.from_file] expected kind= for a rank file, which does not say its pattern "
        f"(one of {', '.join(RANK_KINDS)}), got none for {path.name}"
    )


def _ranks(content: bytes, kind: RankKind, path: Path) -> Description:
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(content.splitlines(), 1):
        if not line:
            continue
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except (ValueError, binascii.Error) as error:
            raise VocabularyError(
                f"[Vocabulary.from_file] expected a token and its rank in line {number} of "
                f"{path.name}, got {line[:60]!r}"
            ) from error
    taken = set(ranks.values())
    if clash := [text for text, token in kind.specials.items() if token in taken]:
        raise VocabularyError(
            f"[Vocabulary.from_file] expected no rank at the place of {clash[0]}, got one in "
            f"{path.name}: another kind of ranks"
        )
    data = _tiktoken(ranks, kind.pattern, kind.specials, kind.bos)
    if kind.normalizer:
        data["normalizer"] = {"type": kind.normalizer}
    return Description(data, {"bos_token": kind.bos, "eos_token": kind.eos})


# ---- tekken.json ---------------------------------------------------------------------------------
def _tekken(data: Json, path: Path) -> Description:
    try:
        config = data["config"]
        first = int(config["default_num_special_tokens"])
        count = int(config["default_vocab_size"]) - first
        listed = data.get("special_tokens")
        if listed is None:
            listed = [{"rank": i, "token_str": text} for i, text in enumerate(_TEKKEN_SPECIALS)]
        specials = {str(token["token_str"]): int(token["rank"]) for token in listed}
        named = set(specials.values())
        specials |= {f"<SPECIAL_{i}>": i for i in range(first) if i not in named}
        # More tokens are listed than are used.
        ranks = {
            base64.b64decode(token["token_bytes"]): int(token["rank"]) + first
            for token in data["vocab"]
            if token["rank"] < count
        }
        described = _tiktoken(ranks, str(config["pattern"]), specials, "<s>")
    except (KeyError, TypeError, ValueError) as error:
        raise VocabularyError(
            f"[Vocabulary.from_file] expected a tekken.json, got {path.name} ({error!r})"
        ) from error
    texts = {"bos": "<s>", "eos": "</s>", "pad": "<pad>", "unk": "<unk>"}
    return Description(
        described, {f"{role}_token": text for role, text in texts.items() if text in specials}
    )


# ---- SentencePiece .model ------------------------------------------------------------------------
def _sentencepiece(content: bytes, path: Path) -> Description:
    try:
        from sentencepiece import sentencepiece_model_pb2
    except ImportError as error:
        raise ImportError(
            "SentencePiece models need two libraries: pip install 'anydraft[sentencepiece]' "
            f"({error})"
        ) from error
    from google.protobuf.message import DecodeError

    unknown = (
        "[Vocabulary.from_file] expected a tokenizer.json, tekken.json, SentencePiece model, rank "
        f"file or exported table, got {path.name}"
    )
    model = sentencepiece_model_pb2.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise VocabularyError(unknown) from error
    if not model.pieces:
        raise VocabularyError(unknown)
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    kind = trainer.ModelType.Name(trainer.model_type)
    if kind not in ("BPE", "UNIGRAM"):
        raise UnsupportedTokenizerError(
            f"[Vocabulary.from_file] expected a SentencePiece model BPE or UNIGRAM, got {kind}"
        )
    if model.denormalizer_spec.precompiled_charsmap:
        raise UnsupportedTokenizerError(
            "[Vocabulary.from_file] expected no denormalizer in a SentencePiece model, got one"
        )
    data: Json = {
        "owner": "sentencepiece",
        "model": {
            "type": "BPE" if kind == "BPE" else "Unigram",
            "pieces": [[piece.piece, piece.score, piece.type] for piece in model.pieces],
            "byte_fallback": trainer.byte_fallback,
        },
        "normalizer": {
            "type": "SentencePiece",
            "precompiled_charsmap": normalizer.precompiled_charsmap,
            "add_dummy_prefix": normalizer.add_dummy_prefix,
            "remove_extra_whitespaces": normalizer.remove_extra_whitespaces,
            "escape_whitespaces": normalizer.escape_whitespaces,
            "treat_whitespace_as_suffix": trainer.treat_whitespace_as_suffix,
        },
        "added_tokens": [],
    }
    ids = {role: getattr(trainer, f"{role}_id") for role in ("bos", "eos", "pad", "unk")}
    config = {
        f"{role}_token": model.pieces[token].piece
        for role, token in ids.items()
        if 0 <= token < len(model.pieces)
    }
    if 0 <= ids["bos"] < len(model.pieces):
        data["post_processor"] = _bos_first(config["bos_token"], ids["bos"])
    return Description(data, config)
