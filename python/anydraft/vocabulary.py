"""Vocabularies as tables of bytes, read from a Hugging Face tokenizer.json.

Encoding is the `tokenizers` library's, set up so that its ids join to exactly the bytes it was
given: no prefix space, no normalisation, special tokens only where the caller puts them.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from anydraft._core import VocabularyMapTable, VocabularyTable
from anydraft.errors import UnsupportedTokenizerError, VocabularyError

Json = dict[str, Any]

# Texts of special tokens by role, as the known families write them.
_ROLES: dict[str, tuple[str, ...]] = {
    "bos": ("<s>", "<bos>", "<|begin_of_text|>", "<|startoftext|>", "<｜begin▁of▁sentence｜>"),
    "eos": ("</s>", "<eos>", "<|end_of_text|>", "<|endoftext|>", "<｜end▁of▁sentence｜>"),
    "pad": ("<pad>", "<|pad|>", "[PAD]", "<|finetune_right_pad_id|>"),
    "unk": ("<unk>", "[UNK]", "<|unk|>"),
    "turn_start": ("<|im_start|>", "<start_of_turn>", "<|start_header_id|>"),
    "turn_end": ("<|im_end|>", "<end_of_turn>", "<|eot_id|>", "<|end|>"),
}


class Vocabulary:
    """What each token id stands for, in bytes, and the encoder of its owner.

    Attributes:
        size: number of ids, holes included; a model's logits may be wider (padding).

    >>> v = Vocabulary.from_bytes([b"a", b"b", b"ab"], encoder=lambda text: [2])  # a toy
    >>> v.size, v.token_bytes(2), v.decode([0, 1])
    (3, b'ab', b'ab')
    """

    def __init__(self, table: VocabularyTable) -> None:
        self.table = table

    @classmethod
    def from_file(cls, path: str | Path) -> Vocabulary:
        """Read a tokenizer.json (byte-level BPE, or SentencePiece-style BPE with byte fallback).

        A tokenizer_config.json beside it names the EOS and BOS tokens, where it is there.

        Raises:
            FileNotFoundError: no such file.
            UnsupportedTokenizerError: another kind of tokeniser, named.
        """
        path = Path(path)
        if path.suffix != ".json":
            raise UnsupportedTokenizerError(
                f"[Vocabulary] expected a tokenizer.json, got {path.name}: SentencePiece models, "
                "tekken.json and tiktoken files are not supported yet"
            )
        config_path = path.with_name("tokenizer_config.json")
        config = json.loads(config_path.read_text("utf-8")) if config_path.is_file() else {}
        return cls.from_json(path.read_text("utf-8"), config=config)

    @classmethod
    def from_json(cls, text: str, *, config: Json | None = None) -> Vocabulary:
        """As `from_file`, from the text of a tokenizer.json and a parsed tokenizer_config.json."""
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise VocabularyError(f"[Vocabulary] expected JSON, got {error}") from error
        if not isinstance(data, dict) or "model" not in data:
            raise VocabularyError("[Vocabulary] expected a tokenizer.json with a model, got none")
        specials = _specials(data)
        tokens, fallbacks = _token_bytes(data, specials)
        table = VocabularyTable(
            tokens,
            specials,
            _roles(specials, config or {}),
            _prefix(data, set(specials.values())),
            fallbacks,
            _exact_encoder(data, tokens, fallbacks),
        )
        vocabulary = cls(table)
        vocabulary._check_exact()
        return vocabulary

    @classmethod
    def from_bytes(
        cls,
        tokens: Sequence[bytes],
        *,
        encoder: Callable[[str], list[int]],
        specials: dict[str, int] | None = None,
        roles: dict[str, Sequence[int]] | None = None,
        prefix: Sequence[int] = (),
    ) -> Vocabulary:
        """A vocabulary of one's own: bytes of each id (empty: special or hole) and an encoder.

        The encoder returns ids whose bytes join to exactly the text's UTF-8.
        """
        named = {name: list(ids) for name, ids in (roles or {}).items()}
        return cls(VocabularyTable(tokens, specials or {}, named, list(prefix), [], encoder))

    @property
    def size(self) -> int:
        return self.table.size

    @property
    def specials(self) -> dict[str, int]:
        """Special tokens by text."""
        return self.table.specials

    def token_bytes(self, token: int) -> bytes | None:
        """Bytes of an id; None for a special or a hole."""
        return self.table.token_bytes(token)

    def role(self, name: str) -> tuple[int, ...]:
        """Ids of a role: bos, eos, pad, unk, turn_start, turn_end; empty where unknown."""
        return tuple(self.table.role(name))

    def encode(self, text: str | bytes) -> list[int]:
        """Ids whose bytes join to exactly `text`; nothing added."""
        return self.table.encode(text.encode() if isinstance(text, str) else text)

    def decode(self, ids: Sequence[int]) -> bytes:
        """Bytes of ids, specials left out."""
        return self.table.decode(list(ids))

    @property
    def prefix(self) -> list[int]:
        """Specials that the tokeniser puts before a text of its own (BOS)."""
        return self.table.prefix

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and bool(self.table == other.table)

    __hash__ = None  # type: ignore[assignment]

    def _check_exact(self) -> None:
        sample = "Hello,  world 1234\n\tdef f(x): return é ﬁ 日本 🎉 "
        if (got := self.decode(self.encode(sample))) != sample.encode():
            raise UnsupportedTokenizerError(
                "[Vocabulary] expected a tokeniser whose tokens join to the text they came from, "
                f"got {got!r} for {sample!r}"
            )


class VocabularyMap:
    """Where two vocabularies meet: ordinary tokens by exact bytes, specials by text or role.

    Attributes:
        shared: distinct byte strings of ordinary tokens on both sides.
        to_target: [draft.size] id in the target, -1: none.
        to_draft: [target.size] id in the drafter, -1: none.
    """

    def __init__(self, draft: Vocabulary, target: Vocabulary) -> None:
        table = VocabularyMapTable(draft.table, target.table)
        self.shared: int = table.shared
        self.to_target: list[int] = table.to_target
        self.to_draft: list[int] = table.to_draft


def _byte_of_char() -> dict[str, int]:
    """GPT-2's stand-ins: printable bytes are themselves, the others follow from U+0100."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {chr(byte): byte for byte in plain}
    rest = [byte for byte in range(256) if byte not in set(plain)]
    table.update({chr(0x100 + i): byte for i, byte in enumerate(rest)})
    return table


