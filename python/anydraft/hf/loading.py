"""Reading a transformers model, its tokenizer and its vocabulary."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from anydraft.errors import InputError
from anydraft.hf.model import HfModel

_reading = threading.Lock()  # transformers' from_pretrained is not for several threads


def load(
    name_or_model: str | Path | Any,
    *,
    tokenizer: Any = None,
    pack: bool | None = None,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = "auto",
    vocabulary: Any = None,
    together: bool | None = None,
    static: bool | None = None,
    row_costs: Sequence[float] | None = None,
) -> HfModel:
    """A model from a folder, from the hub, or already built, ready for a session.

    tokenizer: read from the same place unless given; of a built model, from where its weights were
    read (`model.name_or_path`). dtype: float32 on a CPU, otherwise the file's.
    pack: packs the linear layers (CPU and float32 only; in place when the model is given built).
    Not packed, a call on several tokens costs a CPU twice one on one token, and speculation gains
    nothing there. None: where it can be done to a model that is read here. Families that the
    native decoder knows (`native.load`) run faster there.
    vocabulary: an anydraft.Vocabulary; made from the tokenizer unless given, and enough by itself
    where no chat template is wanted.
    device: "auto": of a model that is read here, a GPU where there is one; None or "auto": a built
    model stays where it is.
    together: feeds of several requests share a forward pass, padded to the longest. None: on a GPU.
    It pays where a pass is the reading of the weights; a row may then differ in its last bits from
    that of a pass of its own.
    static: steps of few tokens run over all requests' caches at once, by fixed shapes, and on a GPU
    as CUDA graphs: captured by shape when first met, compared with the eager pass, and left off
    where they differ (`graphs` of the model says why). None: on a GPU, where the model takes masks
    of its own and has no layers but attention.
    row_costs: costs of calls on 0, 1, 2, … rows, in any unit that target and drafter share: what
    draft lengths go by, and how far a recurrent model's snapshot may lag. None: not known.

    A tokenizer with parts that are not read natively is encoded by the tokenizers library, with a
    warning that names the part.

    Raises:
        InputError: options or a configuration that are wrong, weights that are missing, or a model
            whose text would not be its own, by name and with the reason.
        FileNotFoundError: no such folder, or no such name on the hub.

    >>> import transformers
    >>> from anydraft import Vocabulary, hf
    >>> config = transformers.LlamaConfig(
    ...     vocab_size=8, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
    ...     num_attention_heads=2)
    >>> letters = Vocabulary.from_bytes(
    ...     [bytes([97 + i]) for i in range(8)], encoder=lambda text: [ord(c) - 97 for c in text]
    ... )
    >>> model = hf.load(transformers.LlamaForCausalLM(config), vocabulary=letters)
    >>> model.context_length
    2048
    """
    if not isinstance(pack, bool | None):
        raise InputError(f"[hf.load] expected pack to be None, False or True, got {pack!r}")
    folder: Path | None = None
    model: Any = name_or_model
    given = tokenizer is not None
    if isinstance(name_or_model, str | Path):
        with _reading:
            folder, model, tokenizer = _read(name_or_model, tokenizer, vocabulary, dtype, device)
        pack = _can_pack(model) if pack is None else pack
    else:
        model = model if device in (None, "auto") else model.to(device)
        model = model if dtype is None else model.to(dtype)
        if tokenizer is None and vocabulary is None:
            folder, tokenizer = _origin(model)
    if vocabulary is None:
        vocabulary = _vocabulary(folder, tokenizer)
        if not given:
            _check_size(model, vocabulary)
    if pack:
        from anydraft.hf.packing import pack_linears

        pack_linears(model.eval())
    if getattr(model.config, "is_encoder_decoder", False):
        from anydraft.hf.encoder_decoder import HfEncoderDecoder

        return HfEncoderDecoder(model, vocabulary, tokenizer, row_costs)
    return HfModel(model, vocabulary, tokenizer, together, row_costs, static)


def _can_pack(model: Any) -> bool:
    """Whether oneDNN has packed products for it that are known to pay."""
    capable = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
    here = model.device.type == "cpu" and model.dtype == torch.float32
    mkldnn: Any = torch.backends.mkldnn
    return capable and here and bool(mkldnn.is_available())


def _read(
    name: str | Path, tokenizer: Any, vocabulary: Any, dtype: Any, device: Any
) -> tuple[Path | None, Any, Any]:
    """(the folder, None for a hub name; the model; its tokenizer)."""
    from transformers import AutoConfig

    folder = _folder(name)
    source = str(name if folder is None else folder)
    device = torch.device(_best_device() if device in (None, "auto") else device)
    if dtype is None:
        dtype = torch.float32 if device.type == "cpu" else "auto"
    config = _from_pretrained(AutoConfig.from_pretrained, "a model", source, folder)
    model = _with_weights(_model_class(config), source, folder, dtype)
    if tokenizer is None:
        try:
            _, tokenizer = _tokenizer(name)
        except (OSError, ValueError):
            if vocabulary is None:
                raise
    return folder, model.to(device), tokenizer


def _origin(model: Any) -> tuple[Path | None, Any]:
    """(folder, tokenizer) of the place that a built model's weights were read from."""
    name = str(getattr(model, "name_or_path", ""))
    if name in ("", "None"):
        return None, None
    try:
        with _reading:
            return _tokenizer(name)
    except (FileNotFoundError, InputError) as error:
        raise InputError(
            f"[hf.load] expected tokenizer= or vocabulary= with this model, found none: {error}"
        ) from error


