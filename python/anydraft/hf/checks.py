"""What is found out about a model when it is loaded: a wrong text is worse than none."""

from __future__ import annotations

import warnings
from typing import Any

import torch

from anydraft.errors import InputError
from anydraft.hf.slots import Part, Slots
from anydraft.hf.stock import relative_error, trial_tokens

_ROUNDING = 1e-3  # of the largest logit; float32
_COARSE_ROUNDING = 0.1  # bfloat16, float16, quantised
_SHARE, _COARSE_SHARE = 2e-4, 0.3  # of what the text before changes in a logit
_NOISE = 5e-6  # below this nothing can be said
# What no trial on a short text would show.
_REFUSED = {
    "MoshiForCausalLM": "its window is kept by its cache alone, which cannot be cut back then",
}
_PIECES = ((0, 7), (7, 11), (11, 12), (12, 13))  # a prompt, several tokens behind it, single ones
# The text's limit by the names that configurations have for it.
_LIMITS = (
    "max_target_positions",
    "max_position_embeddings",
    "max_decoder_position_embeddings",  # LED
    "max_seq_len",  # MPT
)
_LAST = 3  # rows of a prompt that are asked for without those before them


def check_rows(
    decoder: Any, config: Any, name: str, dtype: torch.dtype, *, quantised: bool
) -> None:
    """Compares rows on top of a cache with those of a pass without one, in inference mode.

    They differ where a model ignores its cache, cannot go on from it with several tokens, or
    where rows depend on later tokens. A model that counts positions in a way of its own is asked
    to do so.

    Raises:
        InputError: they differ.
    """
    coarse = quantised or dtype != torch.float32
    most, share = (_COARSE_ROUNDING, _COARSE_SHARE) if coarse else (_ROUNDING, _SHARE)
    if quantised:
        most *= 3
    found = []
    ways = [(True, True), (False, True)]
    if hasattr(decoder, "alone"):
        ways += [(True, False), (False, False)]
    for says_positions, alone in ways:
        decoder.says_positions = says_positions
        if not alone:
            decoder.alone = False
        try:
            error, effect = _error(decoder, config)
        except InputError:  # no model that gives logits
            raise
        except Exception as failure:
            found.append(f"it fails: {type(failure).__name__}: {failure}")
            continue
        found.append(f"logits differ by {error:.2g} of their size")
        if error <= most and error <= max(share * effect, _NOISE):
            if not alone:
                _warn(
                    f"{name} computes single tokens otherwise than several ({found[0]}): the pass "
                    "for several is used for all, so a text may part from one decoded token by "
                    "token"
                )
            if quantised and error > (_ROUNDING if dtype == torch.float32 else _COARSE_ROUNDING):
                _warn(
                    f"rows of this quantised {name} depend on how many are computed together "
                    f"({found[-1]}): near ties, texts may part from plain decoding's"
                )
            return
    raise InputError(
        "[HfModel] expected a model that gives the same logits on top of a cache as without one, "
        f"for one token as for several, got {name} ({found[0]}): its cache is ignored or cannot be "
        "continued by several tokens, or tokens see later ones"
    )


def _warn(message: str) -> None:
    warnings.warn(f"[hf.load] {message}", RuntimeWarning, stacklevel=6)


def _error(decoder: Any, config: Any) -> tuple[float, float]:
    """(how far rows lie from those of one pass, how far these lie from rows without the text
    before them), relative to the logits' size. Models with small random weights hardly look back:
    there an error is small too."""
    tokens = trial_tokens(config, _PIECES[-1][1])
    slots, cache = Slots(), decoder.trial_cache()
    rows = []
    for start, end in _PIECES:
        positions, parents = range(start, end), range(-1, end - start - 1)
        new = tokens[start:end]
        rows.append(decoder([Part(new, positions, parents, len(new), slots, cache)]))
        slots.add(positions, parents)
    rows.append(_last_rows(decoder, tokens))
    expected = decoder.whole(tokens, decoder.trial_cache())
    error = relative_error(torch.cat(rows).float(), torch.cat((expected, expected[-_LAST:])))
    if error <= _NOISE:
        return error, 1.0  # nothing to weigh it against: a pass less
    first = _PIECES[0][1]
    alone = decoder.whole(tokens[first:], decoder.trial_cache())
    return error, relative_error(alone, expected[first:])


def _last_rows(decoder: Any, tokens: list[int]) -> torch.Tensor:
    """The last rows of a prompt, asked for alone: some models then drop tokens on the way."""
    count = len(tokens)
    chain = range(count), range(-1, count - 1)
    rows: torch.Tensor = decoder([Part(tokens, *chain, _LAST, Slots(), decoder.trial_cache())])
    return rows


def is_quantised(model: Any) -> bool:
    """Whether weights or inputs of products are rounded, by transformers or another library."""
    if getattr(model.config, "quantization_config", None) is not None:
        return True
    return any("quant" in type(layer).__module__ for layer in model.modules())


def check_head(model: Any) -> None:
    """Refuses what gives no logits over a vocabulary, and classes that are known not to work.

    Raises:
        InputError: a classifier, or a model without a head.
    """
    name = type(model).__name__
    if name in _REFUSED:
        raise InputError(f"[HfModel] expected another model than {name}: {_REFUSED[name]}")
    classifier = name.endswith(("Classification", "QuestionAnswering", "MultipleChoice"))
    head: Any = getattr(model, "get_output_embeddings", lambda: None)
    if classifier or (name.endswith("Model") and "LMHead" not in name and head() is None):
        raise InputError(
            f"[HfModel] expected a model with a language head, got {name}: load the class whose "
            "name ends in ForCausalLM or ForConditionalGeneration"
        )


def context_length(config: Any) -> int | None:
    """How many tokens a text of the model may have, None where the configuration names no limit.

    Raises:
        InputError: a limit that is none.
    """
    for name in _LIMITS:
        limit = getattr(config, name, None)
        if limit is None or limit == -1:  # -1: XLNet's word for none
            continue
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            raise InputError(
                f"[HfModel] expected {name} >= 1 in the configuration, or none, got {limit!r}"
            )
        return limit if limit < 2**31 else None
    return None
