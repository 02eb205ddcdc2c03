"""Tiny models in place of those that a page names, behind the true signatures."""

from __future__ import annotations

import contextlib
import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from anydraft import Vocabulary, stateless


def _tiny() -> Any:
    """A model of bytes that depends on the last token, with a chat template."""
    import torch

    table = torch.randn(256, 256, generator=torch.Generator().manual_seed(0))
    vocabulary = Vocabulary.from_bytes(
        [bytes([i]) for i in range(256)], encoder=lambda text: list(text.encode())
    )
    model: Any = stateless(lambda ids: table[ids], vocabulary)
    model.chat = lambda messages: list("".join(m["content"] for m in messages).encode())
    model.description = "a table"
    return model


def _in_place_of(load: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(load)

    def loaded(*args: Any, **options: Any) -> Any:
        signature.bind(*args, **options)  # an option that is not there is an error of the page
        return _tiny()

    return loaded


def _tokenizer() -> str:
    """A tokenizer.json of bytes."""
    tokenizers = pytest.importorskip("tokenizers")
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    inner = tokenizers.Tokenizer(
        tokenizers.models.BPE({letter: i for i, letter in enumerate(alphabet)}, [])
    )
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    return json.dumps(json.loads(inner.to_str()))


@contextlib.contextmanager
def stand_ins(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[None]:
    from anydraft import loading, native

    hf = pytest.importorskip("anydraft.hf")
    (folder / "tokenizer.json").write_text(_tokenizer())
    with monkeypatch.context() as patch:
        patch.setattr(hf, "load", _in_place_of(hf.load))
        patch.setattr(native, "load", _in_place_of(native.load))
        patch.setattr(loading, "load_model", _in_place_of(loading.load_model))
        yield
