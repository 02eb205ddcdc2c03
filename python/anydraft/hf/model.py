"""A transformers model as the model of a session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch

from anydraft.hf.feeds import Feed, check_feed, check_parents
from anydraft.hf.lean.coarse import CoarseLinear
from anydraft.hf.slots import Part, Slots
from anydraft.hf.stock import StockDecoder

if TYPE_CHECKING:
    from anydraft.hf.lean.decoder import LeanDecoder

# What a cache of full-length layers can serve; a recurrent state cannot be cut back.
_LAYER_TYPES = {"full_attention", "sliding_attention", "chunked_attention"}


class HfModel:
    """A transformers causal model as a callable f(feeds) -> logits, with a cache for each request.

    Chains and trees alike: parents and positions say what each token sees. The lean pass takes the
    feeds of all requests together, transformers' own takes them in turn. Not for concurrent calls:
    the caches are shared by all of them.

    Attributes:
        drafts_only: whether weights are rounded (pack="int4"), so that a session refuses it as a
            target.
    """

    def __init__(
        self, model: Any, vocabulary: Any, tokenizer: Any = None, lean: LeanDecoder | None = None
    ) -> None:
        """model: a transformers causal model, which must not be changed while this uses it.
        lean: a forward pass of the same model to take in place of its own."""
        text_config = model.config.get_text_config(decoder=True)
        _check_croppable(model, text_config)
        self.model = model.eval()
        self.vocabulary = vocabulary
        self.tokenizer = tokenizer
        self.lean = lean
        self.drafts_only = any(isinstance(layer, CoarseLinear) for layer in model.modules())
        limit = getattr(text_config, "max_position_embeddings", None)
        self.context_length: int | None = limit
        self._embeddings = int(model.get_input_embeddings().weight.shape[0])
        self._decoder: Any = lean or StockDecoder(model)
        self._requests: dict[int, tuple[Slots, Any]] = {}

    @property
    def device(self) -> torch.device:
        """Where the model lies, and the logits with it."""
        return cast("torch.device", self.model.device)

    def __call__(self, feeds: Sequence[Feed]) -> torch.Tensor:
        """Feeds of distinct requests -> float32 logits [sum of feed.rows, vocab], in feed order."""
        for feed in feeds:
            check_feed(feed, self._embeddings)
        if len({feed.request for feed in feeds}) != len(feeds):
            raise ValueError("[HfModel] expected one feed a request, got several of one")
        with torch.inference_mode():
            rows = [self._forward(group) for group in _groups(feeds, self._decoder.together)]
            if not rows:
                width = self.model.config.get_text_config(decoder=True).vocab_size
                return torch.empty(0, width, device=self.device)
            return rows[0] if len(rows) == 1 else torch.cat(rows)

    @property
    def stop_tokens(self) -> list[int]:
        """Ids that end a text by the model's generation_config.json."""
        eos = getattr(getattr(self.model, "generation_config", None), "eos_token_id", None)
        return [eos] if isinstance(eos, int) else list(eos or ())

    def forget(self, request: int) -> None:
        """Drops the cache of a request; one that is not known is no error."""
        self._requests.pop(request, None)

    def chat(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """The ids of chat messages under the model's template, up to where the answer begins."""
        if self.tokenizer is None or not self.tokenizer.chat_template:
            raise ValueError(
                "[HfModel.chat] expected a tokenizer with a chat template, got none: give text"
            )
        # The template's text is tokenised with its specials recognised, and none added to them.
        ids = self.tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=False,
        )
        return [int(token) for token in ids]

    def _forward(self, feeds: Sequence[Feed]) -> torch.Tensor:
        """One pass of the decoder -> [sum of feed.rows, vocab]."""
        parts = [self._part(feed) for feed in feeds]
        rows: torch.Tensor = self._decoder(parts)
        for part in parts:
            part.slots.add(part.positions, part.parents)
        return rows

    def _part(self, feed: Feed) -> Part:
        """Cuts the request's cache to what the feed keeps."""
        slots, cache = self._requests.get(feed.request) or (Slots(), self._decoder.new_cache())
        check_parents(feed, slots)
        cache.keep(*slots.keep(feed.keep))
        self._requests[feed.request] = slots, cache
        return Part(feed.tokens, feed.positions, feed.parents, feed.rows, slots, cache)


def _groups(feeds: Sequence[Feed], together: int) -> list[list[Feed]]:
    """Feeds to run in one pass: those of several requests with `together` tokens at most."""
    groups, remaining = list[list[Feed]](), 0
    for feed in feeds:
        new = len(feed.tokens)
        if new <= remaining:
            groups[-1].append(feed)
            remaining -= new
        else:
            groups.append([feed])
            remaining = together - new
    return groups


def _check_croppable(model: Any, text_config: Any) -> None:
    kinds = set(getattr(text_config, "layer_types", None) or ()) - _LAYER_TYPES
    if kinds or getattr(model, "_is_stateful", False):
        raise NotImplementedError(
            f"[HfModel] expected attention layers, got {sorted(kinds) or 'a recurrent state'}: "
            "what such a layer has taken in cannot be taken back when a draft is rejected"
        )
