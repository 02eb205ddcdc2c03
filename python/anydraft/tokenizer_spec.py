"""From a tokeniser's file, parsed, to what the core builds its tables from.

The dictionaries are tokenizer.json's own, with three additions for other files: "owner" (whose
library is right: tokenizers, tiktoken or sentencepiece), a model with "ranks" (bytes to rank), and
a model with "pieces" (text, score and kind of each id, as SentencePiece numbers the kinds).
"""

from __future__ import annotations

import base64
import struct
from typing import Any

from anydraft.errors import UnsupportedTokenizerError, VocabularyError

Json = dict[str, Any]

SIGN = "▁"

TURN_ENDS = ("<|im_end|>", "<end_of_turn>", "<|eot_id|>", "<|end|>")
# Texts of special tokens by role, as the known families write them.
_ROLES: dict[str, tuple[str, ...]] = {
    "bos": ("<s>", "<bos>", "<|begin_of_text|>", "<|startoftext|>", "<｜begin▁of▁sentence｜>"),
    "eos": ("</s>", "<eos>", "<|end_of_text|>", "<|endoftext|>", "<｜end▁of▁sentence｜>"),
    "pad": ("<pad>", "<|pad|>", "[PAD]", "<|finetune_right_pad_id|>"),
    "unk": ("<unk>", "[UNK]", "<|unk|>"),
    "turn_start": ("<|im_start|>", "<start_of_turn>", "<|start_header_id|>"),
    "turn_end": TURN_ENDS,
}
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = range(1, 7)
_NO_ID = 0xFFFFFFFF
_MOST_IDS = 1 << 20
# Marks that the core's tables have for the affixes of BPE: no bytes of any text.
_CONTINUES, _ENDS = b"\xfe", b"\xff"
# How the `tokenizers` library's WordPiece decoder tidies English, in this order.
_TIDIED = (
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"),
    (" 'm", "'m"), (" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
)  # fmt: skip


def describe(data: Json, config: Json) -> Json:
    """What `VocabularyTable.build` takes."""
    model = data.get("model")
    if not isinstance(model, dict):
        raise VocabularyError("[Vocabulary] expected a tokenizer.json with a model, got none")
    described = _pieces(data) if "pieces" in model else _entries(data)
    specials = described["specials"]
    described["roles"] = _roles(specials, config)
    described["prefix"] = _prefix(data.get("post_processor"))
    described["owner"] = data.get("owner", "tokenizers")
    _add_charsmap(described, data)
    for part, key in (
        ("normalizer", "normalizers"),
        ("pre_tokenizer", "pretokenizers"),
        ("decoder", "decoders"),
    ):
        described[part] = _flat(data.get(part), key)
    return described


def _add_charsmap(described: Json, data: Json) -> None:
    """The normaliser's table of a Precompiled, which tokenizer.json has in base64."""
    found = [
        part["precompiled_charsmap"]
        for part in _flat(data.get("normalizer"), "normalizers")
        if part["type"] == "Precompiled"
    ]
    if len(found) > 1:
        raise UnsupportedTokenizerError(
            f"[Vocabulary] expected at most one normaliser Precompiled, got {len(found)}"
        )
    if found:
        described["charsmap"] = base64.b64decode(found[0], validate=True)


def byte_of_char() -> dict[str, int]:
    """GPT-2's stand-ins: printable bytes are themselves, the others follow from U+0100."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {chr(byte): byte for byte in plain}
    rest = [byte for byte in range(256) if byte not in set(plain)]
    table.update({chr(0x100 + i): byte for i, byte in enumerate(rest)})
    return table


def _flat(node: Json | None, key: str) -> list[Json]:
    """A pipeline part without nesting, its pattern's kind as a key of its own."""
    if node is None:
        return []
    if node["type"] == "Sequence":
        return [part for member in node[key] for part in _flat(member, key)]
    pattern = node.get("pattern")
    return [{**node, **(pattern if isinstance(pattern, dict) else {})}]


def _kinds(data: Json) -> set[str]:
    return {
        part["type"]
        for name, key in (("pre_tokenizer", "pretokenizers"), ("decoder", "decoders"))
        for part in _flat(data.get(name), key)
    }


def _writes_signs(data: Json) -> bool:
    """Whether the model sees space signs where the text has spaces."""
    return any(
        part["type"] == "Metaspace" or (part["type"] == "Replace" and part.get("content") == SIGN)
        for name, key in (("normalizer", "normalizers"), ("pre_tokenizer", "pretokenizers"))
        for part in _flat(data.get(name), key)
    )


def _is_byte(token: str) -> bool:
    return len(token) == 6 and token.startswith("<0x") and token.endswith(">")


def _entries(data: Json) -> Json:
    """A model that lists its entries, in tokenizer.json's way or as ranks."""
    model = data["model"]
    kind = model.get("type") or ("BPE" if "merges" in model or "ranks" in model else "unknown")
    if model.get("dropout"):
        raise UnsupportedTokenizerError("[Vocabulary] expected a supported model, got BPE dropout")
    added = [token for token in data.get("added_tokens", []) if token["content"]]
    specials = {token["content"]: token["id"] for token in added if token["special"]}
    described: Json = {
        "model": kind,
        "specials": specials,
        "ignore_merges": bool(model.get("ignore_merges")),
        "byte_fallback": bool(model.get("byte_fallback")),
        "fuse_unk": bool(model.get("fuse_unk", kind == "Unigram")),
        "added": [(token["content"], token["id"], _flags(token)) for token in added],
    }
    if "ranks" in model:
        _add_ranks(described, model, added)
    else:
        _add_vocab(described, data, added)
    return described


def _flags(token: Json) -> int:
    names = ("special", "single_word", "lstrip", "rstrip", "normalized")
    return sum(1 << bit for bit, name in enumerate(names) if token.get(name))


def _add_ranks(described: Json, model: Json, added: list[Json]) -> None:
    entries: dict[bytes, int] = model["ranks"]
    size = _size([*entries.values(), *(token["id"] for token in added)])
    order = model.get("rank_order", entries)
    tokens, in_model, ranks = [b""] * size, bytearray(size), [_NO_ID] * size
    for token in added:
        tokens[token["id"]] = token["content"].encode()
    for text, index in entries.items():
        tokens[index], in_model[index], ranks[index] = text, 1, order[text]
    described.update(tokens=tokens, in_model=bytes(in_model), ranks=ranks, byte_fallbacks=[])


def _add_vocab(described: Json, data: Json, added: list[Json]) -> None:
    model, kind = data["model"], described["model"]
    listed = model.get("vocab", {})
    vocab: dict[str, int] = (
        {entry[0]: index for index, entry in enumerate(listed)}
        if isinstance(listed, list)
        else listed
    )
    size = _size([*vocab.values(), *(token["id"] for token in added)])
    specials = described["specials"]
    tokens, in_model, fallbacks = [b""] * size, bytearray(size), []
    byte_level, signs = "ByteLevel" in _kinds(data), _writes_signs(data)
    byte_of = byte_of_char()
    continuing = model.get("continuing_subword_prefix") or ""
    for token, index in vocab.items():
        ordinary = token not in specials
        if byte_level:
            known = all(char in byte_of for char in token)
            tokens[index] = bytes(byte_of[char] for char in token) if known else token.encode()
            ordinary &= known
        elif described["byte_fallback"] and _is_byte(token):
            tokens[index] = bytes([int(token[3:5], 16)])
            fallbacks.append(index)
            ordinary &= kind == "Unigram"  # whose owner finds such tokens typed out, too
        elif kind == "WordPiece":
            tokens[index] = _shown(token, continuing, data).encode()
        else:
            tokens[index] = (token.replace(SIGN, " ") if signs else token).encode()
            ordinary &= not (signs and " " in token)
        in_model[index] = ordinary
    for entry in added:
        text = entry["content"].replace(SIGN, " ") if signs else entry["content"]
        tokens[entry["id"]] = text.encode()
    described.update(tokens=tokens, in_model=bytes(in_model), byte_fallbacks=fallbacks)
    if kind == "BPE":
        described["merges"] = _merges(model, vocab)
        if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
            _add_affixes(described, model, vocab)
        if model.get("unk_token") is not None:
            described["unk_id"] = _index(vocab, model["unk_token"])
    elif kind == "WordPiece":
        words = dict.fromkeys(range(size), "") | {index: token for token, index in vocab.items()}
        described["words"] = [words[index] for index in range(size)]
        described["continuing_subword_prefix"] = continuing
        described["max_input_chars_per_word"] = model.get("max_input_chars_per_word", 100)
        described["unk_id"] = _index(vocab, model["unk_token"])
    elif kind == "Unigram":
        scores = [entry[1] for entry in listed]
        described["unk_score"] = min(scores, default=0.0) - 10.0
        described["scores"] = scores + [0.0] * (size - len(scores))
        if model.get("unk_id") is not None:
            described["unk_id"] = model["unk_id"]
        if fallbacks:
            words = dict.fromkeys(range(size), "") | {
                index: token for token, index in vocab.items()
            }
            described["words"] = [
                words[index].replace(SIGN, " ") if signs else words[index] for index in range(size)
            ]


def _index(vocab: dict[str, int], token: str) -> int:
    if token not in vocab:
        raise VocabularyError(f"[Vocabulary] expected an entry for {token!r}, got none")
    return vocab[token]


def _merges(model: Json, vocab: dict[str, int]) -> list[tuple[int, int, int]]:
    """Left, right and what they make, by rank."""
    skip = len(model.get("continuing_subword_prefix") or "")
    triples = []
    for merge in model["merges"]:
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if len(parts) != 2 or parts[0] not in vocab or parts[1] not in vocab:
            raise VocabularyError(f"[Vocabulary] expected merges of two tokens, got {merge!r}")
        both = parts[0] + parts[1][skip:]
        if both not in vocab:
            raise VocabularyError(f"[Vocabulary] expected a token for every merge, got {merge!r}")
        triples.append((vocab[parts[0]], vocab[parts[1]], vocab[both]))
    return triples


def _add_affixes(described: Json, model: Json, vocab: dict[str, int]) -> None:
    """BPE that marks where in a word a token stands: a token that ends a word shows a space."""
    prefix: str = model.get("continuing_subword_prefix") or ""
    suffix: str = model.get("end_of_word_suffix") or ""
    tokens, words = described["tokens"], [b""] * len(described["tokens"])
    marks = prefix.encode(), suffix.encode()
    for token, index in vocab.items():
        if not described["in_model"][index]:
            continue
        continues = bool(prefix) and token.startswith(prefix)
        ends = bool(suffix) and token.endswith(suffix) and token != suffix
        core = tokens[index][len(marks[0]) if continues else 0 :]
        core = core[: -len(marks[1])] if ends else core
        if b"\xfe" in core or b"\xff" in core:
            continue  # in no text
        words[index] = (_CONTINUES if continues else b"") + core + (_ENDS if ends else b"")
        tokens[index] = core + (b" " if ends else b"")
    described.update(words=words, continues=bool(prefix), ends=bool(suffix))


def _size(ids: list[int]) -> int:
    """How many ids there are, holes included."""
    wrong = [i for i in ids if isinstance(i, bool) or not isinstance(i, int) or i < 0]
    size = max(ids, default=-1) + 1 if not wrong else 0
    if wrong or size >= _MOST_IDS:
        raise VocabularyError(
            f"[Vocabulary] expected ids in [0, 2^20), got {wrong[0] if wrong else size - 1!r}"
        )
    return size


def _shown(token: str, continuing: str, data: Json) -> str:
    """What the owner shows for a WordPiece token within a text: a space before a new word, English
    tidied up."""
    if continuing and token.startswith(continuing):
        return token.removeprefix(continuing)
    decoder = next(iter(_flat(data.get("decoder"), "decoders")), {})
    if decoder.get("type") != "WordPiece":
        return token
    shown = " " + token
    if decoder.get("cleanup", True):
        for found, kept in _TIDIED:
            shown = shown.replace(found, kept)
    return shown


def _single(number: float) -> float:
    """Rounded to float32, in which SentencePiece computes."""
    return float(struct.unpack("f", struct.pack("f", number))[0])


def _pieces(data: Json) -> Json:
    """A SentencePiece model."""
    model = data["model"]
    pieces: list[tuple[str, float, int]] = model["pieces"]
    specials = {text: i for i, (text, _, kind) in enumerate(pieces) if kind in (_UNKNOWN, _CONTROL)}
    tokens: list[bytes] = []
    # A GGUF file's added tokens are found as its readers find them, not as SentencePiece does.
    listed = data.get("added_tokens", [])
    added = [(token["content"], token["id"], _flags(token)) for token in listed]
    for index, (text, _, kind) in enumerate(pieces):
        special = kind in (_UNKNOWN, _CONTROL)
        spelled = text.replace(SIGN, " ").encode()
        ordinary = bytes([int(text[3:5], 16)]) if kind == _BYTE else spelled
        tokens.append(b"" if special else ordinary)
        if kind == _USER_DEFINED and model["type"] == "BPE" and not listed:
            added.append((text, index, _flags({"normalized": True})))
    unused = any(kind == _UNUSED for _, _, kind in pieces)  # a GGUF file's are padding
    if model["type"] == "BPE" and unused and data.get("owner") == "sentencepiece":
        raise UnsupportedTokenizerError(
            "[Vocabulary] expected a supported model, got SentencePiece BPE with unused pieces"
        )
    in_model = (_NORMAL,) if model["type"] == "BPE" else (_NORMAL, _USER_DEFINED)
    described: Json = {
        "model": model["type"],
        "specials": specials,
        "tokens": tokens,
        "in_model": bytes(kind in in_model for _, _, kind in pieces),
        "byte_fallbacks": [i for i, (_, _, kind) in enumerate(pieces) if kind == _BYTE],
        "byte_fallback": bool(model.get("byte_fallback")),
        "fuse_unk": True,
        "unk_id": next((i for i, (_, _, kind) in enumerate(pieces) if kind == _UNKNOWN), _NO_ID),
        "charsmap": (data.get("normalizer") or {}).get("precompiled_charsmap", b""),
        "added": added,
    }
    scores = [_single(score) for _, score, _ in pieces]
    if model["type"] == "BPE":
        described["ranks"], described["tie_bits"] = _ranks_of_scores(pieces, scores)
    else:
        normal = [s for s, (_, _, kind) in zip(scores, pieces, strict=True) if kind == _NORMAL]
        described["unk_score"] = _single(min(normal, default=0.0) - 10.0)
        described["scores"] = scores  # of user-defined pieces too: measured on 0.2.3
    return described


def _ranks_of_scores(
    pieces: list[tuple[str, float, int]], scores: list[float]
) -> tuple[list[int], int]:
    """The highest score first, and how many low bits tell tokens of the same score apart.

    A single character is nobody's merge.
    """
    ties: dict[float, list[int]] = {}
    for index, (text, _, kind) in enumerate(pieces):
        if kind == _NORMAL and len(text) > 1:
            ties.setdefault(scores[index], []).append(index)
    bits = (max(map(len, ties.values()), default=1) - 1).bit_length()
    ranks = [_NO_ID] * len(pieces)
    for rank, score in enumerate(sorted(ties, reverse=True)):
        for number, index in enumerate(ties[score]):
            ranks[index] = rank << bits | number
    return ranks, bits


def _roles(specials: dict[str, int], config: Json) -> dict[str, list[int]]:
    roles = {
        name: [specials[text] for text in texts if text in specials]
        for name, texts in _ROLES.items()
    }
    for name in ("bos", "eos", "pad", "unk"):
        entry = config.get(f"{name}_token")
        text = entry.get("content") if isinstance(entry, dict) else entry
        if text in specials and all(specials[text] not in ids for ids in roles.values()):
            roles[name].append(specials[text])
    entry = config.get("eos_token")
    text = entry.get("content") if isinstance(entry, dict) else entry
    roles["end"] = [specials[end] for end in config.get("end_tokens", [text]) if end in specials]
    return {name: ids for name, ids in roles.items() if ids}


def _prefix(node: Json | None) -> list[int]:
    """Special tokens that the post-processor puts before a single text."""
    if node is None:
        return []
    if node["type"] == "Sequence":
        return [token for part in node["processors"] for token in _prefix(part)]
    if node["type"] in ("BertProcessing", "RobertaProcessing"):
        return [node["cls"][1]]
    ids: list[int] = []
    for part in node.get("single", []) if node["type"] == "TemplateProcessing" else []:
        if "SpecialToken" not in part:
            break
        ids += node["special_tokens"][part["SpecialToken"]["id"]]["ids"]
    return ids
