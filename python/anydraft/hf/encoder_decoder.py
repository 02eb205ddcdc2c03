"""Encoder-decoder models: the encoder takes the prompt once, a session sees the decoder alone."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache, EncoderDecoderCache

from anydraft.errors import InputError, UnsupportedTokenizerError
from anydraft.hf import rules
from anydraft.hf.feeds import Feed
from anydraft.hf.kv_cache import RequestCache
from anydraft.hf.model import HfModel, embeddings
from anydraft.hf.slots import Part, Slots
from anydraft.hf.stock import StockDecoder, trial_tokens

# What a prompt may hold beside the encoder's inputs.
_OWN = ("decoder_input_ids", "language", "task")


@dataclass(frozen=True)
class Encoded:
    """What the decoder takes of the encoder: its output, and a mask [1, length] where given."""

    output: Any
    mask: torch.Tensor | None


class CrossCache(EncoderDecoderCache):  # type: ignore[misc, unused-ignore]
    """The cache of one request: the encoder's output, its keys and values, and the decoder's own.

    A cut takes the decoder's own alone.
    """

    def __init__(self, config: Any, encoded: Encoded) -> None:
        super().__init__(RequestCache(config), DynamicCache())
        self.encoded = encoded
        self.unfinished = False

    def keep(self, first: int, moved: Sequence[int] = ()) -> None:
        """Keeps the first slots of the decoder's text, and behind them those in `moved`."""
        self.self_attention_cache.keep(first, moved)
        if self.unfinished:  # a pass failed half way: nobody knows which layers it reached
            self.cross_attention_cache = DynamicCache()
            self.is_updated: dict[int, bool] = {}
            self.unfinished = False


class CrossDecoder(StockDecoder):
    """Runs the decoder of a transformers model that has an encoder."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        places = [n for n in ("decoder_position_ids", "position_ids") if n in self._parameters]
        self._names = ("decoder_input_ids", places[0] if places else "", "decoder_attention_mask")
        self.says_positions = bool(places)
        self.trial: Encoded | None = None

    def new_cache(self, encoded: Encoded | None = None) -> CrossCache:
        """An empty cache for one request."""
        if encoded is None:
            raise InputError(_NOT_OPENED)
        return CrossCache(self._config, encoded)

    def join_requests(self, tokens: int) -> bool:
        """Each request has its own encoder output, and a pass of its own."""
        return False

    def trial_cache(self) -> CrossCache:
        """A cache for what is tried out."""
        return self.new_cache(self.trial)

    def _rows(self, *args: Any, **options: Any) -> torch.Tensor:
        cache = args[3]
        cache.unfinished = True
        rows = super()._rows(*args, **options)
        cache.unfinished = False
        return rows

    def whole(self, tokens: Sequence[int], cache: Any, **more: Any) -> torch.Tensor:
        """As StockDecoder's."""
        seen = torch.ones(1, len(tokens), dtype=torch.long, device=self._model.device)
        with_mask = self._names[2] in self._parameters  # else padding in the text is not seen
        if with_mask:
            more[self._names[2]] = seen
        return super().whole(tokens, cache, **more)

    def _beside(self, cache: Any) -> dict[str, Any]:
        given = {"encoder_outputs": cache.encoded.output}
        if cache.encoded.mask is not None:
            given["attention_mask"] = cache.encoded.mask
        return given


