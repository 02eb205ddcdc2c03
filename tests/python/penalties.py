"""Penalties and masks row by row, as transformers and vLLM define them: the engine's reference."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from anydraft import _core


@dataclass(frozen=True)
class Penalties:
    """A logits processor."""

    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    bad_words: Sequence[Sequence[int]] = ()
    allowed: Sequence[int] | None = None

    def changes(self):
        """The same for the engine."""
        return _core.LogitChanges(**vars(self))

    def __call__(self, prompt, output, row):
        text = [*prompt, *output]
        if self.repetition_penalty != 1:
            seen = known({*text}, row)
            at, by = row[seen], self.repetition_penalty
            row[seen] = torch.where(at < 0, at * by, at / by)
        if self.frequency_penalty or self.presence_penalty:
            ids, counts = torch.unique(known(output, row), return_counts=True)
            row[ids] -= self.frequency_penalty * counts + self.presence_penalty
        for *before, last in self.bad_words:
            if text[len(text) - len(before) :] == before:
                row[last] = -torch.inf
        if self.allowed is not None:
            allowed = torch.tensor(self.allowed, device=row.device)
            row = torch.full_like(row, -torch.inf).index_copy(0, allowed, row[allowed])
        return row


def known(ids, row):
    """Those that the row has a logit for, where it is."""
    return torch.tensor([i for i in ids if i < len(row)], dtype=torch.int64, device=row.device)
