"""The audit's p-value is what it says, for laws with hardly any mass in a bin too."""

import numpy as np
import torch

from anydraft.testing import chi_square


def test_draws_from_the_law_seldom_look_wrong():
    random = np.random.default_rng(0)
    for law in ([0.5, 0.499999, 1e-6], [0.3, 0.2, 0.2, 0.2999, 1e-4], [0.01] * 100, [1.0]):
        values = [
            chi_square(torch.tensor(random.multinomial(20000, law)), torch.tensor(law)).p_value
            for _ in range(1000)
        ]
        assert np.mean(np.array(values) < 1e-2) < 0.02


def test_draws_from_another_law_look_wrong():
    random = np.random.default_rng(1)
    counts = random.multinomial(20000, [0.27, 0.23, 0.25, 0.25])
    assert chi_square(torch.tensor(counts), torch.full((4,), 0.25)).p_value < 1e-6
