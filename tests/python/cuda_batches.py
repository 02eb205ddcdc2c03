"""Batches of drafts for the tests of the CUDA engine, as Python lists and on the device."""

import numpy as np
import pytest
import torch

from anydraft import Proposal, SamplingParams, Trees, _core, verifiers, verify
from anydraft.cuda import STATUS, Uniforms, Verification, distribution_params

ABSENT = ""
if not _core.cuda_built():
    ABSENT = "this build has no CUDA (ANYDRAFT_CUDA=ON, `make gpu`)"
elif not torch.cuda.is_available():
    ABSENT = "no CUDA device"


def on_device(test):
    return pytest.mark.cuda(pytest.mark.skipif(bool(ABSENT), reason=ABSENT)(test))


KINDS = ["one_hot", "iid", "without_replacement", "spechub", "greedy_k", "sparse"]
SCHEMES = {info["name"]: info["proposals"].split(", ") for info in verifiers()}
FILTERED = SamplingParams(temperature=0.8, top_k=50, top_p=0.95, min_p=1e-4)


class Batch:
    """Ragged trees (chains for block) with distributions that the verifier takes, on the CPU;
    `Verification` takes no sparse ones."""

    def __init__(self, verifier, vocab, requests, dtype, seed, stride=0, sparse=True):
        random = np.random.default_rng(seed)
        generator = torch.Generator().manual_seed(seed)
        tokens, parents, paths, self.proposals, offsets = [], [], [], [], [0]
        kinds = [kind for kind in SCHEMES[verifier] if sparse or kind != "sparse"]
        for _ in range(requests):
            for node in range(int(random.integers(1, 7))):
                chain = verifier == "block" or random.random() < 0.4
                back = 1 if chain else int(random.integers(1, 4))
                parents.append(-1 if node == 0 else max(node - back, 0))
                tokens.append(int(random.integers(0, min(vocab, 5))))
                paths.append(int(random.integers(1, 4)))
                self.proposals.append(self.proposal(str(random.choice(kinds)), len(self.proposals)))
            offsets.append(len(tokens))
        nodes = len(tokens)
        rows = torch.randn(2, nodes, vocab + stride, generator=generator)
        rows[0] *= 2
        rows[0, :, :5] += 2 * np.log(max(vocab, 2))  # drafts that are often accepted
        rows[1] += rows[0]
        self.rows, self.vocab = rows.to(dtype), vocab
        self.target, self.draft = self.rows[..., :vocab]  # strided where stride > 0
        self.trees = Trees(tokens, parents, offsets, paths)
        self.verifier = verifier

    @staticmethod
    def proposal(kind, row):
        if kind == "sparse":
            return Proposal("sparse", ids=[0, 1, 2, 3, 4], masses=[1.0, 2.0, 1.0, 0.5, 0.1])
        return Proposal("one_hot") if kind == "one_hot" else Proposal(kind, row)

    def verify(self, device, params, **options):
        if device == "cpu":
            target, draft = self.target, self.draft
        else:  # a copy of a slice would be contiguous
            target, draft = self.rows.to(device)[..., : self.vocab]
        return verify(
            self.trees,
            target,
            proposals=self.proposals,
            draft_logits=draft,
            sampling=params,
            verifier=self.verifier,
            on_error="status",
            **options,
        )


def same(cpu, gpu):
    """Equal but for the wording of errors."""
    assert (gpu.accepted, gpu.offsets, gpu.next_token) == (
        cpu.accepted,
        cpu.offsets,
        cpu.next_token,
    )
    assert [bool(s) for s in gpu.status] == [bool(s) for s in cpu.status]


class OnDevice:
    """A batch's inputs as device tensors, for Verification."""

    def __init__(self, batch, params, draft_params=None, **options):
        def ints(values):
            return torch.tensor(values, dtype=torch.int32, device="cuda")

        requests = len(batch.trees.offsets) - 1
        self.call = Verification(
            ints(batch.trees.tokens),
            ints(batch.trees.parents),
            ints(batch.trees.offsets),
            batch.target.cuda(),
            kinds=ints([KINDS.index(proposal.kind) for proposal in batch.proposals]),
            rows=ints(
                [-1 if proposal.row is None else proposal.row for proposal in batch.proposals]
            ),
            sampling=distribution_params([params] * requests, "cuda"),
            draft_sampling=distribution_params([draft_params or params] * requests, "cuda"),
            draft_logits=batch.draft.cuda(),
            verifier=batch.verifier,
            paths=ints(batch.trees.paths),
            uniforms=Uniforms(seed=params.seed or 0),
            **options,
        )
        self.offsets = batch.trees.offsets

    def expect(self, cpu):
        torch.cuda.synchronize()
        for i, begin in enumerate(self.offsets[:-1]):
            kept = self.call.accepted[begin : self.offsets[i + 1]].tolist()
            count = int(self.call.counts[i])
            assert kept[:count] == cpu.path(i)
            assert kept[count:] == [-1] * (len(kept) - count)
            assert int(self.call.next_token[i]) == cpu.next_token[i]
            assert (STATUS[int(self.call.status[i])] == "fine") == (not cpu.status[i])
