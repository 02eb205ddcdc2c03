"""`model.generate` of transformers, speculated: existing code changes one line.

transformers prepares everything that the call and the generation config ask for, processors of
logits and stopping criteria; these decide here too, so what is drawn has the distribution that
`generate` itself would draw from. What would not hold is refused by name.
"""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

from anydraft.bridges import is_model
from anydraft.errors import InputError
from anydraft.request import RequestHandle
from anydraft.sampling import SamplingParams
from anydraft.session import SpeculativeSession

_HARMLESS = {
    "attention_mask",
    "use_cache",
    "past_key_values",  # empty: that of the call
    "cache_position",
    "position_ids",
    "logits_to_keep",
    "token_type_ids",
    "synced_gpus",
}
# Processors that run the model themselves or remember earlier calls, by the names of their options.
_STATEFUL = {
    "UnbatchedClassifierFreeGuidanceLogitsProcessor": "guidance_scale",
    "SynthIDTextWatermarkLogitsProcessor": "watermarking_config",
    "WhisperTimeStampLogitsProcessor": "return_timestamps",
    "EncoderNoRepeatNGramLogitsProcessor": "encoder_no_repeat_ngram_size",
    "EncoderRepetitionPenaltyLogitsProcessor": "encoder_repetition_penalty",
}
_OUTPUTS = (
    "output_scores",
    "output_logits",
    "output_attentions",
    "output_hidden_states",
    "return_dict_in_generate",
)


class Speculative:
    """For `model.generate(..., custom_generate=Speculative(drafter))`.

    Args:
        drafter: a model of transformers, its name, a session's model, "lookup" or `Text`.
        tokenizer, vocabulary: of the model that generates; read from where its weights were read
            unless one is given. A built drafter without a tokenizer there has the target's.
        options: of the `SpeculativeSession`.

    transformers hands no `streamer` on to a custom generate; `speculate` does. Models decode in
    evaluation mode, and are handed back in the mode that they were in.

    Raises (when called):
        InputError: beams, outputs beside the sequences, and whatever else cannot be obeyed.
    """

    def __init__(
        self, drafter: Any, *, tokenizer: Any = None, vocabulary: Any = None, **options: Any
    ) -> None:
        self._drafter = drafter
        self._read = {"tokenizer": tokenizer, "vocabulary": vocabulary}
        self._options = options

    def __call__(
        self,
        model: Any,
        input_ids: Any,
        logits_processor: Any,
        stopping_criteria: Any,
        generation_config: Any,
        streamer: Any = None,
        **model_kwargs: Any,
    ) -> Any:
        """As transformers calls a custom generate; the sequences [batch, length]."""
        _refuse(generation_config, logits_processor, model_kwargs, streamer, len(input_ids))
        mask = model_kwargs.get("attention_mask")
        drafter = self._drafter
        with _evaluating(model, drafter, getattr(drafter, "model", None)):
            return self._generated(
                model,
                (input_ids, mask),
                logits_processor,
                stopping_criteria,
                generation_config,
                streamer,
            )

    def _generated(
        self,
        model: Any,
        inputs: tuple[Any, Any],
        logits_processor: Any,
        stopping_criteria: Any,
        generation_config: Any,
        streamer: Any,
    ) -> Any:
        """inputs: ids [batch, length] and their mask, or None."""
        import torch

        input_ids, mask = inputs
        sample = bool(generation_config.do_sample)
        session = self._session(model, generation_config, sample)
        ends, most, others = _read_criteria(stopping_criteria, input_ids.shape[1])
        rows = []
        for i, ids in enumerate(input_ids):
            prompt = ids if mask is None else ids[mask[i] != 0]
            params = SamplingParams(
                temperature=1.0 if sample else 0.0,
                seed=int(torch.randint(2**62, ())) if sample else 0,  # torch.manual_seed holds
                max_tokens=most,
                ignore_eos=True,
                stop_token_ids=ends,
            )
            handle = session.add(
                prompt.tolist(),
                sampling=params,
                logits_processor=_processor(logits_processor, input_ids, i),
            )
            rows.append(_Row(handle, (input_ids, i), others, streamer))
        if streamer is not None:
            streamer.put(input_ids.cpu())
        _decode(session, rows)
        if streamer is not None:
            streamer.end()
        return _padded(input_ids, [row.tokens for row in rows], generation_config)

    def _session(self, model: Any, config: Any, sample: bool) -> SpeculativeSession:
        from anydraft import hf

        known = _targets_of(model)
        if self not in known:
            known[self] = hf.load(model, **self._read)
        if isinstance(self._drafter, str) and self._drafter != "lookup":
            self._drafter = hf.load(self._drafter)
        if hasattr(self._drafter, "generate"):  # a model of transformers
            try:
                self._drafter = hf.load(self._drafter)
            except InputError:  # it has no tokenizer of its own
                self._drafter = hf.load(self._drafter, **self._read)
        # The target's rows come filtered; its drafter draws by the same numbers.
        names = ("temperature", "top_k", "top_p", "min_p")
        given = {name: getattr(config, name, None) for name in names} if sample else {}
        draft = SamplingParams(**{name: value for name, value in given.items() if value})
        draws = sample and is_model(self._drafter)
        options = {"draft_sampling": draft if draws else None, **self._options}
        return SpeculativeSession(known[self], self._drafter, **options)


