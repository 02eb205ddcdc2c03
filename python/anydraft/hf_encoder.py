"""The owner's library as encoder, where the core does not know a tokeniser's parts."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from anydraft.errors import VocabularyError

Json = dict[str, Any]
_SAMPLE = "Hello,  world 1234\n\tdef f(x): return é ﬁ 日本 🎉 "
_ADDS = {"Prepend", "NFC", "NFD", "NFKC", "NFKD", "Strip", "Lowercase", "StripAccents"}
_ADDS |= {"BertNormalizer", "Precompiled", "Nmt"}


def is_installed() -> bool:
    """Whether the owner's library is there."""
    return find_spec("tokenizers") is not None


class OwnersTokenizer:
    """`tokenizers` twice: as the owner has it, and set up to spell exactly what it is given."""

    def __init__(self, data: Json, tokens: Sequence[bytes], fallbacks: Sequence[int]) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise ImportError(
                f"fallback=True needs tokenizers: pip install 'anydraft[tokenizers]' ({error})"
            ) from error

        bare = {**data, "post_processor": None, "padding": None, "truncation": None}
        self._lock = threading.Lock()
        self._owner = Tokenizer.from_str(json.dumps(bare))
        bare["normalizer"] = _exact(copy.deepcopy(data.get("normalizer")))
        bare["pre_tokenizer"] = _exact(copy.deepcopy(data.get("pre_tokenizer")))
        self._speller = Tokenizer.from_str(json.dumps(bare))
        self._speller.encode_special_tokens = True  # "</s>" typed by a user is text
        self._tokens = tokens
        byte_of = {tokens[index]: index for index in fallbacks}
        # Where spaces are written as that sign, the sign itself can only be spelled in bytes.
        self._sign = [byte_of[bytes([byte])] for byte in "▁".encode() if bytes([byte]) in byte_of]
        self._has_sign = bool(fallbacks)

    def encode(self, text: str, specials: bool) -> list[int]:
        """The owner's ids, none added."""
        with self._lock:  # what one thread sets is not for another's text
            self._owner.encode_special_tokens = not specials
            ids: list[int] = self._owner.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int], skip_specials: bool) -> str:
        """The owner's text."""
        text: str = self._owner.decode(list(ids), skip_special_tokens=skip_specials)
        return text

    def spell(self, text: str) -> list[int]:
        """Ids whose bytes join to exactly `text`.

        Raises:
            VocabularyError: the owner drops or changes some of it.
        """
        ids = self._spell(text)
        if b"".join(self._tokens[token] for token in ids) != text.encode():
            raise VocabularyError(
                f"[Vocabulary.encode] expected text that this vocabulary can spell, got {text!r}"
            )
        return ids

    def is_exact(self) -> bool:
        """Whether a text with a bit of everything can be spelled."""
        try:
            self.spell(_SAMPLE)
        except VocabularyError:
            return False
        return True

    def _spell(self, text: str) -> list[int]:
        def encode(part: str) -> list[int]:
            ids: list[int] = self._speller.encode(part, add_special_tokens=False).ids
            return ids

        if not self._has_sign:
            return encode(text)
        first, *rest = (encode(part) if part else [] for part in text.split("▁"))
        return first + [token for part in rest for token in self._sign + part]


def _exact(node: Json | None) -> Json | None:
    """A pipeline part without what adds or changes text; what drops some is left as it is."""
    if node is None or node["type"] in _ADDS:
        return None
    if node["type"] == "Replace" and node.get("content") != "▁":
        return None
    for key in ("normalizers", "pretokenizers"):
        if key in node:
            node[key] = [part for member in node[key] if (part := _exact(member)) is not None]
    if node["type"] == "Metaspace":
        node["prepend_scheme"] = "never"
        node.pop("add_prefix_space", None)
    if node["type"] == "ByteLevel":
        node["add_prefix_space"] = False
    return node
