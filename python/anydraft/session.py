"""Speculative decoding around two callables that return logits."""

from __future__ import annotations

import operator
import secrets
from collections.abc import Sequence
from typing import Any, Literal, Protocol, TypeAlias, overload

from anydraft import _core, stops
from anydraft._core import Feed, SamplingParams
from anydraft.batch import finish
from anydraft.drafts import TreeShape, kind_number
from anydraft.errors import InputError
from anydraft.penalties import LogitsProcessor
from anydraft.prompts import Message, Prompt, is_list, one_for_each, prompt_ids
from anydraft.run import Generation, Run
from anydraft.stops import Stop
from anydraft.vocabulary import Vocabulary

Bridge: TypeAlias = Literal["auto", "same", "tli", "slem", "slrs"]
_LONGEST = 8  # draft length "auto"


class Model(Protocol):
    """Any callable that takes feeds and returns logits.

    Called with feeds of one or more requests; each says which tokens to append to the request's
    cache (`tokens`, `positions`, `parents`) after cutting it to `keep`, and for how many last
    tokens logits are wanted (`rows`). Returns [sum of rows, vocab] in the order of the feeds;
    float32, bfloat16 or float16. May also have `context_length` (int | None), `stop_tokens` (ids
    that end a text beside the vocabulary's eos and turn_end), `chat(messages) -> ids`,
    `forget(request)`, told when a request's cache is no longer wanted, and `drafts_only` (bool):
    not what it is named after, say by rounded weights, so refused as a target.
    """

    @property
    def vocabulary(self) -> Vocabulary: ...

    def __call__(self, feeds: list[Feed], /) -> Any: ...


