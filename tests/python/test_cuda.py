"""The CUDA engine against the CPU engine: the same tokens from the same logits and uniforms."""

import numpy as np
import pytest
import torch
from cuda_batches import FILTERED, SCHEMES, Batch, OnDevice, on_device, same

from anydraft import (
    CudaUnavailableError,
    InputError,
    NonFiniteLogitsError,
    Proposal,
    SamplingParams,
    Trees,
    _core,
    sample,
    verify,
)
from anydraft.cuda import STATUS, Sampler, Uniforms, Verification, distribution_params


@on_device
@pytest.mark.parametrize("verifier", sorted(SCHEMES))
@pytest.mark.parametrize("vocab", [7, 1000, 32000, 128256, 151936, 262144])
def test_same_tokens_as_the_cpu(verifier, vocab):
    if vocab < 10:
        cases = [(256, torch.float32, 0), (1, torch.float16, 1)]
    elif vocab < 50000:
        cases = [(16, torch.bfloat16, 3), (3, torch.float32, 0), (1, torch.float16, 0)]
    else:
        cases = [(1, torch.float32, 0), (4, torch.bfloat16, 0), (2, torch.bfloat16, 5)]
    for requests, dtype, stride in cases:
        batch = Batch(verifier, vocab, requests, dtype, vocab + requests, stride)
        for params in (
            SamplingParams(temperature=0.7, seed=3),
            SamplingParams(temperature=0.0),
            FILTERED,
            [SamplingParams(temperature=0.5 + 0.1 * (i % 7), top_k=i % 5) for i in range(requests)],
        ):
            same(batch.verify("cpu", params), batch.verify("cuda", params))


@on_device
@pytest.mark.parametrize("verifier", sorted(set(SCHEMES) - {"multipath"}))
def test_acceptance_of_nodes(verifier):
    batch = Batch(verifier, 5000, 6, torch.bfloat16, 8, sparse=False)
    cpu, gpu = (batch.verify(device, FILTERED, acceptance=True) for device in ("cpu", "cuda"))
    same(cpu, gpu)
    fine = [
        node
        for i, begin in enumerate(batch.trees.offsets[:-1])
        for node in range(begin, batch.trees.offsets[i + 1])
        if not cpu.status[i]
    ]
    assert [gpu.acceptance[node] for node in fine] == [cpu.acceptance[node] for node in fine]
    device = OnDevice(batch, FILTERED, acceptance=True)
    device.call()
    told = device.call.acceptance.tolist()
    assert [told[node] for node in fine] == [cpu.acceptance[node] for node in fine]


@on_device
@pytest.mark.parametrize("requests", [1, 2, 33, 64, 256])
def test_batches(requests):
    batch = Batch("top_down", 5000, requests, torch.bfloat16, requests)
    same(batch.verify("cpu", FILTERED), batch.verify("cuda", FILTERED))


@on_device
@pytest.mark.parametrize("verifier", sorted(SCHEMES))
@pytest.mark.parametrize("splits", [1, 4], ids=["one_block", "cluster"])
def test_small_case(verifier, splits):
    """Ragged trees and the largest filters on few tokens: what `make gpu` runs under sanitizers."""
    if splits > 1 and torch.cuda.get_device_capability()[0] < 9:
        pytest.skip("clusters need compute capability 9.0")
    for vocab, lazy in ((1, False), (300, True), (4099, False)):
        batch = Batch(verifier, vocab, 3, torch.bfloat16, vocab, 1, sparse=False)
        device = OnDevice(batch, FILTERED, splits=splits, lazy=lazy)
        device.call()
        device.expect(batch.verify("cpu", FILTERED))


@on_device
@pytest.mark.parametrize("splits", [1, 2, 4, 8])
@pytest.mark.parametrize("lazy", [False, True])
def test_any_split_of_the_vocabulary(splits, lazy):
    if splits > 1 and torch.cuda.get_device_capability()[0] < 9:
        pytest.skip("clusters need compute capability 9.0")
    for vocab in (1000, 128256):
        for params in (SamplingParams(temperature=0.8, seed=5), FILTERED):
            batch = Batch("top_down", vocab, 3, torch.bfloat16, vocab)
            batch.proposals = [Proposal("iid", i) for i in range(len(batch.proposals))]
            device = OnDevice(batch, params, splits=splits, lazy=lazy)
            device.call()
            device.expect(batch.verify("cpu", params))


@on_device
def test_a_graph_replays_new_rows():
    params = SamplingParams(temperature=0.9, seed=2)
    first, second = (Batch("multipath", 3000, 5, torch.float32, 1, sparse=False) for _ in range(2))
    second.target, second.draft = second.target.flip(0), second.draft.flip(0)
    device = OnDevice(first, params)
    device.call()  # loads the kernels
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        device.call()
    graph.replay()
    device.expect(first.verify("cpu", params))
    target, draft = device.call._kept[2:4]
    target.copy_(second.target)
    draft.copy_(second.draft)
    for _ in range(2):
        graph.replay()
    device.expect(second.verify("cpu", params))


@on_device
def test_workspace_is_small():
    batch = Batch("top_down", 262144, 4, torch.bfloat16, 1)
    assert OnDevice(batch, SamplingParams()).call.workspace <= 64 * 1024 * 4