def speculate(model: Any, drafter: Any, **options: Any) -> Any:
    """The model, whose `generate` is speculated from now on: the one line.

        model = speculate(model, "HuggingFaceTB/SmolLM2-135M", tokenizer=tokenizer)

    Args: as those of `Speculative`.
    """
    custom, plain = Speculative(drafter, **options), model.generate

    @functools.wraps(plain)
    def generate(*args: Any, streamer: Any = None, **kwargs: Any) -> Any:
        for name in ("assistant_model", "custom_generate"):
            if kwargs.get(name) is not None:
                raise InputError(f"[speculate] expected no {name}: the drafter is given already")
        call = custom if streamer is None else functools.partial(custom, streamer=streamer)
        return plain(*args, custom_generate=call, **kwargs)

    model.generate = generate
    return model


class _Targets:
    """A model's targets by the `Speculative` that uses them.

    They lie on the model: a table elsewhere would keep it, since a target holds its model. Copies
    of the model begin without.
    """

    def __init__(self) -> None:
        self.by_user: weakref.WeakKeyDictionary[Speculative, Any] = weakref.WeakKeyDictionary()

    def __reduce__(self) -> Any:
        return _Targets, ()


def _targets_of(model: Any) -> weakref.WeakKeyDictionary[Speculative, Any]:
    held = model.__dict__.setdefault("_anydraft_targets", _Targets())
    by_user: weakref.WeakKeyDictionary[Speculative, Any] = held.by_user
    return by_user


@contextlib.contextmanager
def _evaluating(*models: Any) -> Iterator[None]:
    """Models in evaluation mode, and afterwards each of their layers in its own again."""
    layers = [layer for model in models if hasattr(model, "modules") for layer in model.modules()]
    training = [layer for layer in layers if layer.training]
    for layer in training:
        layer.training = False
    try:
        yield
    finally:
        for layer in training:
            layer.training = True


class _Row:
    """A sequence on its way."""

    def __init__(
        self,
        handle: RequestHandle,
        place: tuple[Any, int],
        criteria: Sequence[Any],
        streamer: Any,
    ) -> None:
        self.handle, self.tokens = handle, list[int]()
        self._place, self._criteria, self._streamer = place, criteria, streamer
        self._ended = False

    def take(self, token: int) -> None:
        import torch

        if self._ended:
            return
        self.tokens.append(token)
        if self._streamer is not None:
            self._streamer.put(torch.tensor([token]))
        if not self._criteria:
            return
        (ids, i), all_ended = self._place, list[Any]()
        text = _as_batch(ids, i, self.tokens)
        for criterion in self._criteria:
            told = torch.as_tensor(criterion(text, None))
            all_ended.append(told[i] if told.ndim else told)
        self._ended = any(map(bool, all_ended))
        if self._ended:
            self.handle.cancel()


