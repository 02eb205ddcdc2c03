"""Where a session's rows are read."""

from types import SimpleNamespace

import torch

from anydraft import _core
from anydraft.placement import Placement


def test_rows_of_another_device_are_brought_to_the_target_s(monkeypatch):
    """Kernels that read two devices' rows end the process's use of CUDA."""
    monkeypatch.setattr(_core, "cuda_built", lambda: True)
    first, second = (torch.device("cuda", index) for index in (0, 1))
    placement = Placement(SimpleNamespace(device=first), "slem", None, None)
    here = SimpleNamespace(is_cuda=True, device=first)
    there = SimpleNamespace(is_cuda=True, device=second, to=lambda device: device)
    assert placement.place(here, in_memory=False) is here
    assert placement.place(there, in_memory=False) == first
