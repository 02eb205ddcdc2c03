"""Speculative decoding around two callables that return logits."""

from __future__ import annotations

import inspect
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from anydraft import _core, stops
from anydraft.bridges import Bridge, drafter_options, is_model, settled_bridge
from anydraft.checks import MOST, UINT32, whole_number
from anydraft.drafts import TreeShape
from anydraft.errors import InputError
from anydraft.loading import Backend, loaded
from anydraft.model import Model, check_model, draft_rows_of, rows_of
from anydraft.penalties import LogitsProcessor, process_all
from anydraft.placement import Placement, stays_on_device
from anydraft.prompts import Prompt, is_list, prompt_ids, requests_of
from anydraft.request import Event, RequestHandle
from anydraft.sampling import SamplingParams, check_draft, check_sampling
from anydraft.stops import Stop
from anydraft.text import Text
from anydraft.verification import current_stream


class SpeculativeSession:
    """Lossless speculative decoding: the text has exactly the target's distribution.

    Args:
        target: the model whose text is wanted.
        drafter: a small model, with any vocabulary; "lookup" (what followed the last tokens earlier
            in the text); `Text` (what a function expects); None for plain decoding.
        bridge: how drafts cross vocabularies. "same": equal ids; "tli": the drafter restricted to
            shared tokens; "slem": drafts as text, greedy by default; "slrs" or `Slrs(...)`: the
            drafter's whole vocabulary, each of its tokens spelt in the target's; "auto": same where
            the vocabularies are equal byte for byte and role for role, else whichever of tli, slrs
            and slem the request's past rounds speak for (`stats.bridges`; a target on a CUDA
            device: tli, or slem where no token is shared). Timor et al. 2025.
        draft_length: most tokens proposed one after another in a round (None: 4, or as deep as the
            `tree`; beside one nothing but 0, none, or "auto"); "auto": a chain of up to 15 goes on
            while the next token is worth its cost, by the models' `row_costs`, what the request's
            own past kept at the drafter's certainty, and, where no seed's text changes by it, the
            requests that share the calls (no clock). A model's rejected drafts cost at most
            0.02 * max_tokens target calls (0.6 to 3), and one more per 100 tokens written.
        draft_confidence: a chain is drafted no further once the drafter's own certainty of it (the
            product of its largest probabilities) is below this; 0: always `draft_length`; "auto":
            0.3, or nothing beside `draft_length="auto"`.
        tree: several drafts at once, in place of `draft_length`: "2x2x2", "4,2,1,1" or
            "dynamic:WIDTH,BEAM,DEPTH,NODES" (`TreeShape`). The models must take tree feeds.
        scheme: how children are drawn from the drafter's rows, a kind of `Proposal`: "iid",
            "spechub", ... What a greedy drafter proposes is certain, whatever this says.
        verifier: a name out of `verifiers()`; "auto": match for drafts that are certain, else
            traversal.
        sampling: the default of `generate`.
        draft_sampling: the drafter's parameters (None: the target's; greedy for slem).

    Attributes:
        target, drafter: the models, or what was given as drafter.
        bridge: the name of the one that is in use.
        draft_cost: a call of the drafter in calls of the target, what "auto" of bridge and draft
            length count with: from the models' `row_costs` where both have them, else 0.15.
        row_costs: calls of the target on 0, 1, 2, … rows in calls on one, what draft length "auto"
            counts with; empty elsewhere, and where the target has none.
        last, runs: handle of the request begun last; those of the last call of `generate`.

    Raises:
        InputError, VocabularyError: a bridge that does not fit the vocabularies, with the one that
            would.

    A session is not for concurrent use (`AsyncSession` is).

    >>> import torch
    >>> from anydraft import Vocabulary, stateless
    >>> v = Vocabulary.from_bytes([b"a", b"b"], encoder=lambda text: [ord(c) - 97 for c in text])
    >>> model = stateless(lambda ids: torch.nn.functional.one_hot(1 - ids, 2) * 9.0, v)
    >>> session = SpeculativeSession(model, model, sampling=SamplingParams(temperature=0))
    >>> session.generate("a", max_tokens=5).text
    'babab'
    """

    def __init__(
        self,
        target: Model,
        drafter: Model | Text | Literal["lookup"] | None = None,
        *,
        bridge: Bridge = "auto",
        draft_length: int | Literal["auto"] | None = None,
        draft_confidence: float | Literal["auto"] = "auto",
        tree: str | TreeShape | None = None,
        scheme: str = "iid",
        verifier: str = "auto",
        sampling: SamplingParams | None = None,
        draft_sampling: SamplingParams | None = None,
    ) -> None:
        check_model(target, "target")
        if is_model(drafter):
            check_model(drafter, "drafter")
        check_sampling(sampling, "Session")
        check_draft(draft_sampling, "Session")
        if draft_sampling is not None and not is_model(drafter):
            raise InputError(
                f"[Session] expected a model as drafter with draft_sampling, got {drafter!r}"
            )
        self.target = target
        self.drafter: Any = drafter
        self.sampling = sampling or SamplingParams()
        self.draft_sampling = draft_sampling
        if stays_on_device(target):
            bridge = settled_bridge(target.vocabulary, drafter, bridge)
        self.bridge, options = drafter_options(
            target, drafter, bridge, draft_length, draft_confidence, tree, scheme, verifier
        )
        self.draft_cost, self.row_costs = options.draft_cost, options.row_costs
        self._engine = _core.Engine(
            target.vocabulary.table,
            drafter.vocabulary.table if is_model(drafter) else None,
            options,
            target_context=getattr(target, "context_length", None) or 0,
        )
        self._placement = Placement(target, self.bridge, bridge, tree)
        self.last: RequestHandle | None = None
        self.runs: list[RequestHandle] = []
        self._active: dict[int, RequestHandle] = {}  # of `add`, in step()
        self._given_up: deque[int] = deque()  # ids that nobody asks for any more

    @classmethod
    def from_pretrained(
        cls,
        target: str | Path | Model,
        drafter: str | Path | Model | Text | None = None,
        *,
        backend: Backend = "auto",
        device: str = "auto",
        weights: str | None = None,
        drafter_weights: str | None = None,
        **options: Any,
    ) -> SpeculativeSession:
        """A session of models by path or name.

        Args:
            target: a GGUF file, a folder of safetensors, or a name on the hub; or a model.
            drafter: the same, "lookup", `Text`, or None.
            backend, device: as in `anydraft.loading.load_model`: the native decoder on CPUs where
                it knows the model, else transformers.
            weights: of a native target out of a folder; what `native.load` says of it. "int8" and
                "int4" make another model, and the text is that one's.
            drafter_weights: the same for the drafter, where rounding costs acceptance alone.
            options: of the session.

        >>> session = SpeculativeSession.from_pretrained(
        ...     "Qwen2.5-1.5B-Instruct-Q4_K_M.gguf", "SmolLM2-135M.gguf", draft_length="auto"
        ... )  # doctest: +SKIP
        """
        inspect.signature(cls).bind(target, drafter, **options)  # before anything is loaded
        judge = loaded(target, backend, device, "weights", weights)
        drafting = loaded(drafter, backend, device, "drafter_weights", drafter_weights)
        return cls(judge, drafting, **options)

    def generate(
        self,
        prompt: Any,
        *,
        max_tokens: int | Sequence[int] | None = None,
        sampling: SamplingParams | Sequence[SamplingParams] | None = None,
        logits_processor: LogitsProcessor | Sequence[LogitsProcessor | None] | None = None,
        stop: Stop | None = (),
        specials: bool | None = None,
        template: Mapping[str, Any] | None = None,
        batch_size: int = 16,
    ) -> Any:
        """Decode a prompt to its end, or several together.

        Args:
            prompt: text, target ids, or chat messages (then the target's template); or a list of
                prompts, which share the models' calls. A request's text does not depend on what is
                decoded beside it where the models' logits do not.
            max_tokens: at least 0 (None: the sampling's); for several prompts also a list.
            sampling: the session's where None. A seed makes the text the same on every run. One for
                several prompts: prompt i draws from stream i of its seed. A list, one a prompt:
                each draws as it would by itself.
            logits_processor: changes the target's logits by the text before; one for all or a list.
            stop: strings before which a text ends, and target ids with which it ends, beside the
                sampling's and the model's own.
            specials: whether text of a special token becomes it; None: it stays, with a warning.
            template: arguments of the chat template: tools, continue_final_message, ...
            batch_size: most texts at a time, each with its cache; where one ends the next begins.

        Returns:
            A `Generation`; with `n` above 1 a list of n; for several prompts a list with one of
            these for each.

        Raises:
            InputError: an empty prompt, one longer than the target's context, and the like.
            Whatever the models raise. What goes wrong in one of several requests alone is raised
            when the others have ended. Either way the `generation` of each of `runs` has what was
            emitted (`error`: what went wrong), and iterating over it goes on.
        """
        batch_size = whole_number(batch_size, "generate", "batch_size", 1)
        stop = stops.given(stop)
        shared: dict[str, Any] = {"stop": stop, "specials": specials, "template": template}
        inputs = isinstance(prompt, Mapping) and hasattr(self.target, "decoder_prompt")
        several = not inputs and is_list(prompt)
        prompts = prompt if several else [prompt]
        each = requests_of(prompts, sampling, self.sampling, max_tokens, logits_processor)
        # All are started first: a prompt that cannot be costs nothing that was decoded.
        groups = [
            [self.stream(one, random_stream=stream, **own, **shared) for stream in streams]
            for one, own, streams in each
        ]
        self.runs = runs = [handle for group in groups for handle in group]
        self._finish(runs, batch_size)
        results = [[handle.generation for handle in group] for group in groups]
        told = [group if len(group) > 1 else group[0] for group in results]
        return told if several else told[0]

    def stream(
        self,
        prompt: Prompt,
        *,
        max_tokens: int | None = None,
        sampling: SamplingParams | None = None,
        logits_processor: LogitsProcessor | None = None,
        stop: Stop | None = (),
        specials: bool | None = None,
        template: Mapping[str, Any] | None = None,
        random_stream: int = 0,
    ) -> RequestHandle:
        """As `generate` for one prompt, token by token: an iterator over events.

        `random_stream`: which of a seed's independent streams the request draws from.
        """
        check_sampling(sampling, "stream")
        params = sampling or self.sampling
        if params.n != 1:
            raise InputError(f"[stream] expected n = 1, a stream each, got n = {params.n}")
        if logits_processor is not None and not callable(logits_processor):
            raise InputError(f"[generate] expected a logits_processor, got {logits_processor!r}")
        ids, strings = stops.of_request(self.target, params, stop)
        changes = params.changes(self.target.vocabulary)
        if not isinstance(template, Mapping | None):
            raise InputError(f"[generate] expected arguments by name as template, got {template!r}")
        tokens = prompt_ids(self.target, prompt, specials=specials, **(template or {}))
        most = params.max_tokens if max_tokens is None else max_tokens
        most = min(whole_number(most, "generate", "max_tokens"), MOST)
        if most < params.min_tokens:
            raise InputError(
                f"[generate] expected min_tokens <= max_tokens, got {params.min_tokens} and {most}"
            )
        id = self._engine.add(
            tokens,
            sampling=params,
            draft_sampling=self.draft_sampling,
            max_tokens=most,
            stop=ids,
            random_stream=whole_number(random_stream, "stream", "random_stream", 0, UINT32),
            changes=changes,
            logprobs=-1 if params.logprobs is None else params.logprobs,
        )
        # From here on what the engine and the models keep of it goes with the handle.
        handle = RequestHandle(self, id, tokens, logits_processor, strings)
        handle.in_memory = changes.any or params.logprobs is not None
        for model, cache in ((self.target, id), (self.drafter, id + 1)):
            if hasattr(model, "open"):  # an encoder reads the prompt once
                model.open(cache, prompt, self.target)
        self.last = handle
        return handle

    def report(self, path: str | Path, runs: Sequence[RequestHandle] | None = None) -> None:
        """Writes one HTML file of what was decoded: each token by its origin, and what it cost.

        `runs`: None: those of the last `generate` or `stream`. The file has the prompts' texts too.

        >>> session.report("out.html")  # doctest: +SKIP
        """
        from anydraft.page import write_report

        last = [self.last] if self.last is not None else []
        among = self.last in self.runs
        write_report(self, path, list(runs) if runs is not None else self.runs if among else last)

    def add(self, prompt: Prompt, **options: Any) -> RequestHandle:
        """A request for `step`; options as `stream`'s."""
        handle = self.stream(prompt, **options)
        self._active[handle.id] = handle
        return handle

    @property
    def active(self) -> int:
        """Requests of `add` that have not ended."""
        return len(self._active)

    def step(self) -> list[tuple[RequestHandle, Event]]:
        """One call of a model for all requests of `add` that have not ended, and what came of it:
        nothing where the call was the drafter's, so go on for as long as some are `active`.

        Raises:
            Whatever the models raise. An error of one request alone becomes its `error`; the
            request then leaves, and iterating over its handle goes on.
        """
        handles = list(self._active.values())
        self._advance(handles, one_call=True)
        events: list[tuple[RequestHandle, Event]] = []
        for handle in handles:
            events += [(handle, event) for event in handle.take()]
            if handle.ended or handle.error is not None:
                self._active.pop(handle.id, None)
        return events

    def _finish(self, handles: Sequence[RequestHandle], batch_size: int) -> None:
        waiting = deque(handles)
        going: list[RequestHandle] = []
        while waiting or going:
            while waiting and len(going) < batch_size:
                going.append(waiting.popleft())
            self._advance(going)
            going = [handle for handle in going if handle.error is None and not handle.ended]
        for handle in handles:
            if handle.error is not None:
                raise handle.error

    def _advance(self, handles: Sequence[RequestHandle], *, one_call: bool = False) -> None:
        """The drafter's calls of a round, then the target's, which so serves all; or only the next
        one of these.

        An error of one request becomes its `error`; the model's, and an interrupt, are raised.
        """
        if self._given_up:
            self._sweep()
        started = time.perf_counter()
        by_id = {handle.id: handle for handle in handles if handle._ended is None}
        for handle in by_id.values():
            handle.error = None
        spent = {"drafter": 0.0, "target": 0.0}
        news = True  # an exception leaves some too
        try:
            told = False
            for in_memory, ids in self._placement.groups(by_id):
                last = self._serve(ids, by_id, spent, in_memory)
                while not (last or one_call):
                    last = self._serve(ids, by_id, spent, in_memory)
                told = told or last
            news = told
        finally:
            if news:
                for handle in by_id.values():
                    handle._check()
            now = time.perf_counter()
            for handle in by_id.values():
                handle._stats.seconds += now - started
                handle._stats.draft_seconds += spent["drafter"]
                handle._stats.target_seconds += spent["target"]
                handle.span = handle.span[0] if handle.span else started, now

    def _serve(
        self,
        ids: list[int],
        by_id: dict[int, RequestHandle],
        spent: dict[str, float],
        in_memory: bool,
    ) -> bool:
        """The next call of a model. False: the drafter's, which emits nothing; all can go on."""
        going = [id for id in ids if by_id[id]._ended is None]  # a call may cancel some
        work = self._engine.next(going)
        role = work.model
        if role == "idle":
            return True
        of_target = role == "target"
        call, model = (rows_of, self.target) if of_target else (draft_rows_of, self.drafter)
        started = time.perf_counter()
        try:
            try:
                logits = self._placement.place(call(model, work.feeds), in_memory=in_memory)
            finally:
                spent[role] += time.perf_counter() - started
            if of_target:
                logits = process_all(self._engine, work, by_id, logits)
            if getattr(logits, "is_cuda", False):
                with current_stream(logits) as stream:
                    self._engine.feed(work, logits, stream)
            else:
                self._engine.feed(work, logits)
        except BaseException:  # an interrupt too: the model may have cut its cache
            self._engine.failed(work)
            raise
        return of_target or self._engine.any_error()

    def _sweep(self) -> None:
        """Forgets requests that have ended or were given up."""
        while self._given_up:
            id = self._given_up.popleft()
            self._engine.forget(id)
            for model, cache in ((self.target, id), (self.drafter, id + 1)):
                if hasattr(model, "forget"):
                    model.forget(cache)
