"""Vocabularies as tables of bytes, with their tokenisers.

Two ways to encode: `Vocabulary.encode` spells exactly the bytes it is given (what bridges use), and
`Vocabulary.encode_as_owner` gives the ids of the owner's library, with its normalisation, prefix
space and special tokens (what a model expects of a prompt).
"""

from __future__ import annotations

import json
import logging
import operator
import re
import reprlib
import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from anydraft._core import (
    VocabularyMapTable,
    VocabularyTable,
    read_vocabulary,
    write_vocabulary,
)
from anydraft.checks import string, token_ids
from anydraft.errors import InputError, UnsupportedTokenizerError, VocabularyError
from anydraft.tokenizer_spec import describe
from anydraft.vocabulary_files import TABLE_MAGIC, read_description, tokenizer_in

Json = dict[str, Any]
_log = logging.getLogger("anydraft")


class Vocabulary:
    """What each token id stands for, in bytes, and its tokeniser.

    Attributes:
        size: number of ids, holes included; a model's logits may be wider (padding).

    >>> v = Vocabulary.from_bytes([b"a", b"b", b"ab"], encoder=lambda text: [2])  # a toy
    >>> v.size, v.token_bytes(2), v.decode([0, 1])
    (3, b'ab', b'ab')
    """

    def __init__(self, table: VocabularyTable) -> None:
        self.table = table
        self._owner: Any = None  # the owner's library, where it encodes
        self._exact: bool | None = None

    @classmethod
    def from_file(
        cls, path: str | Path, *, kind: str | None = None, fallback: bool = False
    ) -> Vocabulary:
        """Read a tokenizer.json, tekken.json, SentencePiece model, tiktoken rank file, GGUF, or a
        table that `export` wrote; or a folder with tokenizer.json, tekken.json or tokenizer.model,
        of which the first is taken.

        A tokenizer_config.json beside a tokenizer.json names the EOS and BOS tokens.

        Args:
            kind: what the file is, where its content does not say it: a rank file that is not one
                of the well-known ones needs the kind of its pattern ("gpt2", "cl100k", "llama3", …;
                all of them in `anydraft.vocabulary_files.KINDS`); a GGUF from before
                `tokenizer.ggml.pre` the name that belongs there.
            fallback: where a part of a tokenizer.json is not supported natively, encode with the
                `tokenizers` library (`pip install 'anydraft[tokenizers]'`), with a warning that
                names the part.

        Raises:
            FileNotFoundError: no such file.
            ImportError: a SentencePiece model without the library that parses it, `fallback`
                without `tokenizers`.
            UnsupportedTokenizerError: a part of the tokeniser that is not supported, named, or a
                rank file whose kind is not known.
            VocabularyError: a file that is none of these, damaged, or of a newer format.
        """
        path = Path(path)
        path = tokenizer_in(path) if path.is_dir() else path
        with path.open("rb") as file:
            exported = file.read(len(TABLE_MAGIC)) == TABLE_MAGIC
        if exported:
            return cls(read_vocabulary(str(path)))
        data, config = read_description(path, kind)
        return cls.from_description(data, config=config, fallback=fallback)

    def export(self, path: str | Path) -> None:
        """Write the vocabulary and its encoder as one table that C++ and Python map as it lies.

        Written to a temporary name beside `path`, then renamed.

        Raises:
            VocabularyError: a vocabulary that is not `native`.
            InputError: a place that cannot be written to.
        """
        write_vocabulary(self.table, str(path))

    @classmethod
    def from_json(
        cls, text: str, *, config: Json | None = None, fallback: bool = False
    ) -> Vocabulary:
        """As `from_file`, from the text of a tokenizer.json and a parsed tokenizer_config.json."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise VocabularyError(f"[Vocabulary] expected JSON, got {error}") from error
        if not isinstance(data, dict):
            raise VocabularyError("[Vocabulary] expected a tokenizer.json with a model, got none")
        return cls.from_description(data, config=config, fallback=fallback)

    @classmethod
    def from_description(
        cls, data: Json, *, config: Json | None = None, fallback: bool = False
    ) -> Vocabulary:
        """From a parsed tokenizer.json, or another file in its terms (anydraft.tokenizer_spec)."""
        try:
            described = describe(data, config or {})
        except (UnsupportedTokenizerError, VocabularyError):
            raise
        except (
            AttributeError, LookupError, OverflowError, RecursionError, TypeError, ValueError
        ) as error:  # fmt: skip
            raise VocabularyError(
                f"[Vocabulary] expected a whole description of a tokeniser, got one with {error!r}"
            ) from error
        try:
            return cls(VocabularyTable.build(described))
        except UnsupportedTokenizerError as error:
            if "owner" in data or "pieces" in data["model"]:
                raise
            if not fallback:
                raise UnsupportedTokenizerError(
                    f"{error} (fallback=True encodes with the tokenizers library)"
                ) from error
            warnings.warn(f"{error}; encoding with the tokenizers library", stacklevel=2)
        return cls._with_owner(data, described)

    @classmethod
    def _with_owner(cls, data: Json, described: Json) -> Vocabulary:
        from anydraft.hf_encoder import OwnersTokenizer

        names = ("tokens", "specials", "roles", "prefix", "byte_fallbacks")
        tokens, specials, roles, prefix, fallbacks = (described[name] for name in names)
        owner = OwnersTokenizer(data, tokens, fallbacks)
        vocabulary = cls(VocabularyTable(tokens, specials, roles, prefix, fallbacks, owner.spell))
        vocabulary._owner = owner
        vocabulary._exact = owner.is_exact()
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
        checked = _checked(encoder, len(tokens))
        return cls(VocabularyTable(tokens, specials or {}, named, list(prefix), [], checked))

    @property
    def size(self) -> int:
        return self.table.size

    @property
    def specials(self) -> dict[str, int]:
        """Special tokens by text."""
        return self.table.specials

    @property
    def native(self) -> bool:
        """Whether the core encodes; else a function does (`from_bytes`, `fallback`)."""
        return self.table.native

    @property
    def exact(self) -> bool:
        """Whether `encode` can spell every text (WordPiece, for one, drops white space)."""
        return self.table.exact if self._exact is None else self._exact

    def token_bytes(self, token: int) -> bytes | None:
        """Bytes of an id; None for a special or a hole."""
        return self.table.token_bytes(token)

    def role(self, name: str) -> tuple[int, ...]:
        """Ids of a role; empty where unknown.

        The roles: bos, eos, pad, unk, turn_start, turn_end, and end (what the tokeniser's own files
        say ends a text, whatever that token looks like; with turn_end for a GGUF file that names no
        end of a turn).
        """
        return tuple(self.table.role(name))

    def encode(self, text: str | bytes, *, specials: bool = False) -> list[int]:
        """Ids whose bytes join to exactly `text`; nothing added, and a typed "</s>" is text.

        Args:
            specials: special tokens that the text spells become their ids.

        Raises:
            VocabularyError: bytes that the tokens cannot spell; an encoder of the caller's that
                raises, or returns no ids.
        """
        data = text if isinstance(text, bytes) else _utf8(text, "encode")
        if not specials or not (named := self.specials):
            return self.table.encode(data)
        longest_first = sorted((sign.encode() for sign in named), key=len, reverse=True)
        pieces = re.split(b"(" + b"|".join(map(re.escape, longest_first)) + b")", data)
        ids = list[int]()
        for i, piece in enumerate(pieces):
            ids += [named[piece.decode()]] if i % 2 else self.table.encode(piece)
        return ids

    def encode_as_owner(self, text: str, *, specials: bool = True) -> list[int]:
        """The ids of the owner's library, special tokens not added.

        Normalisation and prefix space are the owner's, so these ids may join to other bytes.

        Args:
            specials: the text of a special token becomes the token, as the libraries do it.

        Raises:
            UnsupportedTokenizerError: a vocabulary whose encoder is a function of the caller's.
            InputError: a lone surrogate, which no UTF-8 has.
        """
        data = _utf8(text, "encode_as_owner")
        if self._owner is not None:
            ids: list[int] = self._owner.encode(text, specials)
            return ids
        return self.table.encode_as_owner(data, specials)

    def decode(self, ids: Sequence[int]) -> bytes:
        """Bytes of ids, specials left out."""
        return self.table.decode(token_ids(ids, "Vocabulary.decode", "ids"))

    def decode_as_owner(self, ids: Sequence[int], *, skip_specials: bool = False) -> str:
        """The text of the owner's library, U+FFFD where bytes are no UTF-8."""
        kept = token_ids(ids, "Vocabulary.decode_as_owner", "ids")
        if self._owner is not None:
            text: str = self._owner.decode(kept, skip_specials)
            return text
        return self.table.decode_as_owner(kept, skip_specials)

    @property
    def prefix(self) -> list[int]:
        """Specials that the tokeniser puts before a text of its own (BOS)."""
        return self.table.prefix

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and bool(self.table == other.table)

    __hash__ = None  # type: ignore[assignment]


