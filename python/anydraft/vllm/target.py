"""The target's vocabulary, from the tokenizer that vLLM is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anydraft.errors import InputError
from anydraft.vocabulary import Vocabulary


def target_vocabulary(model_config: Any) -> Vocabulary:
    """The vocabulary of vLLM's `ModelConfig`.

    Raises:
        InputError, FileNotFoundError: no tokenizer.
        UnsupportedTokenizerError: one that cannot be read.
    """
    if model_config.skip_tokenizer_init:
        raise InputError(
            "[anydraft.vllm] expected a target with its tokenizer, got skip_tokenizer_init=True"
        )
    return read_vocabulary(model_config.tokenizer)


def read_vocabulary(name: str) -> Vocabulary:
    """The vocabulary of a folder, a GGUF file, or a name on the hub.

    Raises:
        FileNotFoundError: a folder without a tokenizer.
        InputError: a tokenizer that is not a fast one.
        UnsupportedTokenizerError: one that cannot be read.
    """
    path = Path(name).expanduser()
    if path.exists():
        return Vocabulary.from_file(path)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(name)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise InputError(
            f"[anydraft.vllm] expected a fast tokenizer, got {type(tokenizer).__name__}"
        )
    return Vocabulary.from_json(backend.to_str())
