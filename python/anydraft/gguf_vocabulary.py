"""Vocabularies out of GGUF metadata, in the terms of a tokenizer.json.

A GGUF keeps the tokens, their kinds and the merges or scores. Of the pre-tokeniser it keeps a name,
`tokenizer.ggml.pre`; what the owners' files say under that name stands in `gguf_splits`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anydraft.errors import UnsupportedTokenizerError, VocabularyError
from anydraft.gguf_metadata import read_metadata
from anydraft.gguf_splits import PRE_TOKENIZERS
from anydraft.tokenizer_spec import TURN_ENDS

Json = dict[str, Any]

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = range(1, 7)
_ROLES = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}
_SIGN = "▁"


def describe_gguf(path: Path, pre: str | None = None) -> tuple[Json, Json]:
    """The description of a GGUF file's tokeniser, and its roles.

    The roles are as in a tokenizer_config.json; with "end_tokens", the texts of all that end one.

    pre: the name of the pre-tokeniser, where the file is too old to say it.

    Raises:
        UnsupportedTokenizerError: a model or pre-tokeniser that is not known, named.
        VocabularyError: a file that is damaged, or has no vocabulary.
    """
    try:
        return _describe(read_metadata(path), pre)
    except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
        if isinstance(error, (UnsupportedTokenizerError, VocabularyError)):
            raise
        raise VocabularyError(
            f"[Vocabulary.from_file] expected a vocabulary in the metadata of {path.name}, got "
            f"one with {error!r}"
        ) from error


def _describe(metadata: Json, pre: str | None) -> tuple[Json, Json]:
    model = metadata.get("tokenizer.ggml.model")
    makers = {
        "gpt2": _byte_level,
        "llama": _sentencepiece_bpe,
        "gemma4": _merged_characters,
        "t5": _unigram,
    }
    if model not in makers:
        raise UnsupportedTokenizerError(
            "[Vocabulary.from_file] expected tokenizer.ggml.model to be one of "
            f"{', '.join(makers)}, got {model}"
        )
    own = {
        key.removeprefix("tokenizer.ggml."): value
        for key, value in metadata.items()
        if key.startswith("tokenizer.ggml.")
    }
    own["architecture"] = metadata.get("general.architecture")
    own.setdefault("token_type", [_NORMAL] * len(own["tokens"]))
    if len(own["token_type"]) != len(own["tokens"]):
        raise VocabularyError(
            f"[Vocabulary.from_file] expected {len(own['tokens'])} kinds of tokens, got "
            f"{len(own['token_type'])}"
        )
    if pre is not None:
        own["pre"] = pre
    data = makers[model](own)
    data["added_tokens"] = _added(own, model)
    data["post_processor"] = _prefix(own, model)
    return data, _roles(own)


def _roles(own: Json) -> Json:
    def text(name: str) -> str | None:
        token = own.get(f"{name}_token_id")
        known = isinstance(token, int) and 0 <= token < len(own["tokens"])
        return own["tokens"][token] if known else None

    roles: Json = {f"{role}_token": said for role, name in _ROLES.items() if (said := text(name))}
    ends = [text("eos"), text("eot"), text("eom")]
    # Gemma's and Phi's files name no end of a turn. gpt-oss goes on behind its <|end|>.
    if not any(ends[1:]) and "<|return|>" not in own["tokens"]:
        ends += (end for end in TURN_ENDS if end in own["tokens"])
    roles["end_tokens"] = list(dict.fromkeys(end for end in ends if end))
    return roles


def _is_padding(text: str, index: int) -> bool:
    """Entries that converters write where ids have no token."""
    return text in (f"[PAD{index}]", f"<dummy{index:05d}>")


def _added(own: Json, model: str) -> list[Json]:
    """Control tokens are specials, user-defined ones are found in any text."""
    # The file lost which tokens take the white space behind them; Phi-3's owner says its own do.
    strips = own["architecture"] == "phi3" and model == "llama"
    kept = {"<unk>", "<s>", "<|endoftext|>"}
    flags = dict.fromkeys(("single_word", "lstrip", "normalized"), False)
    added = [
        {
            "id": index,
            "content": text,
            "special": kind != _USER_DEFINED,
            "rstrip": strips and text not in kept,
            **flags,
        }
        for index, (text, kind) in enumerate(zip(own["tokens"], own["token_type"], strict=True))
        if kind in (_UNKNOWN, _CONTROL, _USER_DEFINED) and not _is_padding(text, index)
    ]
    # Converters write runs of space signs as spaces: the owner merges to them once its normaliser
    # has run, and finds the signs before that where they are typed out.
    runs = [token for token in added if not token["content"].strip(" ") and model == "llama"]
    typed = [token | {"content": _SIGN * len(token["content"])} for token in runs]
    for token in runs:
        token["normalized"] = True
    return added + typed


def _prefix(own: Json, model: str) -> Json | None:
    """The post-processor: the BOS before a text, where the file or its kind wants one."""
    usual = model in ("llama", "gemma4") or (
        model == "gpt2" and own["pre"] in ("llama3", "llama-v3", "llama-bpe", "tekken", "falcon3")
    )
    if not own.get("add_bos_token", usual) or "bos_token_id" not in own:
        return None
    token = own["bos_token_id"]
    text = own["tokens"][token]
    special = {"SpecialToken": {"id": text, "type_id": 0}}
    return {
        "type": "TemplateProcessing",
        "single": [special, {"Sequence": {"id": "A", "type_id": 0}}],
        "special_tokens": {text: {"id": text, "ids": [token], "tokens": [text]}},
    }


def _vocab(own: Json) -> dict[str, int]:
    return {
        text: index
        for index, (text, kind) in enumerate(zip(own["tokens"], own["token_type"], strict=True))
        if kind in (_NORMAL, _BYTE)
    }


def _byte_level(own: Json) -> Json:
    pre = own.get("pre")
    if pre not in PRE_TOKENIZERS:
        hint = "" if pre else " (an old file: give kind= one of these)"
        raise UnsupportedTokenizerError(
            "[Vocabulary.from_file] expected tokenizer.ggml.pre to be one of "
            f"{', '.join(PRE_TOKENIZERS)}, got {pre or 'none'}{hint}"
        )
    split = PRE_TOKENIZERS[pre]
    return {
        "model": {
            "type": "BPE",
            "vocab": _vocab(own),
            "merges": own["merges"],
            "ignore_merges": split.ignore_merges,
        },
        "normalizer": {"type": "NFC"} if split.nfc else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": list(split.parts)},
        "decoder": {"type": "ByteLevel"},
    }


def _signs(prepend: bool) -> Json:
    """Normaliser and decoder of models that write spaces as signs."""
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": _SIGN}
    first = [{"type": "Prepend", "prepend": _SIGN}] if prepend else []
    back = {"type": "Replace", "pattern": {"String": _SIGN}, "content": " "}
    steps = [back, {"type": "ByteFallback"}, {"type": "Fuse"}]
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prepend else []
    return {
        "normalizer": {"type": "Sequence", "normalizers": [*first, replace]},
        "decoder": {"type": "Sequence", "decoders": steps + strip},
    }


def _pieces(own: Json) -> list[tuple[str, float, int]]:
    return list(zip(own["tokens"], own["scores"], own["token_type"], strict=True))


def _sentencepiece_bpe(own: Json) -> Json:
    return {
        "model": {
            "type": "BPE",
            "pieces": _pieces(own),
            "byte_fallback": _BYTE in own["token_type"],
        },
        **_signs(prepend=bool(own.get("add_space_prefix", True))),
    }


def _merged_characters(own: Json) -> Json:
    return {
        "model": {
            "type": "BPE",
            "vocab": _vocab(own),
            "merges": own["merges"],
            "byte_fallback": _BYTE in own["token_type"],
            "fuse_unk": True,
        },
        **_signs(prepend=bool(own.get("add_space_prefix", False))),
    }


def _charsmap(own: Json) -> bytes:
    held = own.get("precompiled_charsmap", b"")
    if not isinstance(held, bytes | list):
        raise VocabularyError(
            f"[Vocabulary.from_file] expected bytes as precompiled_charsmap, got {held!r}"
        )
    return bytes(held)


def _unigram(own: Json) -> Json:
    return {
        "owner": "sentencepiece",
        "model": {
            "type": "Unigram",
            "pieces": _pieces(own),
            "byte_fallback": _BYTE in own["token_type"],
        },
        "normalizer": {
            "type": "SentencePiece",
            "precompiled_charsmap": _charsmap(own),
            "add_dummy_prefix": bool(own.get("add_space_prefix", True)),
            "remove_extra_whitespaces": bool(own.get("remove_extra_whitespaces", True)),
            "escape_whitespaces": True,
        },
    }