class SpeculativeSession:
    """Lossless speculative decoding: the text has exactly the target's distribution.

    Args:
        target: the model whose text is wanted.
        drafter: a small model, with any vocabulary; "lookup" (what followed the last tokens earlier
            in the text); None for plain decoding.
        bridge: how drafts cross vocabularies. "same": equal ids; "tli": the drafter restricted to
            shared tokens; "slem": drafts as text, greedy by default; "slrs": the drafter's whole
            vocabulary, each of its tokens spelt in the target's; "auto": same where the
            vocabularies are equal byte for byte and role for role, else whichever of tli, slrs and
            slem the request's past rounds speak for (`stats.bridges`). Timor et al. 2025.
        stop_rule: of slrs: where a drafter's sequence stops, to see which target token it begins
            with: 1 drafter token, another number of them, or "settled": where no text that may
            follow changes that target token (a drafter of bytes or characters wants this, or a
            number; its rows are then asked for as trees). Timor et al. 2025, algorithm 3.
        draft_budget: of slrs: most drafter rows for a drafted target token. A sequence goes on
            while it has at least 1 / draft_budget of the distribution, the likeliest first; the
            others stop earlier than the rule says, down to one drafter token each at 1. That is
            known when drawing, so the distribution stays exact; `stats.stopped` says how much of
            it the rule itself stopped. 0: nothing is drafted.
        draft_length: most tokens proposed one after another in a round, at least 0; "auto": chosen
            for each round from the request's own past acceptance, 0 to 8 (no clock, so a seed still
            makes the same text); where no length pays, one round in 16 tries again.
        draft_confidence: a chain is drafted no further once the drafter's own certainty of it (the
            product of its largest probabilities) is below this; 0: always `draft_length`.
        tree: several drafts at once, in place of a chain of `draft_length`: "2x2x2", "4,2,1,1" or
            "dynamic:WIDTH,BEAM,DEPTH,NODES" (`TreeShape`). The models must take tree feeds.
        scheme: how children are drawn from the drafter's rows, a kind of `Proposal`: "iid",
            "spechub", ... What a greedy drafter proposes is certain, whatever this says.
        verifier: a name out of `verifiers()`; "auto": match for drafts that are certain, else
            traversal.
        draft_cost: a call of the drafter, in calls of the target, at least 0: what "auto" of bridge
            and draft length count with. `anydraft pair` measures it.
        sampling: the default of `generate`.
        draft_sampling: the drafter's parameters (None: the target's; greedy for slem).

    Raises:
        InputError, VocabularyError: a bridge that does not fit the vocabularies, with the one that
            would.

    A session is not for concurrent use.

    >>> import torch
    >>> from anydraft import stateless
    >>> v = Vocabulary.from_bytes([b"a", b"b"], encoder=lambda text: [ord(c) - 97 for c in text])
    >>> model = stateless(lambda ids: torch.nn.functional.one_hot(1 - ids, 2) * 9.0, v)
    >>> session = SpeculativeSession(model, model, sampling=SamplingParams(temperature=0))
    >>> session.generate("a", max_new_tokens=5).text
    'babab'
    """

    def __init__(
        self,
        target: Model,
        drafter: Model | Literal["lookup"] | None = None,
        *,
        bridge: Bridge = "auto",
        stop_rule: int | Literal["settled"] = 1,
        draft_budget: int = 32,
        draft_length: int | Literal["auto"] = 4,
        draft_confidence: float = 0.3,
        tree: str | TreeShape | None = None,
        scheme: str = "iid",
        verifier: str = "auto",
        draft_cost: float = 0.15,
        sampling: SamplingParams | None = None,
        draft_sampling: SamplingParams | None = None,
    ) -> None:
        if draft_length != "auto" and (not isinstance(draft_length, int) or draft_length < 0):
            raise InputError(
                f'[Session] expected draft_length >= 0 or "auto", got {draft_length!r}'
            )
        _check_model(target, "target")
        if getattr(target, "drafts_only", False):
            raise InputError(
                "[Session] expected a target with its own weights, got one for drafting only: "
                "packed in 4 bits it is another model, and its text would have that one's "
                "distribution; hf.load it with pack=True or False, and give the drafter "
                'pack="int4"'
            )
        if not isinstance(drafter, str | None):
            _check_model(drafter, "drafter")
        self.target = target
        self.drafter: Any = drafter
        self.bridge = _choose_bridge(target, drafter, bridge)
        self.stop_rule = stop_rule
        self.draft_budget = draft_budget
        self.draft_length = draft_length
        self.draft_cost = draft_cost
        self.draft_confidence = draft_confidence
        self.tree = TreeShape(()) if tree is None else TreeShape.parse(tree)
        self.scheme = scheme
        self.verifier = verifier
        _check_sampling(sampling, "sampling")
        _check_sampling(draft_sampling, "draft_sampling")
        self.sampling = sampling or SamplingParams()
        self.draft_sampling = draft_sampling
        self.last: Run | None = None
        self.runs: list[Run] = []  # of the last call of `generate`
        self._map, self._token_trie = self._new_maps()
        self._new_core()  # complains now rather than at the first prompt

    @overload  # a str is a sequence of str: the first overload that fits is meant
    def generate(  # type: ignore[overload-overlap]
        self,
        prompt: str,
        *,
        max_new_tokens: int = ...,
        sampling: SamplingParams | None = ...,
        logits_processor: LogitsProcessor | None = ...,
        stop: Stop = ...,
    ) -> Generation: ...
    @overload
    def generate(
        self,
        prompt: Sequence[int] | Sequence[Message],
        *,
        max_new_tokens: int = ...,
        sampling: SamplingParams | None = ...,
        logits_processor: LogitsProcessor | None = ...,
        stop: Stop = ...,
    ) -> Generation: ...
    @overload
    def generate(
        self,
        prompt: Sequence[str] | Sequence[Sequence[int]] | Sequence[Sequence[Message]],
        *,
        max_new_tokens: int | Sequence[int] = ...,
        sampling: SamplingParams | Sequence[SamplingParams] | None = ...,
        logits_processor: LogitsProcessor | Sequence[LogitsProcessor | None] | None = ...,
        stop: Stop = ...,
        batch_size: int = ...,
    ) -> list[Generation]: ...
    def generate(
        self,
        prompt: Any,
        *,
        max_new_tokens: int | Sequence[int] = 256,
        sampling: SamplingParams | Sequence[SamplingParams] | None = None,
        logits_processor: LogitsProcessor | Sequence[LogitsProcessor | None] | None = None,
        stop: Stop = (),
        batch_size: int = 16,
    ) -> Generation | list[Generation]:
        """Decode a prompt to its end, or several together.

        Args:
            prompt: text, target ids, or chat messages (then the target's template); or a list of
                prompts, which share the models' calls. A request's text does not depend on what is
                decoded beside it where the models' logits do not.
            max_new_tokens: at least 0; for several prompts also a list.
            sampling: the session's where None. A seed makes the text the same on every run. One for
                several prompts: prompt i draws from stream i of its seed. A list, one a prompt:
                each draws as it would by itself.
            logits_processor: changes the target's logits by the text before them, say `Penalties`;
                one for all prompts or a list.
            stop: strings before which a text ends, and target ids with which it ends, beside the
                model's own.
            batch_size: how many of several prompts are decoded at a time; the next one begins where
                one ends. Each of them has its cache.

        Raises:
            InputError: an empty prompt, one longer than the target's context, and the like.
            Whatever the models raise. What goes wrong in one of several requests alone is raised
            when the others have ended. Either way the `generation` of each of `runs` has what was
            emitted (`error`: what went wrong), and iterating over it goes on.
        """
        several = is_list(prompt)
        generations = self._finish(
            prompt if several else [prompt],
            max_new_tokens,
            sampling,
            logits_processor,
            stop,
            batch_size,
        )
        return generations if several else generations[0]

    def stream(
        self,
        prompt: Prompt,
        *,
        max_new_tokens: int = 256,
        sampling: SamplingParams | None = None,
        logits_processor: LogitsProcessor | None = None,
        stop: Stop = (),
    ) -> Run:
        """As `generate` for one prompt, token by token: an iterator over events."""
        return self._start(prompt, sampling, max_new_tokens, logits_processor, 0, stop)

    def _finish(
        self,
        prompts: Sequence[Prompt],
        max_new_tokens: Any,
        sampling: Any,
        logits_processor: Any,
        stop: Stop,
        batch_size: int,
    ) -> list[Generation]:
        if batch_size < 1:
            raise InputError(f"[generate] expected batch_size >= 1, got {batch_size}")
        count = len(prompts)
        # Requests with parameters of their own need no streams to tell their draws apart.
        streams = [0] * count if isinstance(sampling, Sequence) else range(count)
        each = zip(
            prompts,
            one_for_each(sampling, count, "sampling"),
            one_for_each(max_new_tokens, count, "max_new_tokens"),
            one_for_each(logits_processor, count, "logits_processor"),
            streams,
            strict=True,
        )
        # All are started first: a prompt that cannot be costs nothing that was decoded.
        # A model that calls `generate` itself changes self.runs, not these.
        self.runs = runs = [self._start(*request, stop) for request in each]
        finish(runs, batch_size)
        return [run.generation for run in runs]

    def _start(
        self,
        prompt: Prompt,
        sampling: SamplingParams | None,
        max_new_tokens: int,
        logits_processor: LogitsProcessor | None,
        random_stream: int,
        stop: Stop,
    ) -> Run:
        _check_sampling(sampling, "sampling")
        target, vocabulary = self.target, self.target.vocabulary
        strings, ids = stops.split(stop)
        self.last = Run(
            self,
            prompt_ids(target, prompt),
            _with_seed(sampling or self.sampling),
            logits_processor,
            strings,
            max_new_tokens=_whole(max_new_tokens, "max_new_tokens"),
            stop=[
                *vocabulary.role("eos"),
                *vocabulary.role("turn_end"),
                *getattr(target, "stop_tokens", ()),
                *ids,
            ],
            random_stream=random_stream,
        )
        return self.last

    def _new_maps(self) -> tuple[_core.VocabularyMapTable | None, _core.DraftTokenTrie | None]:
        """What requests of this pair share."""
        if self.bridge not in ("tli", "slem", "slrs", "auto"):
            return None, None
        tables = self.drafter.vocabulary.table, self.target.vocabulary.table
        map_ = _core.VocabularyMapTable(*tables)
        return map_, _core.DraftTokenTrie(*tables, map_) if self.bridge in (
            "slrs",
            "auto",
        ) else None

    def _new_core(self) -> Any:
        drafter = None if self.drafter in (None, "lookup") else self.drafter
        return _core.Session(
            self.target.vocabulary.table,
            drafter.vocabulary.table if drafter else None,
            bridge=self.bridge,
            stop_tokens=_stop_tokens(self.stop_rule),
            draft_budget=self.draft_budget,
            draft_length=_LONGEST if self.draft_length == "auto" else self.draft_length,
            auto_length=self.draft_length == "auto",
            draft_cost=self.draft_cost,
            draft_confidence=self.draft_confidence,
            target_context=getattr(self.target, "context_length", None) or 0,
            draft_context=getattr(drafter, "context_length", None) or 0,
            map=self._map,
            token_trie=self._token_trie,
            widths=self.tree.widths,
            max_nodes=self.tree.max_nodes,
            depth=self.tree.depth,
            beam=self.tree.beam,
            scheme=kind_number(self.scheme),
            verifier=None if self.verifier == "auto" else self.verifier,
        )


