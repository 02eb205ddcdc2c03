"""Models by path or name, on the backend that suits them."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from anydraft.errors import InputError, UnsupportedTokenizerError, VocabularyError
from anydraft.gguf_metadata import GGUF_MAGIC

Backend = Literal["auto", "native", "hf"]
_log = logging.getLogger("anydraft")


def load_model(
    name: str | Path, *, backend: Backend = "auto", device: str = "auto", **options: Any
) -> Any:
    """A model for a session.

    Args:
        name: a GGUF file, a model's folder, or (backend "hf") a name on the hub.
        backend: "native": the decoder of this package (`native.load`), on a CPU without torch.
            "hf": transformers (`hf.load`). "auto": native for GGUF files, and on a CPU for folders
            of families that it knows; else hf.
        device: "auto": a CUDA device where torch has one, else the CPU; or torch's name of one.
        options: of `native.load` or `hf.load`, whichever it comes to.

    What is in force is logged by the logger "anydraft" and is `describe(model)`.

    Raises:
        InputError: a backend or device that cannot run it; what the loaders raise.
    """
    if backend not in ("auto", "native", "hf"):
        raise InputError(f"[load_model] expected backend auto, native or hf, got {backend!r}")
    path = Path(name).expanduser()
    model, why = _load(path if path.exists() else name, backend, device, options)
    _log.info("%s: %s%s", name, describe(model), f" ({why})" if why else "")
    return model


def describe(model: Any) -> str:
    """One line: the backend, what the weights are, and what other choices would cost or change."""
    if (said := getattr(model, "description", None)) is not None:
        return f"native, {said}"
    inner = getattr(model, "model", None)
    dtype, device = getattr(inner, "dtype", None), getattr(inner, "device", None)
    if dtype is None:
        return type(model).__name__
    return f"hf, {type(inner).__name__}, {str(dtype).removeprefix('torch.')} on {device}"


def _load(name: str | Path, backend: str, device: str, options: dict[str, Any]) -> tuple[Any, str]:
    """(the model, why it is not native where that was tried)."""
    if str(name).endswith(".gguf") and not Path(name).is_file():
        raise InputError(f"[load_model] expected a GGUF file, got {name}, which is none")
    is_gguf = isinstance(name, Path) and name.is_file() and _is_gguf(name)
    native = backend == "native" or is_gguf
    on_cpu = device == "cpu" or (device == "auto" and (native or not _has_cuda()))
    if backend == "native" or (backend == "auto" and is_gguf):
        if not on_cpu:
            raise InputError(f"[load_model] expected device cpu for a native model, got {device}")
        return _native(name, options), ""
    why = ""
    if backend == "auto" and on_cpu and isinstance(name, Path) and _knows(name, options):
        try:
            return _native(name, options), ""
        except (InputError, UnsupportedTokenizerError, VocabularyError, FileNotFoundError) as error:
            why = f"not native: {error}"
    only_native = sorted({"weights", "cache", "row_costs"} & set(options))
    if only_native:
        raise InputError(
            f"[load_model] expected {name} without {', '.join(only_native)}, which the native "
            f"decoder alone takes, on a CPU{f' ({why})' if why else ''}"
        )
    return _hf(name, device, options), why


def loaded(given: Any, backend: Backend, device: str, option: str, weights: str | None) -> Any:
    """A model by path or name; what is none, as it is.

    weights: how to round them (None: not given); `option` is what the caller names that.

    Raises:
        InputError: weights of what is not loaded here.
    """
    if isinstance(given, str | Path) and given != "lookup":
        more = {} if weights is None else {"weights": weights}
        return load_model(given, backend=backend, device=device, **more)
    if weights is not None:
        raise InputError(f"[Session] expected a path or a name with {option}, got {given!r}")
    return given


def _native(name: str | Path, options: dict[str, Any]) -> Any:
    from anydraft import native

    return native.load(name, **options)


def _hf(name: str | Path, device: str, options: dict[str, Any]) -> Any:
    try:
        from anydraft import hf
    except ImportError as error:
        raise ImportError(
            f"this model needs transformers: pip install 'anydraft[hf]' ({error})"
        ) from error
    if device == "auto":
        device = "cuda" if _has_cuda() else "cpu"
    return hf.load(name, device=device, **options)


def _knows(folder: Path, options: dict[str, Any]) -> bool:
    """Whether a folder is one to try: safetensors, and options that the native loader has."""
    native_options = {"weights", "cache", "vocabulary", "row_costs"}
    return set(options) <= native_options and any(folder.glob("*.safetensors"))


def _is_gguf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(GGUF_MAGIC)) == GGUF_MAGIC


def _has_cuda() -> bool:
    # torch takes seconds to import: only where there is a driver.
    if not Path("/proc/driver/nvidia").exists() or find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()