def _decode(session: SpeculativeSession, rows: list[_Row]) -> None:
    by_id = {row.handle.id: row for row in rows}
    try:
        while not all(row.handle.ended for row in rows):
            for handle, event in session.step():
                by_id[handle.id].take(event.tokens[0])
            for row in rows:
                if row.handle.error is not None:
                    raise row.handle.error
        for handle, event in session.step():  # of requests that have ended meanwhile
            by_id[handle.id].take(event.tokens[0])
    finally:
        for row in rows:
            row.handle.cancel()


def _as_batch(input_ids: Any, i: int, output: Sequence[int]) -> Any:
    """Row i of the batch and what came behind it, in every row: processors and criteria may know
    things by row, and look at their own alone."""
    import torch

    text = torch.cat([input_ids[i], input_ids.new_tensor(output)])
    return text.expand(len(input_ids), -1)


def _processor(processors: Any, input_ids: Any, i: int) -> Any:
    """transformers' processors as one of a session: they see the prompt with its padding."""
    if not processors:
        return None

    def changed(prompt: Sequence[int], output: Sequence[int], row: Any) -> Any:
        text = _as_batch(input_ids, i, output)
        scores = row.to(input_ids.device).repeat(len(text), 1)  # some change their rows in place
        return processors(text, scores)[i].cpu()

    return changed


def _read_criteria(criteria: Any, prompt: int) -> tuple[list[int], int, list[Any]]:
    """(ids that end, most tokens, criteria to be asked after each token)."""
    ends, most, others = list[int](), 2**31 - 1, list[Any]()
    for one in criteria or ():
        name = type(one).__name__
        if name == "EosTokenCriteria":
            ends += one.eos_token_id.flatten().tolist()
        elif name == "MaxLengthCriteria":
            most = min(most, max(0, one.max_length - prompt))
        else:
            others.append(one)
    return ends, most, others


def _refuse(config: Any, processors: Any, kwargs: dict[str, Any], streamer: Any, rows: int) -> None:
    mode = str(getattr(config.get_generation_mode(), "value", config.get_generation_mode()))
    if mode not in ("greedy_search", "sample"):
        raise InputError(f"[Speculative] expected greedy_search or sample, got {mode}")
    asked = [name for name in _OUTPUTS if getattr(config, name, None)]
    asked += [
        _STATEFUL[name] for one in processors or () if (name := type(one).__name__) in _STATEFUL
    ]
    asked += [name for name, value in kwargs.items() if name not in _HARMLESS and value is not None]
    cache = kwargs.get("past_key_values")
    if cache is not None and cache.get_seq_length() > 0:
        asked.append("past_key_values")
    if kwargs.get("synced_gpus"):
        asked.append("synced_gpus")
    types = kwargs.get("token_type_ids")
    if types is not None and bool(types.any()):
        asked.append("token_type_ids")
    if asked:
        raise InputError(f"[Speculative] expected a call without {', '.join(asked)}")
    if streamer is not None and rows != 1:
        raise InputError(f"[Speculative] expected one sequence with a streamer, got {rows}")


def _padded(input_ids: Any, rows: Sequence[Sequence[int]], config: Any) -> Any:
    import torch

    # What `generate` itself pads with: its first end token where the model names no padding.
    known = getattr(config, "_pad_token_tensor", None)
    pad = config.pad_token_id if known is None else known
    pad = pad if pad is not None else 0
    longest = max(map(len, rows))
    new = [[*row, *[int(pad)] * (longest - len(row))] for row in rows]
    return torch.cat([input_ids, input_ids.new_tensor(new).reshape(len(rows), longest)], dim=1)
