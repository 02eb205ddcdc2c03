"""Whether a model's greedy text under speculation is that of transformers' `generate`."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from typing import Any

import torch

from anydraft import InputError, SamplingParams, Vocabulary, _core, hf
from anydraft.hf.encoder_decoder import HfEncoderDecoder

GREEDY = SamplingParams(temperature=0)
TOKENS = 24
WAYS = ("plain", "lookup", "draft", "tree")


@functools.cache
def vocabulary(size: int) -> Vocabulary:
    """One letter an id, so that every text can be said."""
    letters = [chr(0x4E00 + i).encode() for i in range(size)]
    return Vocabulary.from_bytes(
        letters, encoder=lambda text: [ord(c) - 0x4E00 for c in text], specials={}, roles={}
    )


class NotTried(Exception):
    """transformers itself cannot decode such a model from ids or plain features."""


def decode(
    target: Any,
    drafter: Any,
    prompts: Sequence[Any],
    *,
    tokens: int = TOKENS,
    sampling: SamplingParams = GREEDY,
    bridge: str | None = None,
    widths: Sequence[int] = (),
    stop: Sequence[int] = (),
    **options: Any,
) -> list[list[int]]:
    """The new ids of each prompt, all decoded together by the engine."""
    table = drafter.vocabulary.table if hasattr(drafter, "vocabulary") else None
    default = "lookup" if drafter == "lookup" else "same" if drafter else "none"
    drafting = _core.DrafterOptions(
        bridge=bridge or default,
        draft_length=4,
        tree=_core.TreeShape(widths),
        draft_context=getattr(drafter, "context_length", None) or 0,
        **options,
    )
    engine = _core.Engine(
        target.vocabulary.table, table, drafting, target_context=target.context_length or 0
    )
    requests = []
    for prompt in prompts:
        ids = target.decoder_prompt(prompt) if hasattr(target, "open") else list(prompt)
        request = engine.add(ids, sampling=sampling, max_tokens=tokens, stop=stop)
        requests.append(request)
        for model, number in ((target, request), (drafter, request + 1)):
            if hasattr(model, "open"):
                model.open(number, prompt, target)
    while (work := engine.next()).model != "idle":
        engine.feed(work, (target if work.model == "target" else drafter)(work.feeds))
    found = []
    for request in requests:
        engine.check(request)
        found.append([token for token, *_ in engine.emitted(request)])
        for model, number in ((target, request), (drafter, request + 1)):
            if hasattr(model, "forget"):
                model.forget(number)
    return found


def generated(model: Any, prompt: Any, tokens: int = TOKENS) -> list[int]:
    """The new ids of transformers' own greedy decoding."""
    inputs = prompt if isinstance(prompt, dict) else {"input_ids": torch.tensor([prompt])}
    options = {"do_sample": False, "max_new_tokens": tokens, "num_beams": 1}
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ids = model.generate(**inputs, **options)[0].tolist()
        except Exception as failure:
            raise NotTried(f"generate: {type(failure).__name__}: {failure}") from failure
    # Whisper's own `generate` leaves the start out.
    if type(model).__name__ == "WhisperForConditionalGeneration":
        return [1, *ids]
    if model.config.is_encoder_decoder:
        return ids
    return ids[len(prompt) :]


def without_cache(model: Any, prompt: Any, tokens: int = TOKENS) -> list[int]:
    """The new ids of greedy decoding with a pass over the whole text for each."""
    ids = list(prompt)
    with torch.inference_mode():
        for _ in range(tokens):
            rows = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
            ids.append(int(rows[-1].argmax()))
    return ids[len(prompt) :]


def prompt_of(model: Any, length: int, seed: int) -> Any:
    """Random ids, with a repeated stretch that a lookup finds; features where these are wanted."""
    generator = torch.Generator().manual_seed(seed)
    name = getattr(model, "main_input_name", "input_ids")
    if name != "input_ids":
        return {name: torch.randn(_features(model.config), generator=generator)}
    size = min(model.config.get_text_config().vocab_size, 64)
    ids = torch.randint(5, size, (length,), generator=generator).tolist()
    return ids + ids[:3]


def _features(config: Any) -> tuple[int, ...]:
    """The shape of what a speech encoder takes."""
    if config.model_type == "whisper":
        return 1, config.num_mel_bins, 2 * config.max_source_positions
    if config.model_type == "speech_to_text":
        return 1, 40, config.input_feat_per_channel
    if config.model_type in ("moonshine", "moonshine_streaming"):
        return 1, 4000
    try:
        return 1, 40, config.encoder_config.num_mel_bins
    except AttributeError as failure:
        raise NotTried(f"features of an unknown shape: {failure}") from failure


def results(model: Any, other: Any) -> dict[str, str]:
    """{way: "right", or why not}; other: a model of the same class with other weights.

    Raises:
        InputError: refused as a whole.
        NotTried: there is no text to compare with.
        AssertionError: a text that is not `generate`'s.
    """
    size = model.config.get_text_config(decoder=True).vocab_size
    target = hf.load(model, vocabulary=vocabulary(size), pack=False)
    drafter = hf.load(other, vocabulary=vocabulary(size), pack=False)
    prompts = [prompt_of(model, length, seed) for seed, length in enumerate((9, 5))]
    wanted = []
    # Where single tokens take another kernel, all rows are those of the kernel for several.
    reference = generated if getattr(target._decoder, "alone", True) else without_cache
    for prompt in prompts:
        ids = reference(model, prompt)
        start = target.decoder_prompt(prompt) if isinstance(target, HfEncoderDecoder) else []
        assert ids[: len(start)] == start, f"the decoder begins with {ids[:4]}, not {start}"
        wanted.append(ids[len(start) :])
    tokens = len(wanted[0])
    ways = {
        "plain": (target, None, {}),
        "lookup": (target, "lookup", {}),
        "draft": (target, drafter, {}),
        # A drafter that agrees with the target now and then: whole drafts are accepted too.
        "itself": (target, target, {}),
        "tree": (target, drafter, {"widths": [2, 2, 1]}),
    }
    found = {}
    for way, (first, second, options) in ways.items():
        try:
            got = decode(first, second, prompts, tokens=tokens, **options)
        except InputError as refusal:
            assert way == "tree", f"{way}: {refusal}"
            found[way] = f"refused: {refusal}"
            continue
        assert got == wanted, f"{way}: {got} in place of {wanted}"
        found[way] = "right"
    return found