def _check_size(model: Any, vocabulary: Any) -> None:
    """Of some families transformers makes up a tokenizer of one token where a folder has none."""
    size = getattr(model.config.get_text_config(), "vocab_size", 0)
    if vocabulary.size < size // 2:
        raise InputError(
            f"[hf.load] expected a tokenizer of the model's {size} tokens, got one of "
            f"{vocabulary.size}: give tokenizer= or vocabulary="
        )


def _tokenizer(name: str | Path) -> tuple[Path | None, Any]:
    """(the folder, None for a hub name; its tokenizer)."""
    from transformers import AutoTokenizer

    folder = _folder(name)
    source = str(name if folder is None else folder)
    read = AutoTokenizer.from_pretrained
    return folder, _from_pretrained(read, "a tokenizer", source, folder)


def _model_class(config: Any) -> Any:
    """The class of transformers that gives logits for a configuration."""
    import transformers

    if not getattr(config, "is_encoder_decoder", False):
        return transformers.AutoModelForCausalLM
    text: Any = transformers.models.auto.modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING
    if type(config) in text:
        return transformers.AutoModelForSeq2SeqLM
    return transformers.AutoModelForSpeechSeq2Seq


def _with_weights(kind: Any, source: str, folder: Path | None, dtype: Any) -> Any:
    """The model, with all its weights from the file.

    Raises:
        InputError: some are missing, and would be random.
    """
    read = kind.from_pretrained
    model, loaded = _from_pretrained(
        read, "a model", source, folder, dtype=dtype, output_loading_info=True
    )
    if missing := sorted(loaded["missing_keys"]):
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise InputError(
            f"[hf.load] expected all weights of {type(model).__name__} in {source!r}, got none for "
            f"{', '.join(missing[:3])}{more}: is it a classifier, or a model without a head?"
        )
    return model


def _best_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _folder(name: str | Path) -> Path | None:
    """The local folder that is meant, None if it can only be a name on the hub."""
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise FileNotFoundError(f"[hf.load] expected config.json in {path}, got none")
        return path
    # The hub's names are "name" or "owner/name"; everything else was meant as a path.
    if isinstance(name, Path) or path.is_absolute() or name[0:1] in ".~" or name.count("/") > 1:
        raise FileNotFoundError(f"[hf.load] expected a model folder, got {path}: no such folder")
    return None


def _from_pretrained(
    read: Callable[..., Any], what: str, source: str, folder: Path | None, **options: Any
) -> Any:
    """read(source), with an error that says where it was looked for."""
    try:
        return read(source, local_files_only=folder is not None, **options)
    except (OSError, ValueError) as error:
        place = "that folder" if folder else f"a folder under {Path.cwd()}, or a name on the hub"
        message = f"[hf.load] expected {what}, got {source!r} (looked for {place}): {error}"
        # A bad configuration is the caller's mistake; everything else was not found.
        kind = InputError if isinstance(error, ValueError) else FileNotFoundError
        raise kind(message) from error


def _vocabulary(folder: Path | None, tokenizer: Any) -> Any:
    """The anydraft.Vocabulary of the folder's tokenizer.json, or of a tokenizer object."""
    file = None if folder is None else folder / "tokenizer.json"
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    local = file is not None and file.is_file()
    if not local and backend is None:
        raise InputError("[hf.load] expected a vocabulary or a fast tokenizer, got neither")
    from anydraft import Vocabulary

    if local:
        return Vocabulary.from_file(str(file), fallback=True)
    return Vocabulary.from_json(backend.to_str(), fallback=True)