class HfEncoderDecoder(HfModel):
    """A transformers encoder-decoder model as a callable f(feeds) -> logits of its decoder.

    Who drives it calls, for the target and for a drafter of this kind:
    `decoder_prompt(prompt)` for the ids that the target's text begins behind; `open(request,
    prompt, target)` once a request, before its first feed.

    A prompt is text, ids for the encoder, or a mapping: the encoder's inputs by name
    (`input_features`, or `input_ids` and `attention_mask`), and `decoder_input_ids`, or for Whisper
    `language` and `task`, where the decoder is to begin otherwise than by itself.
    """

    def __init__(
        self,
        model: Any,
        vocabulary: Any,
        tokenizer: Any = None,
        row_costs: Sequence[float] | None = None,
    ) -> None:
        self._encoder = model.get_encoder()
        self._start = _start(model)
        self._checked = False
        self._opened: dict[int, tuple[Any, Encoded]] = {}
        self._firsts: dict[int, int] = {}  # request -> position of the last token of its prompt
        self._hidden: dict[int, int] = {}  # request -> slots that its feeds know nothing of
        self._same: dict[int, bool] = {}  # id of a target -> whether its encoder is this one's
        super().__init__(model, vocabulary, tokenizer, row_costs=row_costs)

    def decoder_prompt(self, prompt: Any) -> list[int]:
        """The decoder's ids of a prompt: its start token, and the tokens that are forced."""
        given = prompt if isinstance(prompt, Mapping) else {}
        if (ids := given.get("decoder_input_ids")) is not None:
            return [int(token) for token in torch.as_tensor(ids).reshape(-1)]
        if self.model.config.model_type == "whisper":
            return self._whisper_prompt(given)
        return list(self._start)

    def open(self, request: int, prompt: Any, target: Any = None) -> None:
        """Takes in the prompt of a request: runs the encoder, or takes the target's output.

        prompt: as the caller gave it. target: the session's target where this is its drafter.

        Raises:
            InputError: a prompt that is none for the encoder.
        """
        encoded: Encoded | None = None
        if isinstance(target, HfEncoderDecoder) and target is not self:
            encoded = target.encoded(prompt) if self._shares(target) else None
            prompt = _in_words(prompt, target, self)
        encoded = encoded or self.encode(prompt)
        self.forget(request)
        self._opened[request] = prompt, encoded
        self._firsts[request] = len(self.decoder_prompt(prompt)) - 1
        if not self._checked:
            self._check(encoded)

    def encode(self, prompt: Any) -> Encoded:
        """The encoder's output for a prompt."""
        inputs = self._inputs(prompt)
        mask = inputs.get("attention_mask")
        taken = inspect.signature(self._encoder.forward).parameters
        known = "attention_mask" in taken or any(p.kind is p.VAR_KEYWORD for p in taken.values())
        if not known:
            inputs.pop("attention_mask", None)
        with torch.inference_mode():
            return Encoded(self._encoder(**inputs, return_dict=True), mask)

    def encoded(self, prompt: Any) -> Encoded | None:
        """The output for the very prompt of a request that is open."""
        return next((e for p, e in self._opened.values() if p is prompt), None)

    def forget(self, request: int) -> None:
        """Drops the caches of a request; one that is not known is no error."""
        super().forget(request)
        for kept in (self._opened, self._firsts, self._hidden):
            kept.pop(request, None)

    def _new_decoder(self) -> Any:
        decoder = CrossDecoder(self.model)
        self._decoder = decoder
        if getattr(self.model, "main_input_name", "input_ids") == "input_ids":
            size = embeddings(self._encoder, self._config)
            ids = [token % size for token in trial_tokens(self._config, 9)]
            self._check(self.encode(ids))
        return decoder  # one that takes features is compared at its first prompt

    def _check(self, encoded: Encoded) -> None:
        self._decoder.trial = encoded
        self._check_rows(self._decoder)
        self._checked = True

    def _count_embeddings(self) -> int:
        return embeddings(self.model.get_decoder(), self._config)

    def _inputs(self, prompt: Any) -> dict[str, Any]:
        device = self.device
        if isinstance(prompt, Mapping):
            inputs = {k: v for k, v in prompt.items() if k not in _OWN}
            if not inputs:
                raise InputError(
                    "[HfEncoderDecoder] expected the encoder's inputs in the prompt, say "
                    f"{self.model.main_input_name}, got {sorted(prompt)}"
                )
            tensors = {k: torch.as_tensor(v, device=device) for k, v in inputs.items()}
            dtype = self.model.dtype
            return {k: v.to(dtype) if v.is_floating_point() else v for k, v in tensors.items()}
        ids = torch.tensor([self._ids(prompt)], device=device)
        if ids.shape[1] == 0:
            raise InputError("[HfEncoderDecoder] expected a prompt of at least one token, got none")
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def _ids(self, prompt: Any) -> list[int]:
        """The encoder's ids of text, as the model's owner makes them."""
        if not isinstance(prompt, str):
            return [int(token) for token in prompt]
        if self.tokenizer is not None:
            return [int(token) for token in self.tokenizer(prompt).input_ids]
        vocabulary = self.vocabulary
        try:
            ids = vocabulary.encode_as_owner(prompt, specials=False)
        except UnsupportedTokenizerError:
            ids = vocabulary.encode(prompt)
        return [*vocabulary.prefix, *ids, *rules.eos_tokens(self.model)[:1]]

    def _whisper_prompt(self, given: Mapping[str, Any]) -> list[int]:
        config = self.model.generation_config
        ids = list(self._start)
        if getattr(config, "is_multilingual", False):
            language = given.get("language") or getattr(config, "language", None)
            if language is None:
                raise InputError(
                    "[HfEncoderDecoder] expected language= in the prompt of a multilingual "
                    "Whisper, or in its generation_config, got none"
                )
            task = given.get("task") or getattr(config, "task", None) or "transcribe"
            ids.append(_named(f"<|{str(language).strip('<|>')}|>", config.lang_to_id, "language"))
            ids.append(_named(task, config.task_to_id, "task"))
        if (silent := getattr(config, "no_timestamps_token_id", None)) is not None:
            ids.append(silent)
        return ids

    def _shares(self, target: HfEncoderDecoder) -> bool:
        """Whether the target's encoder is this one's, weight by weight."""
        known = self._same.get(id(target))
        if known is None:
            mine, other = (dict(m._encoder.named_parameters()) for m in (self, target))
            known = mine.keys() == other.keys() and all(
                w.shape == other[n].shape and w.dtype == other[n].dtype and torch.equal(w, other[n])
                for n, w in mine.items()
            )
            self._same[id(target)] = known
        return known

    def _part(self, feed: Feed) -> Part:
        if feed.request not in self._requests:
            if feed.request not in self._opened:
                raise InputError(_NOT_OPENED)
            cache = self._decoder.new_cache(self._opened[feed.request][1])
            self._requests[feed.request] = Slots(), cache
            # A drafter with another vocabulary is fed what the decoder's text says, no start token.
            begins = list(feed.tokens[: len(self._start)]) == self._start[: len(feed.tokens)]
            self._hidden[feed.request] = 0 if begins else len(self._start)
        hidden = self._hidden[feed.request]
        started = len(self._requests[feed.request][0]) > 0
        return super()._part(_behind(feed, self._start[:hidden], started) if hidden else feed)

    def _run(self, parts: Sequence[Part]) -> torch.Tensor:
        requests = {id(cache): request for request, (_, cache) in self._requests.items()}
        rows = super()._run(parts)
        begin = 0
        for part in parts:
            first = self._firsts[requests[id(part.cache)]]
            places = list(part.positions[len(part.positions) - part.rows :])
            mine = rows[begin : begin + part.rows]
            self._forbidden.apply(mine, places.index(first) if first in places else None)
            begin += part.rows
        return rows