def _checked(encoder: Callable[[str], list[int]], size: int) -> Callable[[str], list[int]]:
    """A caller's encoder; what it does wrong is logged once, and means text it cannot spell."""
    told = list[str]()

    def encode(text: str) -> list[int]:
        try:
            ids = encoder(text)
            listed = [] if isinstance(ids, str | bytes) else [operator.index(i) for i in ids]
            if len(listed) == len(ids) and all(0 <= token < size for token in listed):
                return listed
            wrong = f"got {reprlib.repr(ids)}"
        except Exception as error:
            wrong = f"got {error!r}"
        message = f"[Vocabulary] expected ids in [0, {size}) from the encoder, {wrong}"
        if not told:
            told.append(message)
            _log.warning("%s; such text is not drafted", message)
        raise VocabularyError(message)

    return encode


def _utf8(text: str, function: str) -> bytes:
    try:
        return string(text, f"Vocabulary.{function}", "text").encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"[Vocabulary.{function}] expected text without lone surrogates, got "
            f"U+{ord(text[error.start]):04X} at {error.start}"
        ) from error


class VocabularyMap:
    """Where two vocabularies meet: ordinary tokens by exact bytes, specials by text or role.

    Attributes:
        shared: distinct byte strings of ordinary tokens on both sides.
        to_target: [draft.size] id in the target, -1: none.
        to_draft: [target.size] id in the drafter, -1: none.

    Source: Timor et al. 2025, token-level intersection.

    >>> def letters(text):
    ...     return Vocabulary.from_bytes([c.encode() for c in text], encoder=lambda t: [0])
    >>> both = VocabularyMap(letters("cab"), letters("abx"))
    >>> both.shared, both.to_target, both.to_draft
    (2, [-1, 0, 1], [1, 2, -1])
    """

    def __init__(self, draft: Vocabulary, target: Vocabulary) -> None:
        self.table = VocabularyMapTable(draft.table, target.table)
        self.shared: int = self.table.shared

    @cached_property
    def to_target(self) -> list[int]:
        """Ids in the target."""
        return self.table.to_target

    @cached_property
    def to_draft(self) -> list[int]:
        """Ids in the drafter."""
        return self.table.to_draft