def _components(node: Any) -> list[Json]:
    """A pipeline part and, for a sequence, its members."""
    if not isinstance(node, dict):
        return []
    members: list[Any] = next(
        (node[k] for k in ("normalizers", "pretokenizers", "decoders") if k in node), []
    )
    return [node, *(part for member in members for part in _components(member))]


def _kinds(node: Any) -> set[str]:
    return {str(part.get("type")) for part in _components(node)}


def _specials(data: Json) -> dict[str, int]:
    return {
        token["content"]: token["id"] for token in data.get("added_tokens", []) if token["special"]
    }


def _token_bytes(data: Json, specials: dict[str, int]) -> tuple[list[bytes], list[int]]:
    model = data["model"]
    kind = model.get("type") or ("BPE" if "merges" in model else "unknown")
    if kind != "BPE":
        raise UnsupportedTokenizerError(
            f"[Vocabulary] expected a BPE tokeniser, got {kind}: not supported yet"
        )
    vocab: dict[str, int] = model["vocab"]
    added = {t["content"]: t["id"] for t in data.get("added_tokens", []) if not t["special"]}
    size = max([*vocab.values(), *added.values(), *specials.values()]) + 1
    tokens = [b""] * size
    fallbacks: list[int] = []
    byte_level = "ByteLevel" in _kinds(data.get("decoder")) | _kinds(data.get("pre_tokenizer"))
    byte_of = _byte_of_char()
    for token, index in vocab.items():
        if byte_level:
            known = all(char in byte_of for char in token)
            tokens[index] = bytes(byte_of[char] for char in token) if known else token.encode()
        elif len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            tokens[index] = bytes([int(token[3:5], 16)])
            fallbacks.append(index)
        else:
            tokens[index] = token.replace("▁", " ").encode()
    for token, index in added.items():
        tokens[index] = token.encode()
    for index in specials.values():
        tokens[index] = b""
    return tokens, fallbacks


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
    return {name: ids for name, ids in roles.items() if ids}


def _prefix(data: Json, specials: set[int]) -> list[int]:
    from tokenizers import Tokenizer

    ids: list[int] = Tokenizer.from_str(json.dumps(data)).encode("a", add_special_tokens=True).ids
    count = next((i for i, token in enumerate(ids) if token not in specials), len(ids))
    return ids[:count]


def _exact_encoder(
    data: Json, tokens: Sequence[bytes], fallbacks: Sequence[int]
) -> Callable[[str], list[int]]:
    from tokenizers import Tokenizer

    data = copy.copy(data)
    data["post_processor"] = data["padding"] = data["truncation"] = None
    data["normalizer"] = _exact(copy.deepcopy(data.get("normalizer")))
    data["pre_tokenizer"] = _exact(copy.deepcopy(data.get("pre_tokenizer")))
    tokenizer = Tokenizer.from_str(json.dumps(data))
    tokenizer.encode_special_tokens = True  # "</s>" typed by a user is text

    def encode(text: str) -> list[int]:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    if not fallbacks:
        return encode
    # Where spaces are written as that sign, the sign itself can only be spelled in bytes.
    byte_of = {tokens[index]: index for index in fallbacks}
    sign = [byte_of[bytes([byte])] for byte in "▁".encode() if bytes([byte]) in byte_of]

    def encode_signs(text: str) -> list[int]:
        first, *rest = (encode(part) if part else [] for part in text.split("▁"))
        return first + [token for part in rest for token in sign + part]

    return encode_signs


def _exact(node: Json | None) -> Json | None:
    """A pipeline part without what adds or changes text."""
    if node is None or node["type"] in ("Prepend", "NFC", "NFD", "NFKC", "NFKD", "Strip"):
        return None
    for key in ("normalizers", "pretokenizers"):
        if key in node:
            node[key] = [part for member in node[key] if (part := _exact(member)) is not None]
    if node["type"] == "Metaspace":
        node["prepend_scheme"] = "never"
        node.pop("add_prefix_space", None)
    if node["type"] == "ByteLevel":
        node["add_prefix_space"] = False
    supported = {"Sequence", "Replace", "Metaspace", "ByteLevel", "Split", "Digits", "Punctuation"}
    if node["type"] not in supported:
        raise UnsupportedTokenizerError(
            f"[Vocabulary] expected one of {', '.join(sorted(supported))} in the tokeniser, "
            f"got {node['type']}"
        )
    if node["type"] == "Replace" and node.get("content") != "▁":
        raise UnsupportedTokenizerError(
            f"[Vocabulary] expected Replace to write '▁', got {node.get('content')!r}"
        )
    return node
