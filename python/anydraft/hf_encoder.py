"""The owner's library as encoder, where the core does not know a tokeniser's parts."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from typing import Any

from anydraft.errors import UnsupportedTokenizerError

Json = dict[str, Any]


def exact_encoder(
    data: Json, tokens: Sequence[bytes], fallbacks: Sequence[int]
) -> Callable[[str], list[int]]:
    """`tokenizers` set up so that its ids join to exactly the bytes it was given.

    Raises:
        ImportError: the library is missing.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ImportError(
            f"fallback=True needs tokenizers: pip install 'anydraft[tokenizers]' ({error})"
        ) from error

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
    lossy = {"Lowercase", "StripAccents", "BertNormalizer", "BertPreTokenizer", "Precompiled"}
    lossy |= {"Whitespace", "WhitespaceSplit"}
    if node["type"] in lossy or (node["type"] == "Replace" and node.get("content") != "▁"):
        raise UnsupportedTokenizerError(
            f"[Vocabulary] expected a tokeniser that keeps every byte, got {node['type']}"
        )
    return node