@dataclass(frozen=True)
class _Moved:
    """A feed behind slots it does not know of; as Feed."""

    request: int
    tokens: list[int]
    positions: list[int]
    parents: list[int]
    keep: list[int] | None
    rows: int


def _behind(feed: Feed, hidden: list[int], started: bool) -> Feed:
    """The feed with `hidden` before all it knows of: fed with it where nothing is cached yet."""
    by = len(hidden)
    if not started:
        parents = [p + by if p >= 0 else by - 1 for p in feed.parents]
        return _Moved(
            feed.request,
            [*hidden, *feed.tokens],
            [*range(by), *(p + by for p in feed.positions)],
            [*range(-1, by - 1), *parents],
            [],
            feed.rows,
        )
    kept = feed.keep
    keep = None if kept is None else [*range(by), *(slot + by for slot in kept)]
    parents = [p - by if p < -1 else p for p in feed.parents]
    positions = [p + by for p in feed.positions]
    return _Moved(feed.request, list(feed.tokens), positions, parents, keep, feed.rows)


def _in_words(prompt: Any, target: HfEncoderDecoder, drafter: HfEncoderDecoder) -> Any:
    """The prompt as a drafter with another vocabulary takes it: ids become text."""
    if isinstance(prompt, str) or target.vocabulary == drafter.vocabulary:
        return prompt
    ids = prompt.get("input_ids") if isinstance(prompt, Mapping) else prompt
    if ids is None:
        return prompt
    flat = [int(token) for token in torch.as_tensor(ids).reshape(-1)]
    return target.vocabulary.decode(flat).decode("utf-8", "replace")


def _named(name: str, ids: Mapping[str, int], what: str) -> int:
    if name not in ids:
        known = ", ".join(sorted(ids))
        raise InputError(f"[HfEncoderDecoder] expected {what} out of {known}, got {name!r}")
    return ids[name]


def _start(model: Any) -> list[int]:
    """The decoder's start token and the tokens that are forced behind it."""
    generation = getattr(model, "generation_config", None)
    found = [
        value
        for config in (generation, model.config, model.config.get_text_config(decoder=True))
        for name in ("decoder_start_token_id", "bos_token_id")
        if (value := getattr(config, name, None)) is not None
    ]
    if not found:
        raise InputError(
            "[HfEncoderDecoder] expected decoder_start_token_id in the generation_config, got none"
        )
    start = [found[0]] if isinstance(found[0], int) else [int(found[0][0])]
    forced = getattr(generation, "forced_bos_token_id", None)
    places = dict(getattr(generation, "forced_decoder_ids", None) or [])
    place = len(start)
    while places.get(place) is not None:
        start.append(places[place])
        place += 1
    return start if forced is None else [*start, forced]


_NOT_OPENED = (
    "[HfEncoderDecoder] expected open(request, prompt) before a request's first feed, got none: "
    "the encoder has nothing to read"
)