def _check_model(model: Any, role: str) -> None:
    if callable(model) and isinstance(getattr(model, "vocabulary", None), Vocabulary):
        return
    raise InputError(
        f"[Session] expected a callable with a Vocabulary as {role} "
        f"(contrib.hf.load(name_or_model) and stateless(f, vocabulary) make one), got "
        f"{type(model).__name__}"
    )


def _check_sampling(params: Any, name: str) -> None:
    if params is not None and not isinstance(params, SamplingParams):
        raise InputError(f"[Session] expected SamplingParams as {name}, got {params!r}")


def _choose_bridge(target: Model, drafter: Any, bridge: str) -> str:
    if drafter is None:
        return "none"
    if isinstance(drafter, str):
        if drafter != "lookup":
            raise InputError(f'[Session] expected a model or "lookup" as drafter, got {drafter!r}')
        return "lookup"
    if bridge not in ("auto", "same", "tli", "slem", "slrs"):
        raise InputError(f"[Session] expected bridge auto, same, tli, slem or slrs, got {bridge!r}")
    equal = target.vocabulary is drafter.vocabulary or target.vocabulary == drafter.vocabulary
    if bridge == "same" and not equal:
        raise InputError(
            '[Session] expected equal vocabularies for bridge "same", got different ones: '
            'bridge="tli" or "slem" take any pair'
        )
    if bridge == "auto":
        bridge = "same" if equal else "auto"
    if drafter is target and bridge != "same":
        raise InputError(
            f'[Session] expected two model objects for bridge "{bridge}", got one as target and '
            "drafter: they would share a cache"
        )
    return bridge


def _stop_tokens(stop_rule: Any) -> int:
    """The engine's number of a stop rule."""
    if stop_rule == "settled":
        return 0
    if not isinstance(stop_rule, int) or isinstance(stop_rule, bool) or stop_rule < 1:
        raise InputError(
            f'[Session] expected a stop rule of 1, 2, ... drafter tokens or "settled", got '
            f"{stop_rule!r}"
        )
    return stop_rule


def _whole(number: Any, name: str) -> int:
    try:
        return min(operator.index(number), 2**31 - 1)  # what the core counts to
    except TypeError:
        raise InputError(f"[generate] expected {name} >= 0, got {number!r}") from None


def _with_seed(params: SamplingParams) -> SamplingParams:
    if params.seed is not None:
        return params
    return SamplingParams(
        params.temperature, params.top_k, params.top_p, params.min_p, secrets.randbits(63)
    )
