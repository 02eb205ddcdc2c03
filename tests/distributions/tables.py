"""Small models as tables of logits by prefix: random ones, and those that break careless code."""

import numpy as np

from anydraft import SamplingParams
from anydraft.testing import rows_for

GREEDY = SamplingParams(temperature=0)

PARAMS = {
    "plain": SamplingParams(),
    "cool": SamplingParams(temperature=0.3),
    "hot, top-k": SamplingParams(temperature=1.7, top_k=2),
    "top-p": SamplingParams(top_p=0.7),
    "all filters": SamplingParams(temperature=0.8, top_k=3, top_p=0.9, min_p=0.05),
    "greedy": GREEDY,
}


def random_rows(seed, vocab, length, spread):
    random = np.random.default_rng(seed)
    tables = spread * random.standard_normal((2, rows_for(vocab, length), vocab))
    return tables.astype(np.float32)


def adversarial_rows(vocab, length):
    """Pairs (target, draft) of one row used at every prefix."""
    rows = rows_for(vocab, length)
    tenth = np.float32(0.1)
    ramp = np.arange(vocab, dtype=np.float64)
    masked = np.where(ramp == 0, -np.inf, ramp)
    smallest = np.where(ramp == 0, np.finfo(np.float32).min, 0.0)
    pairs = {
        "equal": (ramp, ramp),
        "ties": (np.zeros(vocab), np.zeros(vocab)),
        "below by rounding": (np.full(vocab, tenth), np.full(vocab, np.nextafter(tenth, 1))),
        "disjoint": (np.where(ramp < 1, 0.0, -np.inf), np.where(ramp < 1, -np.inf, 0.0)),
        "masked token drafted": (masked, -ramp),
        "finfo.min as a mask": (smallest, ramp),
        "peaked, 1 - q[a] = 0 in float32": (ramp, np.where(ramp == 0, 60.0, 0.0)),
        "one-hot": (np.where(ramp == 1, 0.0, -np.inf), np.where(ramp == 1, 0.0, -np.inf)),
        "far apart": (40.0 * ramp, -40.0 * ramp),
        "large logits": (1e4 + ramp, 2e4 - ramp),
    }
    return {
        name: np.stack([np.tile(row, (rows, 1)) for row in pair]).astype(np.float32)
        for name, pair in pairs.items()
    }
