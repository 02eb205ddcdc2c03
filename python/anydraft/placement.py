"""Where a session's rows are read: on the CUDA device that the models leave them on, or in
memory."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from anydraft import _core
from anydraft.bridges import Slrs

_log = logging.getLogger("anydraft")


def cuda_device(model: Any) -> Any:
    """The CUDA device that a model says it is on; None: it is on none, or does not say."""
    device = getattr(model, "device", None)
    return device if getattr(device, "type", None) == "cuda" else None


def stays_on_device(target: Any) -> bool:
    """Whether rows of this target can be read where they are."""
    return _core.cuda_built() and cuda_device(target) is not None


class Placement:
    """Says once where a session's rows are read, and brings there what a model leaves elsewhere.

    Rows stay on a CUDA device where the target's are, this build has CUDA and the device carries
    what the session asks for; only tokens, confidences and verdicts then come to the host.

    Attributes:
        device: the CUDA device, None: memory, or not known yet.
    """

    def __init__(self, target: Any, bridge: str, given: Any, tree: Any) -> None:
        self.device: Any = None
        # What is drafted for certain is judged without the drafter's rows.
        self._apart = bridge == "slem"
        general = isinstance(given, Slrs) and given.stop_rule != 1
        self._copied = ""  # why rows are brought to memory
        if not _core.cuda_built():
            self._copied = "this build has no CUDA"
        elif bridge == "auto":
            self._copied = 'bridge "auto" learns from whole rows'
        elif bridge == "slrs" and (general or tree is not None):
            self._copied = "slrs with a tree or a general stop rule reads whole rows"
        self._known = False
        if (device := cuda_device(target)) is not None:
            self._decide(device)

    def groups(self, handles: Mapping[int, Any]) -> list[tuple[bool, list[int]]]:
        """(whether the rows are read in memory, ids) of the requests that share a call.

        What the engine changes of whole rows, or tells of them, it reads in memory: such requests
        have calls of their own beside others on a device.
        """
        if self._known and self.device is None:
            return [(True, list(handles))]  # all of them, for good
        apart = [id for id, handle in handles.items() if handle.in_memory]
        if self.device is None:
            return [(bool(apart), list(handles))]
        others = [id for id, handle in handles.items() if not handle.in_memory]
        return [(in_memory, ids) for in_memory, ids in ((False, others), (True, apart)) if ids]

    def place(self, rows: Any, *, in_memory: bool) -> Any:
        """The rows where they are read.

        rows: torch, or anything with DLPack in memory.
        """
        on_cuda = bool(getattr(rows, "is_cuda", False))
        if not self._known:
            self._decide(rows.device if on_cuda and not in_memory else None)
        if self.device is None or in_memory:
            return rows.cpu() if on_cuda else rows
        if rows.device == self.device if on_cuda else self._apart:
            return rows
        if on_cuda:  # a model on another device: the engine reads the rows of one
            return rows.to(self.device)
        import torch

        tensor = rows if isinstance(rows, torch.Tensor) else torch.utils.dlpack.from_dlpack(rows)
        return tensor.to(self.device)

    def _decide(self, device: Any) -> None:
        self._known = True
        if device is not None and self._copied:
            _log.info("rows are copied from %s to memory: %s", device, self._copied)
        elif device is not None:
            import torch

            here = torch.cuda.current_device() if device.index is None else device.index
            self.device = torch.device("cuda", here)
