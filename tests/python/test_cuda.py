"""The CUDA engine against the CPU engine: the same tokens from the same logits and coins."""

import numpy as np
import pytest
import torch

from anydraft import (
    CudaUnavailableError,
    InputError,
    Law,
    NonFiniteLogitsError,
    SamplingParams,
    Trees,
    _core,
    verify,
)

ABSENT = None
if not _core.cuda_built():
    ABSENT = "this build has no CUDA (ANYDRAFT_CUDA=ON, `make gpu`)"
elif not torch.cuda.is_available():
    ABSENT = "no CUDA device"
cuda = [pytest.mark.cuda, pytest.mark.skipif(ABSENT is not None, reason=str(ABSENT))]


def batch(vocab, requests, dtype, seed, one_hot=False):
    random = np.random.default_rng(seed)
    chains = [random.integers(0, min(vocab, 6), 5).tolist() for _ in range(requests)]
    generator = torch.Generator().manual_seed(seed)
    target = 2 * torch.randn(5 * requests, vocab, generator=generator)
    target[:, : min(vocab, 6)] += np.log(max(vocab, 2))  # drafts that are often accepted
    draft = target + 0.7 * torch.randn(5 * requests, vocab, generator=generator)
    laws = [Law("one_hot") if one_hot else Law("row", i) for i in range(5 * requests)]
    return Trees.chains(chains), target.to(dtype), draft.to(dtype), laws


@pytest.mark.parametrize("vocab", [7, 1000, 32000, 128256, 151936, 262144])
@pytest.mark.parametrize(
    ("requests", "dtype"),
    [(1, torch.float32), (17, torch.bfloat16), (3, torch.float16)],
)
@pytest.mark.parametrize("verifier", ["top_down", "match"])
class TestSameTokens:
    pytestmark = cuda

    def test_as_the_cpu(self, vocab, requests, dtype, verifier):
        trees, target, draft, laws = batch(vocab, requests, dtype, vocab, verifier == "match")
        for temperature in (0.0, 0.7, 1.3):
            params = SamplingParams(temperature=temperature, seed=vocab)
            options = {"laws": laws, "sampling": params, "verifier": verifier}
            cpu = verify(trees, target, draft_logits=draft, **options)
            gpu = verify(trees, target.cuda(), draft_logits=draft.cuda(), **options)
            assert gpu == cpu


class TestRefusals:
    pytestmark = cuda

    def test_a_bad_row_is_named(self):
        trees, target, draft, laws = batch(1000, 2, torch.float32, 1)
        target[5, 3] = torch.nan
        with pytest.raises(NonFiniteLogitsError, match="target row 5"):
            verify(
                trees,
                target.cuda(),
                laws=laws,
                draft_logits=draft.cuda(),
                sampling=SamplingParams(),
            )

    def test_what_is_not_there_yet_is_named(self):
        trees, target, draft, laws = batch(1000, 2, torch.float32, 1)
        params = SamplingParams(top_k=5)
        with pytest.raises(InputError, match="temperature only on CUDA rows"):
            verify(trees, target.cuda(), laws=laws, draft_logits=draft.cuda(), sampling=params)
        with pytest.raises(InputError, match="on one device"):
            verify(trees, target.cuda(), laws=laws, draft_logits=draft, sampling=SamplingParams())


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
        verify(Trees.chains([[0]]), rows, laws=[Law("one_hot")], sampling=SamplingParams())
