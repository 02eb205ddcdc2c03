"""Lets torch without CUDA stand for torch with it: tensors "on cuda" lie in the memory of the
interpreter that `_core` is linked with (run.sh), and kernels are played there.

A pytest plugin: `pytest -p fake_cuda -m cuda tests/python/test_cuda.py ...`. What tests do to a
tensor on the device, torch does on the CPU; what it gives is copied to the device's memory again.
"""

import contextlib
import ctypes
import types
import weakref

import torch

from anydraft import _core

RUNTIME = ctypes.CDLL(_core.__file__)
HOST_TO_DEVICE = 1
STREAM = 0x51
DEVICE = torch.device("cuda", 0)


def allocate(size):
    """Device memory as a buffer, freed with it."""
    at = ctypes.c_void_p()
    assert RUNTIME.cudaMalloc(ctypes.byref(at), ctypes.c_size_t(size)) == 0
    memory = (ctypes.c_char * size).from_address(at.value)
    weakref.finalize(memory, RUNTIME.cudaFree, at)
    return memory


class OnDevice(torch.Tensor):
    """A tensor whose storage is device memory."""

    device = property(lambda self: DEVICE)
    is_cuda = property(lambda self: True)

    @classmethod
    def __torch_function__(cls, function, kinds, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        kwargs.pop("device", None)
        with torch._C.DisableTorchFunctionSubclass():
            result = function(*args, **kwargs)
            given = [a for a in (*args, *kwargs.values()) if type(a) is cls]
            storages = {a.untyped_storage().data_ptr() for a in given}

        def placed(one):
            if isinstance(one, (tuple, list)):
                return type(one)(placed(each) for each in one)
            if not isinstance(one, torch.Tensor):
                return one
            with torch._C.DisableTorchFunctionSubclass():
                if one.untyped_storage().data_ptr() in storages:  # a view, or done in place
                    return one.as_subclass(cls)
                return to_device(one.as_subclass(torch.Tensor))

        return placed(result)

    def __dlpack_device__(self):
        return 2, 0

    def __dlpack__(self, stream=None):
        return plain(self).__dlpack__()

    def to(self, *args, **kwargs):
        wanted = args[0] if args else kwargs.get("device")
        if is_cuda(wanted):
            return self
        moved = plain(self).clone().to(*args, **kwargs)
        return to_device(moved) if isinstance(wanted, torch.dtype) else moved

    def cuda(self):
        return self

    def cpu(self):
        return plain(self).clone()

    def tolist(self):
        return plain(self).tolist()

    def __int__(self):
        return int(plain(self))


def plain(tensor):
    with torch._C.DisableTorchFunctionSubclass():
        return tensor.as_subclass(torch.Tensor)


def is_cuda(device):
    return isinstance(device, (str, torch.device)) and torch.device(device).type == "cuda"


def to_device(tensor, written=True):
    """A copy, with the gaps of its strides closed."""
    tensor = tensor.contiguous()
    size = max(tensor.numel() * tensor.element_size(), 1)
    memory = allocate(size)
    if written and tensor.numel():
        source = ctypes.c_void_p(tensor.data_ptr())
        assert RUNTIME.cudaMemcpy(memory, source, ctypes.c_size_t(size), HOST_TO_DEVICE) == 0
    if not tensor.numel():
        return tensor.as_subclass(OnDevice)
    flat = torch.frombuffer(memory, dtype=tensor.dtype)
    return flat.reshape(tensor.shape).as_subclass(OnDevice)


def on_either(make, written=True):
    """A factory function that also makes tensors on the device."""

    def factory(*args, device=None, **kwargs):
        if not is_cuda(device):
            return make(*args, **kwargs) if device is None else make(*args, device=device, **kwargs)
        return to_device(make(*args, **kwargs), written)

    return factory


to_on_cpu = torch.Tensor.to


def to(self, *args, **kwargs):
    wanted = args[0] if args else kwargs.get("device")
    return to_device(self) if is_cuda(wanted) else to_on_cpu(self, *args, **kwargs)


torch.Tensor.to = to
torch.Tensor.cuda = to_device
for name in ("full", "zeros", "tensor"):
    setattr(torch, name, on_either(getattr(torch, name)))
torch.empty = on_either(torch.empty, written=False)
torch.cuda.is_available = lambda: True
torch.cuda.get_device_capability = lambda *_: (9, 0)
torch.cuda.synchronize = lambda *_: None
torch.cuda.device = lambda *_: contextlib.nullcontext()
torch.cuda.current_stream = lambda *_: types.SimpleNamespace(cuda_stream=STREAM)
