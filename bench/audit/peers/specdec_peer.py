"""specdec: `SpecDecoder.verify`, on a target that is rows."""

from __future__ import annotations

import torch
from specdec.decoder import SpecDecoder

from bench.audit.rounds import Model, Rule, chains

PACKAGE = "specdec"


def _step(tokens, draft_rows, target_rows):
    decoder = SpecDecoder.__new__(SpecDecoder)  # its constructor loads two models by name
    decoder.device, decoder.big_model = "cpu", Model(target_rows)
    prompt = torch.zeros((1, 1), dtype=torch.int64)
    emitted = decoder.verify(prompt, tokens, list(draft_rows.softmax(-1)[:, None]))
    return len(emitted) - 1, emitted[-1]


def rules() -> list[Rule]:
    return [Rule("SpecDecoder.verify", chains(_step))]
