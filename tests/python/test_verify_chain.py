"""`verify_chain`: padded chains of equal length, the shape that most drafters have."""

import numpy as np
import pytest
import torch

from anydraft import (
    InputError,
    Proposal,
    SamplingParams,
    Trees,
    draw_children,
    verify,
    verify_chain,
)
from anydraft.testing import chi_square

PLAIN = SamplingParams(seed=5)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_chains_are_trees_of_one_child(kind):
    """The case everybody has: equal to `verify` of the trees, whatever is drafted."""
    random = np.random.default_rng(7)
    tokens = random.integers(0, 5, (3, 2))
    target = random.standard_normal((3, 3, 5)).astype(np.float32)
    draft = random.standard_normal((3, 2, 5)).astype(np.float32)
    made = torch.from_numpy if kind == "torch" else np.copy
    params = [SamplingParams(temperature=0.9, seed=i) for i in range(3)]
    keys = {"requests": [4, 5, 6], "positions": [7, 8, 9], "sampling": params}
    trees = Trees.chains([[0, *chain] for chain in tokens.tolist()])
    for drawn in (True, False):
        rows = [Proposal("iid", i) if drawn else Proposal("one_hot") for i in range(6)]
        proposals = [*rows[:2], Proposal("one_hot"), *rows[2:4], Proposal("one_hot")]
        proposals += [*rows[4:], Proposal("one_hot")]
        expected = verify(
            trees,
            made(target.reshape(9, 5)),
            proposals=proposals,
            draft_logits=made(draft.reshape(6, 5)) if drawn else None,
            **keys,
        )
        got = verify_chain(made(tokens), made(draft) if drawn else None, made(target), **keys)
        assert got == expected
    for wrong in (
        (tokens, draft[:, :1], target),
        (tokens, draft, target[:, 1:]),
        (tokens, 3, target),
    ):
        with pytest.raises(InputError, match=r"\[verify_chain\] expected \w+ \[3, "):
            verify_chain(*wrong, sampling=PLAIN)
    for drafted in (3, ["ab"], [["a"]]):
        with pytest.raises(InputError, match=r"\[verify_chain\] expected .*draft_tokens"):
            verify_chain(drafted, None, target, sampling=PLAIN)
    with pytest.raises(InputError, match="SamplingParams as sampling, got None"):
        verify_chain(tokens, draft, target, sampling=None)
    with pytest.raises(InputError, match="positions >= 0, got -1"):
        verify_chain(tokens, draft, target, sampling=PLAIN, positions=[-1, 0, 0])


def test_chains_have_the_target_s_distribution():
    """Drawn from one row, judged by another: 30,000 first tokens."""
    target, draft = (torch.tensor([row]) for row in ([0.3, -0.5, 1.2], [1.0, 0.2, -0.7]))
    runs = 30000
    drawn = [
        draw_children("iid", draft[0], SamplingParams(seed=2), 1, request=i) for i in range(runs)
    ]
    kept = verify_chain(
        drawn,
        draft.expand(runs, 1, 3).contiguous(),
        target.expand(runs, 2, 3).contiguous(),
        sampling=SamplingParams(seed=2),
        requests=range(runs),
        positions=[0] * runs,
    )
    counts = torch.zeros(3, dtype=torch.int64)
    for i in range(runs):
        counts[drawn[i][0] if kept.path(i) else kept.next_token[i]] += 1
    assert chi_square(counts, torch.softmax(target[0].double(), 0)).p_value > 1e-3
