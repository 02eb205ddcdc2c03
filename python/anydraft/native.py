"""Models of the native decoder: a GGUF file, or a folder of safetensors, on a CPU without torch.

>>> from anydraft import SpeculativeSession, native
>>> target = native.load("Qwen2.5-1.5B-Instruct-Q4_K_M.gguf")   # doctest: +SKIP
>>> session = SpeculativeSession(target, native.load("SmolLM2-135M.gguf"))  # doctest: +SKIP
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anydraft import checks, stops
from anydraft._core import Decoder
from anydraft.chat import ChatTemplate
from anydraft.errors import InputError
from anydraft.hf_encoder import is_installed
from anydraft.row_costs import known_row_costs
from anydraft.vocabulary import Vocabulary

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    from anydraft._core import Feed


class NativeModel:
    """A decoder as the model of a session.

    The bits of a token's logits depend on the tokens before it alone, not on how many rows and
    requests a call has, on how the text was fed, or on the number of threads. So greedy text with
    any drafter is plain decoding's to the letter. Calls from several threads take turns.

    Attributes:
        stop_tokens: ids that end a text by the model's own files.
        template: the chat template of its files; None where they have none.
    """

    def __init__(
        self,
        decoder: Decoder,
        vocabulary: Vocabulary,
        template: ChatTemplate | None,
        path: Path,
        row_costs: list[float] | None = None,
    ) -> None:
        self._decoder = decoder
        self._turn = threading.Lock()
        self._path = path
        self._row_costs = row_costs
        self.vocabulary = vocabulary
        self.template = template
        self.stop_tokens = decoder.stop_tokens or stops.end_tokens(vocabulary)

    def __call__(self, feeds: Sequence[Feed], /) -> NDArray[numpy.float32]:
        """Feeds of distinct requests -> float32 logits [sum of feed.rows, vocab], in feed order.

        The array stays as it is as long as it lives; memory of those that are gone is used again.

        Raises:
            InputError: a feed that does not fit its request's cache, a token the model does not
                have, a position at or beyond `context_length`. The caches stay as they were.
        """
        with self._turn:
            return self._decoder.forward(feeds)

    def forget(self, request: int) -> None:
        """Drops the cache of a request; one that is not known is no error."""
        with self._turn:
            self._decoder.forget(request)

    @property
    def context_length(self) -> int:
        """The longest text, in tokens."""
        return self._decoder.context_length

    def chat(self, messages: Sequence[Mapping[str, Any]], **arguments: Any) -> list[int]:
        """The ids of chat messages under the model's template, up to where the answer begins.

        Args:
            arguments: of `ChatTemplate.render`: tools=, continue_final_message=, and the template's
                own.

        Raises:
            ImportError: no jinja2 (pip install 'anydraft[native]').
            InputError: a model without a template, or messages that it does not take.
        """
        if self.template is None:
            raise InputError(
                "[NativeModel.chat] expected a model with a chat template, got none: give text"
            )
        arguments.setdefault(
            "add_generation_prompt", not arguments.get("continue_final_message", False)
        )
        return self.template.ids(self.vocabulary, messages, **arguments)

    @property
    def row_costs(self) -> list[float]:
        """Milliseconds of a call on n rows, by n from 0 to 16; what was given to `load`, else
        measured for a model and machine and kept in the cache folder."""
        if self._row_costs is None:
            self._row_costs = known_row_costs(self, self._path)
        return self._row_costs

    @property
    def vocab_size(self) -> int:
        """Length of a row of logits."""
        return self._decoder.vocab_size

    @property
    def input_size(self) -> int:
        """How many ids it can be fed; its vocabulary may have more."""
        return self.vocab_size

    @property
    def description(self) -> str:
        """One line: the architecture, what the weights are and what a step reads of them."""
        return self._decoder.description

    @property
    def cache_bytes_per_token(self) -> int:
        """Of keys and values for a token of a text; they are taken in pages of 64 tokens."""
        return self._decoder.cache_bytes_per_token

    @property
    def cached_requests(self) -> int:
        """How many requests have a cache now."""
        with self._turn:
            return self._decoder.cached_requests


def load(
    path: str | Path,
    *,
    weights: str | None = None,
    cache: str = "float32",
    vocabulary: Vocabulary | None = None,
    row_costs: Sequence[float] | None = None,
) -> NativeModel:
    """A model of the native decoder.

    Families: Llama, SmolLM2, SmolLM3, Mistral, Qwen2, Qwen2.5, Qwen3, Gemma 3, Phi-3.

    Args:
        path: a GGUF file, which is taken exactly as it is; or a folder with config.json and
            safetensors.
        weights: of a folder: "float32"; "bfloat16" (None: that, and float16 files as they are);
            "int8" (one scale for each output) or "int4" (groups of 64), which make another model
            of it: the text is that model's.
        cache: "float32", or "bfloat16" for half the memory, whose logits differ a little.
        vocabulary: read from the same place unless given; a tokenizer with parts that are not read
            natively is encoded by the tokenizers library where that is installed, with a warning.
        row_costs: costs of calls on 0, 1, 2, … rows, in any unit that target and drafter share;
            None: measured when a session first asks, once per model and machine.

    Returns:
        A callable for `SpeculativeSession`; `description` says what it holds.

    Raises:
        InputError: damaged files; an architecture, a type of weights or a part of the model that is
            not supported, by name.
        VocabularyError: a file whose vocabulary is damaged.
        UnsupportedTokenizerError: no vocabulary could be read there: give one.
    """
    path = Path(path).expanduser()
    costs = None if row_costs is None else checks.row_costs(row_costs, "native.load")
    # Before the weights: what reading these takes for a while does not come on top of them.
    if vocabulary is None:
        kind = None if path.is_dir() else "gguf"
        vocabulary = Vocabulary.from_file(path, kind=kind, fallback=is_installed())
    template = ChatTemplate.from_file(path)
    return NativeModel(Decoder(str(path), weights, cache), vocabulary, template, path, costs)
