"""Whether a speculative text is plain decoding's, and if not, whether rounding excuses it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from anydraft import SamplingParams, _core
from anydraft.bridges import CERTAIN

# Gap of the two best logits below which a batched and a single forward may disagree; for a
# sampled token, the distance of its uniform from a bound between the two tokens.
TIE = 1e-3
_PURPOSE_TARGET = 5  # of uniforms.h: the uniform of plain decoding


@dataclass(frozen=True)
class Feed:
    """A whole text for one fresh forward pass."""

    tokens: list[int]
    positions: list[int]
    parents: list[int]
    request: int = -1  # of no session
    keep: range = range(0)
    rows: int = 1


@dataclass(frozen=True)
class Comparison:
    """Speculative against plain decoding of one prompt.

    Attributes:
        required: whether the texts must be identical, or only have the same distribution.
        at: index of the first token that differs, None: none does.
        gap: at that token, how near the tie is (see `TIE`); None where not asked.
    """

    required: bool
    at: int | None
    gap: float | None

    @property
    def identical(self) -> bool:
        return self.at is None

    @property
    def near_tie(self) -> bool:
        """A difference that float rounding explains."""
        return self.gap is not None and self.gap < TIE

    @property
    def lossless(self) -> bool:
        """False where the texts must agree and neither do nor may be excused."""
        return self.identical or self.near_tie or not self.required

    def __str__(self) -> str:
        if self.identical:
            return "text identical"
        if not self.required:
            return "same distribution, another sample (drawn drafts at a temperature > 0)"
        if self.near_tie:
            return (
                f"text identical up to token {self.at}, a near tie (gap {self.gap:.1e}: rounding)"
            )
        return f"text DIFFERS from token {self.at} (gap {self.gap:.1e})"


def compare(
    model: Any,
    prompt: list[int],
    speculative: list[int],
    plain: list[int],
    bridge: str,
    sampling: SamplingParams,
) -> Comparison:
    """Compare the new tokens of two runs of one prompt, which had the same sampling and seed."""
    required = sampling.temperature == 0 or bridge in CERTAIN
    at = first_difference(speculative, plain)
    gap = None
    if at is not None and required and at < min(len(speculative), len(plain)):
        pair = (speculative[at], plain[at])
        gap = tie_gap(model, [*prompt, *plain[:at]], pair, sampling)
    elif at is not None and required:
        gap = float("inf")  # one is a beginning of the other: no tie makes that
    return Comparison(required, at, gap)


def first_difference(left: list[int], right: list[int]) -> int | None:
    """Index of the first token that differs, None where equal."""
    for i, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return i
    return None if len(left) == len(right) else min(len(left), len(right))


def tie_gap(model: Any, text: list[int], pair: tuple[int, int], sampling: SamplingParams) -> float:
    """How near `pair` is to a tie after `text`, by one forward pass without a cache; less what two
    steps of the row's own numbers may be, which are 0.1 where logits near 20 are bfloat16."""
    import numpy as np

    row, step = next_logits(model, text)
    if sampling.temperature == 0:
        return max(0.0, float(row.max() - row[list(pair)].min()) - 2 * step)
    # Draws go through the distribution in the order of ids: each token has an interval of its mass.
    distribution = np.empty_like(row)
    _core.write_probs(row[None], sampling, distribution[None])
    ends = distribution.cumsum(dtype=np.float64)
    uniform = _core.uniform(sampling.seed or 0, 0, len(text), 0, _PURPOSE_TARGET)
    bounds = [(float(ends[t] - distribution[t]), float(ends[t])) for t in pair]
    return float(max(max(low - uniform, uniform - high, 0.0) for low, high in bounds))


def next_logits(model: Any, text: list[int]) -> tuple[Any, float]:
    """The logits [vocab] after `text`, as numpy.float32; and a step of the largest of them in the
    model's own dtype."""
    import numpy as np

    size = len(text)
    feed = Feed(list(text), list(range(size)), list(range(-1, size - 1)))
    try:
        row = model([feed])[0]
        made = row.float().cpu().numpy() if hasattr(row, "cpu") else np.array(row, np.float32)
        bits = {"torch.bfloat16": 7, "torch.float16": 10}.get(str(row.dtype), 23)
        return made, float(np.abs(made[np.isfinite(made)]).max(initial=0)) * 2.0**-bits
    finally:
        if hasattr(model, "forget"):
            model.forget(feed.request)
