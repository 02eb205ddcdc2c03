"""A transformers model as the model of a session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch

from anydraft.checks import row_costs as checked_row_costs
from anydraft.errors import InputError
from anydraft.hf import borders, checks, rules
from anydraft.hf.feeds import Feed, check_feed, check_parents
from anydraft.hf.slots import Part, Slots
from anydraft.hf.snapshots import RecurrentDecoder
from anydraft.hf.static import StaticDecoder
from anydraft.hf.stock import StockDecoder
from anydraft.hf.templates import template_ids

_TOGETHER = 512  # tokens that several requests may have in one pass; a prompt of more goes alone


class HfModel:
    """A transformers causal model as a callable f(feeds) -> logits, with a cache for each request.

    Chains and trees alike: parents and positions say what each token sees; models with recurrent
    layers take chains alone. Feeds of several requests run in turn, or in one padded pass
    (`together`). Not for concurrent calls: the caches are shared by all of them.

    Attributes:
        context_length: how many tokens a text may have, None for any number.
        row_costs: costs of calls on 0, 1, 2, … rows, None where they are not known.

    Raises:
        InputError: a model whose text would not be its own, by name and with the reason.
    """

    def __init__(
        self,
        model: Any,
        vocabulary: Any,
        tokenizer: Any = None,
        together: bool | None = None,
        row_costs: Sequence[float] | None = None,
        static: bool | None = None,
    ) -> None:
        """model: a transformers causal model, which must not be changed while this uses it.
        together, row_costs, static: as of `load`."""
        checks.check_head(model)
        self.model = model.eval()
        self.vocabulary = vocabulary
        self.tokenizer = tokenizer
        self.row_costs = None if row_costs is None else checked_row_costs(row_costs, "HfModel")
        self._config = model.config.get_text_config(decoder=True)
        self.context_length = checks.context_length(self._config)
        self._border = borders.longrope_border(self._config)
        self._dynamic = borders.dynamic_border(self._config)
        self._forbidden = rules.forbidden(model)
        self._embeddings = self._count_embeddings()
        self._requests: dict[int, tuple[Slots, Any]] = {}
        on_gpu = self.device.type != "cpu"
        self._not_static = "static=False" if static is False else "not on a GPU"
        self._static = (on_gpu if static is None else static) and together is not False
        self._decoder: Any = self._new_decoder()
        if together or (together is None and (on_gpu or self._static)):
            self._join_requests(explicit=bool(together))
        if static and not isinstance(self._decoder, StaticDecoder):
            raise InputError(
                f"[HfModel] expected static=False or None, got True: {self._not_static}"
            )

    @property
    def device(self) -> torch.device:
        """Where the model lies, and the logits with it."""
        return cast("torch.device", self.model.device)

    def __call__(self, feeds: Sequence[Feed]) -> torch.Tensor:
        """Feeds of distinct requests -> logits [sum of feed.rows, vocab], in feed order, in the
        model's dtype and on its device."""
        for feed in feeds:
            check_feed(feed, self._embeddings)
            self._check_length(feed)
        if len({feed.request for feed in feeds}) != len(feeds):
            raise InputError("[HfModel] expected one feed a request, got several of one")
        with torch.inference_mode():
            rows = [self._forward(group) for group in self._groups(feeds)]
            if not rows:
                return torch.empty(0, self._config.vocab_size, device=self.device)
            return rows[0] if len(rows) == 1 else torch.cat(rows)

    @property
    def input_size(self) -> int:
        """How many ids it can be fed; its vocabulary may have more."""
        return self._embeddings

    @property
    def stop_tokens(self) -> list[int]:
        """Ids that end a text by the model's generation_config.json."""
        return rules.eos_tokens(self.model)

    @property
    def passes(self) -> tuple[int, int]:
        """(forward passes so far, of these such as only moved a recurrent model's snapshot up)."""
        decoder = self._decoder
        return getattr(decoder, "passes", 0), getattr(decoder, "extra_passes", 0)

    @property
    def graphs(self) -> dict[tuple[int, int], str]:
        """{(rows, tokens) of the steps taken so far: "" where it is a CUDA graph, else why not}."""
        return dict(getattr(self._decoder, "graphs", {}))

    def forget(self, request: int) -> None:
        """Drops the cache of a request; one that is not known is no error."""
        self._requests.pop(request, None)

    def chat(self, messages: Sequence[Mapping[str, Any]], **arguments: Any) -> list[int]:
        """The ids of chat messages under the model's template, up to where the answer begins.

        `arguments`: of the template: tools=, continue_final_message=, chat_template= in place of
        the tokenizer's, and its own.
        """
        return template_ids(self.tokenizer, messages, arguments)

    def _new_decoder(self) -> Any:
        """transformers' own pass, compared with itself."""
        decoder = (self._static_decoder() if self._static else None) or StockDecoder(self.model)
        if decoder.new_cache().is_recurrent:
            decoder = RecurrentDecoder(self.model, self.row_costs)
        elif getattr(self.model, "_is_stateful", False):
            raise InputError(
                f"[HfModel] expected a state that can be copied, got {type(self.model).__name__}: "
                "its recurrent state is in a cache of its own kind, and what it has taken in "
                "cannot be taken back when a draft is rejected"
            )
        self._check_rows(decoder)
        return decoder

    def _static_decoder(self) -> Any:
        """Steps of fixed shapes, compared with the pass without a cache; None: not this model."""
        try:
            decoder = StaticDecoder(self.model)
            with torch.inference_mode():
                joined = decoder.join_requests(_TOGETHER)
            if joined:
                self._check_rows(decoder)
                return decoder
            self._not_static = f"it takes no mask of four dimensions ({decoder.alone_because})"
        except InputError as error:
            self._not_static = str(error)
        return None

    def _join_requests(self, *, explicit: bool) -> None:
        with torch.inference_mode():
            joined = self._decoder.join_requests(_TOGETHER)
        if explicit and not joined:
            raise InputError(
                f"[HfModel] expected together=False or None, got True: {type(self.model).__name__} "
                "takes no mask that would keep several requests apart "
                f"({self._decoder.alone_because})"
            )

    def _check_rows(self, decoder: Any) -> None:
        quantised = checks.is_quantised(self.model)
        with torch.inference_mode():
            checks.check_rows(
                decoder,
                self._config,
                type(self.model).__name__,
                self.model.dtype,
                quantised=quantised,
            )

    def _count_embeddings(self) -> int:
        return embeddings(self.model, self._config)

    def _forward(self, feeds: Sequence[Feed]) -> torch.Tensor:
        """One pass of the decoder -> [sum of feed.rows, vocab]."""
        parts = [self._part(feed) for feed in feeds]
        if len(feeds) == 1 and borders.crosses(feeds[0], self._border):
            rows = torch.cat(
                [self._run([part]) for part in borders.split(parts[0], cast("int", self._border))]
            )
        else:
            rows = self._run(parts)
        return self._forbidden.apply(rows, None)

    def _run(self, parts: Sequence[Part]) -> torch.Tensor:
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

    def _check_length(self, feed: Feed) -> None:
        if self._dynamic is not None and max(feed.positions) >= self._dynamic:
            raise InputError(
                f"[HfModel] expected positions < {self._dynamic}, beyond which this model's rotary "
                f"angles change with every token (dynamic NTK), got {max(feed.positions)}"
            )

    def _groups(self, feeds: Sequence[Feed]) -> list[list[Feed]]:
        """Feeds to run in one pass: those of several requests with `together` tokens at most, on
        one side of the rotary border."""
        groups, remaining, side = list[list[Feed]](), 0, False
        for feed in feeds:
            new = len(feed.tokens)
            alone = borders.crosses(feed, self._border)
            before, side = side, borders.beyond(feed, self._border)
            if new <= remaining and not alone and side == before:
                groups[-1].append(feed)
                remaining -= new
            else:
                groups.append([feed])
                remaining = 0 if alone else self._decoder.together - new
        return groups


def embeddings(model: Any, config: Any) -> int:
    """How many ids a model, or its decoder, takes.

    Raises:
        InputError: one that takes several ids at a time.
    """
    try:
        table = model.get_input_embeddings()
    except (AttributeError, NotImplementedError):  # it does not say
        return int(getattr(config, "src_vocab_size", None) or config.vocab_size)
    if not hasattr(table, "weight"):
        raise InputError(
            f"[HfModel] expected one table of embeddings, got {type(table).__name__}: models of "
            "several codebooks decode several ids at a time"
        )
    return int(table.weight.shape[0])
