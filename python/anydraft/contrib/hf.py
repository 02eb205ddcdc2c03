"""transformers models as the models of a session: `load`, then hand it to SpeculativeSession.

torch and transformers are imported when they are first needed, not with this module.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    import torch

    from anydraft.contrib.lean import LeanDecoder
    from anydraft.contrib.slots import Part, Slots

_reading = threading.Lock()  # transformers' from_pretrained is not for several threads

# What a cache of full-length layers can serve; a recurrent state cannot be cut back.
_LAYER_TYPES = {"full_attention", "sliding_attention", "chunked_attention"}


class Feed(Protocol):
    """What one call feeds to one request; the core's class of that name, seen from here."""

    @property
    def request(self) -> int:
        """The request's id."""

    @property
    def tokens(self) -> Sequence[int]:
        """Token ids [new]."""

    @property
    def positions(self) -> Sequence[int]:
        """The position of each token in its own path [new]."""

    @property
    def parents(self) -> Sequence[int]:
        """The index in this feed of each token's parent [new]; -1: the last slot kept;
        -2 - s: slot s of those kept."""

    @property
    def keep(self) -> Sequence[int] | None:
        """The cache slots to retain before feeding, increasing, each with its parent; None: all.
        They become slots 0, 1, 2 ..."""

    @property
    def rows(self) -> int:
        """Logits are wanted for the last `rows` tokens."""


class HfModel:
    """A transformers causal model as a callable f(feeds) -> logits, with a cache for each request.

    Chains and trees alike: parents and positions say what each token sees. The lean pass takes the
    feeds of all requests together, transformers' own takes them in turn. Not for concurrent calls:
    the caches are shared by all of them.

    Attributes:
        drafts_only: whether weights are rounded (pack="int4"), so that a session refuses it as a
            target.
    """

    def __init__(
        self, model: Any, vocabulary: Any, tokenizer: Any = None, lean: LeanDecoder | None = None
    ) -> None:
        """model: a transformers causal model, which must not be changed while this uses it.
        lean: a forward pass of the same model to take in place of its own."""
        from anydraft.contrib.coarse import CoarseLinear
        from anydraft.contrib.stock import StockDecoder

        text_config = model.config.get_text_config(decoder=True)
        _check_croppable(model, text_config)
        self.model = model.eval()
        self.vocabulary = vocabulary
        self.tokenizer = tokenizer
        self.lean = lean
        self.drafts_only = any(isinstance(layer, CoarseLinear) for layer in model.modules())
        limit = getattr(text_config, "max_position_embeddings", None)
        self.context_length: int | None = limit
        self._embeddings = int(model.get_input_embeddings().weight.shape[0])
        self._decoder: Any = lean or StockDecoder(model)
        self._requests: dict[int, tuple[Slots, Any]] = {}

    @property
    def device(self) -> torch.device:
        """Where the model lies, and the logits with it."""
        return cast("torch.device", self.model.device)

    def __call__(self, feeds: Sequence[Feed]) -> torch.Tensor:
        """Feeds of distinct requests -> float32 logits [sum of feed.rows, vocab], in feed order."""
        import torch

        for feed in feeds:
            _check_feed(feed, self._embeddings)
        if len({feed.request for feed in feeds}) != len(feeds):
            raise ValueError("[HfModel] expected one feed a request, got several of one")
        with torch.inference_mode():
            rows = [self._forward(group) for group in _groups(feeds, self._decoder.together)]
            if not rows:
                width = self.model.config.get_text_config(decoder=True).vocab_size
                return torch.empty(0, width, device=self.device)
            return rows[0] if len(rows) == 1 else torch.cat(rows)

    @property
    def stop_tokens(self) -> list[int]:
        """Ids that end a text by the model's generation_config.json."""
        eos = getattr(getattr(self.model, "generation_config", None), "eos_token_id", None)
        return [eos] if isinstance(eos, int) else list(eos or ())

    def forget(self, request: int) -> None:
        """Drops the cache of a request; one that is not known is no error."""
        self._requests.pop(request, None)

    def chat(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """The ids of chat messages under the model's template, up to where the answer begins."""
        if self.tokenizer is None or not self.tokenizer.chat_template:
            raise ValueError(
                "[HfModel.chat] expected a tokenizer with a chat template, got none: give text"
            )
        # The template's text is tokenised with its specials recognised, and none added to them.
        ids = self.tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=False,
        )
        return [int(token) for token in ids]

    def _forward(self, feeds: Sequence[Feed]) -> torch.Tensor:
        """One pass of the decoder -> [sum of feed.rows, vocab]."""
        parts = [self._part(feed) for feed in feeds]
        rows: torch.Tensor = self._decoder(parts)
        for part in parts:
            part.slots.add(part.positions, part.parents)
        return rows

    def _part(self, feed: Feed) -> Part:
        """Cuts the request's cache to what the feed keeps."""
        from anydraft.contrib.slots import Part, Slots

        slots, cache = self._requests.get(feed.request) or (Slots(), self._decoder.new_cache())
        _check_parents(feed, slots)
        cache.keep(*slots.keep(feed.keep))
        self._requests[feed.request] = slots, cache
        return Part(feed.tokens, feed.positions, feed.parents, feed.rows, slots, cache)


