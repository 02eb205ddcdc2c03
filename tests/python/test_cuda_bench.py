"""What the CUDA bench asks of its peers before it times them, on the CPU."""

import pytest
import torch

from anydraft import SamplingParams, probs
from anydraft.bench.peer_distributions import PeerDistributions, differs
from anydraft.bench.peers_cuda import Torch, Transformers

PLAIN = SamplingParams(temperature=0.8)
FILTERED = SamplingParams(temperature=0.8, top_k=50, top_p=0.95)


@pytest.mark.parametrize("params", [PLAIN, FILTERED], ids=["plain", "filtered"])
@pytest.mark.parametrize("kind", ["draw", "chain"])
def test_full_rows_of_probabilities_have_the_exact_distribution(kind, params):
    torch.manual_seed(1)
    assert PeerDistributions("cpu").wrong("torch", Torch(), kind, params) == ""


def test_transformers_verifies_by_the_exact_distribution():
    torch.manual_seed(1)
    assert PeerDistributions("cpu").wrong("transformers", Transformers(), "chain", PLAIN) == ""


class Warm(Torch):
    """Forgets the temperature of its target."""

    def probs(self, logits, params):
        return super().probs(logits, SamplingParams(top_k=params.top_k, top_p=params.top_p))


class Wide(Torch):
    """Forgets the filters."""

    def probs(self, logits, params):
        return super().probs(logits, SamplingParams(temperature=params.temperature))


class Eager(Torch):
    """Keeps every draft."""

    def first(self, kind, case, output):
        return case.tokens.view(-1, case.drafts + 1)[:, 1]


@pytest.mark.parametrize(
    ("peer", "kind", "params", "said"),
    [
        (Warm, "draw", PLAIN, "chi-square"),
        (Wide, "draw", FILTERED, "no mass"),
        (Wide, "chain", FILTERED, "no mass"),
        (Eager, "chain", PLAIN, "chi-square"),
    ],
)
def test_another_distribution_is_told(peer, kind, params, said):
    torch.manual_seed(1)
    assert said in PeerDistributions("cpu").wrong("other", peer(), kind, params)


def test_what_a_sample_contradicts():
    distribution = probs(torch.arange(4.0)[None], SamplingParams())[0].tolist()
    fair = [token for token, mass in enumerate(distribution) for _ in range(round(1000 * mass))]
    assert differs(fair, distribution) == ""
    assert "chi-square" in differs([3] * 1000, distribution)
    assert "no mass" in differs([*fair, 9], distribution)