@on_device
@pytest.mark.parametrize("vocab", [7, 1000, 128256, 262144])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_samples_as_the_cpu(vocab, dtype):
    for rows in (1, 3, 70):
        logits = 3 * torch.randn(rows, vocab + 1, generator=torch.Generator().manual_seed(rows))
        logits = logits.to(dtype)[:, :vocab]
        for params in (SamplingParams(seed=1), SamplingParams(temperature=0), FILTERED):
            keys = [(i, 7) for i in range(rows)]
            assert (
                sample(logits.cuda(), params, keys).tolist()
                == sample(logits, params, keys).tolist()
            )


@on_device
def test_the_distributions_of_drawn_drafts_spare_reading_their_rows():
    params = SamplingParams(temperature=0.8, top_p=0.9)
    batch = Batch("top_down", 9000, 6, torch.bfloat16, 4)
    nodes = len(batch.proposals)
    sampler = Sampler(
        batch.draft.cuda(), distribution_params([params] * nodes, "cuda"), Uniforms(seed=3)
    )
    sampler()
    batch.proposals = [Proposal("iid", i) for i in range(nodes)]
    device = OnDevice(batch, params, draft_distributions=sampler.distributions)
    device.call()
    device.expect(batch.verify("cpu", params))


@on_device
class TestFailures:
    def test_a_bad_row_fails_its_request_alone(self):
        batch = Batch("traversal", 1000, 4, torch.float32, 1)
        batch.target[batch.trees.offsets[2], 3] = torch.nan
        kept = batch.verify("cuda", SamplingParams())
        assert "target row" in kept.status[2]
        assert kept.next_token[2] == -1
        same(batch.verify("cpu", SamplingParams()), kept)

    def test_a_bad_row_is_named(self):
        trees = Trees.chains([[0, 1], [0, 1]])
        rows = torch.zeros(4, 10)
        rows[2, 3] = torch.inf
        with pytest.raises(NonFiniteLogitsError, match="target row 2"):
            verify(
                trees, rows.cuda(), proposals=[Proposal("one_hot")] * 4, sampling=SamplingParams()
            )
        with pytest.raises(NonFiniteLogitsError, match="row 2"):
            sample(rows.cuda(), SamplingParams(), [(i, 0) for i in range(4)])

    def test_a_tree_that_cannot_be_followed(self):
        batch = Batch("top_down", 50, 2, torch.float32, 3, sparse=False)
        batch.trees.parents[-1] = 99 if batch.trees.parents[-1] >= 0 else 5
        device = OnDevice(batch, SamplingParams())
        device.call()
        assert [STATUS[s] for s in device.call.status.tolist()] == ["fine", "malformed"]

    def test_arguments_are_checked(self):
        batch = Batch("top_down", 50, 2, torch.float32, 3)
        with pytest.raises(InputError, match="on one device"):
            verify(
                batch.trees,
                batch.target.cuda(),
                proposals=batch.proposals,
                draft_logits=batch.draft,
                sampling=SamplingParams(),
            )
        with pytest.raises(InputError, match="splits"):
            OnDevice(batch, SamplingParams(), splits=3).call()


class FakeCuda:
    """A tensor that says it lies on a CUDA device."""

    def __init__(self, rows):
        self.rows = rows

    def __dlpack_device__(self):
        return 2, 0

    def __dlpack__(self, stream=None):
        return self.rows.__dlpack__()


@pytest.mark.skipif(_core.cuda_built(), reason="this build has CUDA")
def test_a_build_without_cuda_says_how_to_get_it():
    rows = FakeCuda(np.zeros((1, 4), dtype=np.float32))
    with pytest.raises(CudaUnavailableError, match="reinstall with ANYDRAFT_CUDA=ON"):
        verify(
            Trees.chains([[0]]), rows, proposals=[Proposal("one_hot")], sampling=SamplingParams()
        )
    with pytest.raises(CudaUnavailableError, match="reinstall with ANYDRAFT_CUDA=ON"):
        _core.sample_rows(rows, SamplingParams(), [0.5])


def test_arguments_for_the_device_are_checked_without_one():
    ints = torch.zeros(3, dtype=torch.int32)
    params = distribution_params([SamplingParams()] * 2, "cpu")
    offsets, rows = torch.tensor([0, 1, 3], dtype=torch.int32), torch.zeros(3, 8)
    distributions = {"kinds": ints, "rows": ints, "sampling": params}
    with pytest.raises(InputError, match=r"tokens \[3\], got \[2\]"):
        Verification(ints[:2], ints, offsets, rows, **distributions)
    with pytest.raises(InputError, match=r"tokens torch\.int32"):
        Verification(ints.long(), ints, offsets, rows, **distributions)
    with pytest.raises(InputError, match="sampling"):
        Verification(ints, ints, offsets, rows, **distributions | {"sampling": params[:1]})
    with pytest.raises(InputError, match="rows in CUDA memory"):
        Verification(ints, ints, offsets, rows, **distributions)
    with pytest.raises(InputError, match="rows in CUDA memory"):
        Sampler(rows, distribution_params([SamplingParams()] * 3, "cpu"), Uniforms())
