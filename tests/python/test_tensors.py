"""Tensors as rows: by the exchange table of torch's own type, by buffers, by capsules."""

import gc
import weakref

import numpy as np
import pytest
import torch
from torch._subclasses import FakeTensorMode

from anydraft import InputError, SamplingParams, _core

PLAIN = SamplingParams()


def draw(rows):
    return _core.sample_rows(rows, PLAIN, [0.3] * len(rows))


def logits(rows=4, vocab=5000):
    return torch.randn(rows, vocab, generator=torch.Generator().manual_seed(1))


class Tensor(torch.Tensor):
    """A subclass: it has no table of its own."""


def test_all_ways_lead_to_the_same_rows():
    rows = logits()
    expected = draw(rows.numpy())
    parameter = torch.nn.Parameter(rows, requires_grad=False)
    for same in (rows, parameter, rows.as_subclass(Tensor), rows.expand(4, -1)):
        assert draw(same) == expected
    wide = torch.cat([rows, rows], -1)
    assert draw(wide[:, 5000:]) == expected
    assert draw(rows.repeat_interleave(2, 0)[1::2]) == expected
    assert _core.sample_rows(rows[2], PLAIN, [0.3]) == expected[2:3]
    assert draw(rows.bfloat16()) == draw(rows.bfloat16().float())


def test_arrays_are_read_as_they_lie():
    rows = logits()
    array, expected = rows.numpy(), draw(rows)
    wide = np.concatenate([array, array], 1)
    for same in (wide[:, :5000], wide[:, 5000:], array.astype(">f4").astype("=f4")):
        assert draw(same) == expected
    assert draw(array[::-1]) == draw(rows.flip(0))
    assert draw(array.astype(np.float16)) == draw(rows.half())
    assert _core.sample_rows(array[2], PLAIN, [0.3]) == expected[2:3]
    assert _core.sample_rows(array[:0], PLAIN, []) == []
    fixed = array.copy()
    fixed.flags.writeable = False
    assert draw(fixed) == expected
    for other, got in ((wide[:, ::2], "got stride"), (array.astype(np.float64), "got float64")):
        with pytest.raises(InputError, match=got):
            draw(other)


def test_what_the_library_refuses_stays_refused():
    with pytest.raises(BufferError, match="Can't export"):
        draw(logits().to_sparse())
    for tensor, got in (
        (logits().double(), "got float64"),
        (logits().T, "got stride"),
        (logits()[None], "got 3 dimensions"),
    ):
        with pytest.raises(InputError, match=got):
            _core.sample_rows(tensor, PLAIN, [])
    with pytest.raises(TypeError, match="expected a tensor"):
        draw([[0.0]])


def test_rows_that_require_gradients_are_refused():
    for tensor in (
        logits().requires_grad_(),
        torch.nn.Parameter(logits()),
        logits().as_subclass(Tensor).requires_grad_(),
    ):
        with pytest.raises(InputError, match=r"expected rows without gradients.*call detach\(\)"):
            draw(tensor)
        assert draw(tensor.detach()) == draw(logits())


def test_a_view_that_torch_negates_later_is_refused():
    negated = torch._neg_view(-logits())  # as the imaginary part of a conjugate is
    assert torch.equal(negated, logits())
    for tensor in (negated, negated.as_subclass(Tensor)):
        with pytest.raises(InputError, match=r"a negated view: call resolve_neg\(\)"):
            draw(tensor)
    assert draw(negated.resolve_neg()) == draw(logits())


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
def test_a_tensor_without_memory_is_no_rows():
    with FakeTensorMode() as mode:
        fake = mode.from_tensor(logits())
    with pytest.raises(InputError, match="a null pointer"):
        draw(fake)


def test_no_tensor_is_held_after_the_call():
    for make in (
        logits,
        lambda: logits().as_subclass(Tensor),
        lambda: np.ones((1, 9), np.float32),
    ):
        rows = make()
        alive = weakref.ref(rows)
        draw(rows)
        del rows
        gc.collect()
        assert alive() is None
