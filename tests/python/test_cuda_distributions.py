"""Exact distributions on the device: every (distribution, verifier) on all uniforms of a lattice,
few tokens.

The first token that comes out has the target's distribution, whatever was drafted: summed over all
drafts with their exact probabilities and over a rank-1 lattice of uniforms, which is even in each
uniform and in all of them together. The decisions are the CPU engine's at every single point, whose
distribution tests/distributions/ enumerates exactly. The lattice itself is checked on the CPU,
without a device.
"""

import numpy as np
import pytest
import torch
from cuda_batches import ABSENT, on_device

from anydraft import Proposal, SamplingParams, Trees, probs, sample, verifiers, verify

POINTS = 2039  # a prime
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=[pytest.mark.cuda, pytest.mark.skipif(bool(ABSENT), reason=ABSENT)]),
]
CASES = [(kind, info["name"]) for info in verifiers() for kind in info["proposals"].split(", ")]
TARGET = np.array([0.42, 0.31, 0.2, 0.07])
DRAFT = np.array([0.1, 0.25, 0.3, 0.35])
SPARSE = {0: 0.5, 2: 0.3, 3: 0.2}


def uniforms():
    """[points, 4], even in each coordinate and, as a lattice, in all of them."""
    steps = 331 ** np.arange(4) % POINTS
    return (np.arange(POINTS)[:, None] * steps % POINTS + 0.5) / POINTS


def siblings(kind):
    """Every pair that a distribution draws at one node, with its probability."""
    if kind in ("spechub", "greedy_k"):  # the likeliest last, for certain
        return {(i, 3): DRAFT[i] / (1 - DRAFT[3]) for i in range(3)}
    if kind == "without_replacement":
        q = dict(enumerate(DRAFT))
        return {(i, j): q[i] * q[j] / (1 - q[i]) for i in q for j in q if i != j}
    return independent(kind)


def independent(kind):
    """Pairs of lone children, each by the distribution."""
    if kind == "one_hot":
        return {(3, 1): 1.0}
    if kind in ("spechub", "greedy_k"):  # alone: the likeliest
        return {(3, 3): 1.0}
    q = SPARSE if kind == "sparse" else dict(enumerate(DRAFT))
    return {(i, j): q[i] * q[j] for i in q for j in q}


def proposal(kind):
    if kind == "sparse":
        return Proposal("sparse", ids=list(SPARSE), masses=list(SPARSE.values()))
    return Proposal("one_hot") if kind == "one_hot" else Proposal(kind, 0)


def drafts(kind, verifier):
    """(tokens, parents, paths, probability) of each tree: two siblings; block: a chain of two."""
    pairs = independent(kind) if verifier == "block" else siblings(kind)
    for (first, second), probability in pairs.items():
        if verifier == "block":
            yield [0, first, second], [-1, 0, 1], [1, 1, 1], probability
        elif verifier == "multipath" and first == second:
            yield [0, first], [-1, 0], [2, 2], probability
        else:
            yield [0, first, second], [-1, 0, 0], [2, 1, 1], probability


def play(kind, verifier, tree, device):
    tokens, parents, paths, _ = tree
    size, count = len(tokens), POINTS
    accept, pick, select = (np.repeat(c, size) for c in uniforms().T[[0, 2, 3]])
    accept[2::size] = uniforms()[:, 1] if size == 3 else accept[2::size]
    offsets = list(range(0, size * count + 1, size))
    rows = torch.tensor(TARGET).float().log().expand(size * count, -1)
    return verify(
        Trees(tokens * count, parents * count, offsets, paths * count),
        rows.to(device),
        proposals=[proposal(kind)] * (size * count),
        draft_logits=torch.tensor(DRAFT)[None].float().log().to(device),
        sampling=SamplingParams(),
        verifier=verifier,
        uniforms=(accept.tolist(), pick.tolist(), select.tolist()),
    )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("kind", "verifier"), CASES)
def test_the_first_token_has_the_targets_distribution(kind, verifier, device):
    total, mass = np.zeros(len(TARGET)), 0.0
    for tree in drafts(kind, verifier):
        kept = play(kind, verifier, tree, device)
        if device != "cpu":
            cpu = play(kind, verifier, tree, "cpu")
            assert (kept.accepted, kept.next_token) == (cpu.accepted, cpu.next_token)
        tokens, probability = tree[0], tree[-1]
        first = [tokens[(kept.path(i) or [0])[0]] for i in range(POINTS)]
        first = [t if kept.path(i) else kept.next_token[i] for i, t in enumerate(first)]
        total += probability * np.bincount(first, minlength=len(TARGET)) / POINTS
        mass += probability
    assert mass == pytest.approx(1)
    assert np.abs(total - TARGET).max() < 0.01


@on_device
@pytest.mark.parametrize("vocab", [32000, 151936])
def test_chi_square_at_real_vocabularies(vocab):
    """First tokens of chains drawn from a row and verified, against the target's distribution."""
    requests, rounds = 512, 8
    generator = torch.Generator().manual_seed(vocab)
    target = 2 * torch.randn(1, vocab, generator=generator)
    target[0, :20] += np.log(vocab)
    draft = target + torch.randn(1, vocab, generator=generator)
    scheme = probs(target, SamplingParams())[0].double().numpy()
    counts = np.zeros(vocab)
    rows, drafts = target.cuda().expand(2 * requests, -1), draft.cuda()
    for round_ in range(rounds):
        keys = [(i, round_) for i in range(requests)]
        drawn = sample(drafts.expand(requests, -1), SamplingParams(seed=77), keys).tolist()
        kept = verify(
            Trees.chains([[0, token] for token in drawn]),
            rows,
            proposals=[Proposal("iid", 0)] * (2 * requests),
            draft_logits=drafts,
            sampling=SamplingParams(seed=5),
            positions=[round_] * requests,
        )
        for i, token in enumerate(drawn):
            counts[token if kept.path(i) else kept.next_token[i]] += 1
    total = requests * rounds
    common = np.argsort(-scheme)[:15]
    seen = np.append(counts[common], total - counts[common].sum())
    wanted = np.append(scheme[common], 1 - scheme[common].sum()) * total
    # 15 degrees of freedom: exceeded once in 10,000 runs.
    assert ((seen - wanted) ** 2 / wanted).sum() < 44.3