def _groups(feeds: Sequence[Feed], together: int) -> list[list[Feed]]:
    """Feeds to run in one pass: those of several requests with `together` tokens at most."""
    groups, remaining = list[list[Feed]](), 0
    for feed in feeds:
        new = len(feed.tokens)
        if new <= remaining:
            groups[-1].append(feed)
            remaining -= new
        else:
            groups.append([feed])
            remaining = together - new
    return groups


def load(
    name_or_model: str | Path | Any,
    *,
    tokenizer: Any = None,
    pack: bool | str | None = None,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    vocabulary: Any = None,
) -> HfModel:
    """A model from a folder, from the hub, or already built, ready for a session.

    tokenizer: read from the same place unless given. dtype: float32 on a CPU, otherwise the file's.
    pack: packs the linear layers (CPU and float32 only; in place when the model is given built);
    families that are known get a leaner forward pass than transformers' own. Not packed, a call on
    several tokens costs a CPU twice one on one token, and speculation gains nothing there. None:
    where it can be done to a model that is read here. "int4": packs them with weights of 4 bits,
    for drafters: it is another model then, which a session refuses as its target.
    vocabulary: an anydraft.Vocabulary; made from the tokenizer unless given, and enough by itself
    where no chat template is wanted.
    """
    if pack not in (None, False, True, "int4"):
        raise ValueError(f'[hf.load] expected pack to be None, False, True or "int4", got {pack!r}')
    folder: Path | None = None
    model: Any = name_or_model
    if isinstance(name_or_model, str | Path):
        with _reading:
            folder, model, tokenizer = _read(name_or_model, tokenizer, vocabulary, dtype, device)
        pack = _can_pack(model) if pack is None else pack
    else:
        model = model if device is None else model.to(device)
        model = model if dtype is None else model.to(dtype)
    if vocabulary is None:
        vocabulary = _vocabulary(folder, tokenizer)
    lean = None
    if pack:
        from anydraft.contrib.lean import lean_decoder
        from anydraft.contrib.packing import pack_linears

        lean = lean_decoder(pack_linears(model.eval(), coarse=pack == "int4"))
    return HfModel(model, vocabulary, tokenizer, lean)


def _can_pack(model: Any) -> bool:
    """Whether oneDNN has packed products for it that are known to pay."""
    import torch

    capable = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
    here = model.device.type == "cpu" and model.dtype == torch.float32
    mkldnn: Any = torch.backends.mkldnn
    return capable and here and bool(mkldnn.is_available())


def _read(
    name: str | Path, tokenizer: Any, vocabulary: Any, dtype: Any, device: Any
) -> tuple[Path | None, Any, Any]:
    """(the folder, None for a hub name; the model; its tokenizer)."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = _folder(name)
    source = str(name if folder is None else folder)
    device = torch.device("cpu" if device is None else device)
    if dtype is None:
        dtype = torch.float32 if device.type == "cpu" else "auto"
    read = AutoModelForCausalLM.from_pretrained
    model = _from_pretrained(read, "a model", source, folder, dtype=dtype)
    if tokenizer is None:
        try:
            tokenizer = _from_pretrained(
                AutoTokenizer.from_pretrained, "a tokenizer", source, folder
            )
        except (OSError, ValueError):
            if vocabulary is None:
                raise
    return folder, model.to(device), tokenizer


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
        # A bad configuration is the caller's ValueError; everything else was not found.
        kind = ValueError if isinstance(error, ValueError) else FileNotFoundError
        raise kind(message) from error


def _vocabulary(folder: Path | None, tokenizer: Any) -> Any:
    """The anydraft.Vocabulary of the folder's tokenizer.json, or of a tokenizer object."""
    file = None if folder is None else folder / "tokenizer.json"
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    local = file is not None and file.is_file()
    if not local and backend is None:
        raise ValueError("[hf.load] expected a vocabulary or a fast tokenizer, got neither")
    from anydraft import Vocabulary

    if local:
        return Vocabulary.from_file(str(file))
    return Vocabulary.from_json(backend.to_str())


def _check_croppable(model: Any, text_config: Any) -> None:
    kinds = set(getattr(text_config, "layer_types", None) or ()) - _LAYER_TYPES
    if kinds or getattr(model, "_is_stateful", False):
        raise NotImplementedError(
            f"[HfModel] expected attention layers, got {sorted(kinds) or 'a recurrent state'}: "
            "what such a layer has taken in cannot be taken back when a draft is rejected"
        )


def _check_feed(feed: Feed, embeddings: int) -> None:
    new = len(feed.tokens)
    if (most := max(feed.tokens, default=0)) >= embeddings:
        raise ValueError(f"[HfModel] expected token ids < {embeddings} (embeddings), got {most}")
    counts = {new, len(feed.positions), len(feed.parents)}
    if not 0 <= feed.rows <= new or new == 0 or len(counts) > 1:
        raise ValueError(
            f"[HfModel] expected tokens, a position and parent for each and at most as many rows, "
            f"got {new} tokens, {len(feed.positions)} positions, {len(feed.parents)} parents, "
            f"{feed.rows} rows"
        )


def _check_parents(feed: Feed, slots: Slots) -> None:
    held = len(slots if feed.keep is None else feed.keep)
    for i, parent in enumerate(feed.parents):
        if not -2 - held < parent < i:
            raise ValueError(
                f"[HfModel] expected parents before their children, among {held} slots or this "
                f"feed, got parent {parent} of token {i} (request {feed.request})"
            )
