"""Verification and sampling that stay on the CUDA device: no host synchronisation, no allocation in
a call, so a CUDA graph can hold them.

Everything is a torch tensor on one device. Objects here own their outputs and their workspace;
build them once, fill the inputs in place, call them (or replay a graph that called them) each
round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from anydraft import _core
from anydraft.errors import InputError
from anydraft.sampling import SamplingParams
from anydraft.vocabulary import Vocabulary

# What the status of a request or row says.
STATUS = ("fine", "target_row", "draft_row", "undrawable", "malformed")


def distribution_params(params: Sequence[SamplingParams], device: Any) -> Any:
    """Parameters in the form kernels read: torch.uint8 [requests, bytes] on the device."""
    import torch

    rows = [list(_core.distribution_params(each)) for each in params]
    return torch.tensor(rows, dtype=torch.uint8).to(device)


@dataclass(frozen=True)
class Uniforms:
    """Keys of the uniforms, or the uniforms themselves; tensors on the device, None where not
    given.

    Attributes:
        seed: for all requests, where `seeds` is None.
        seeds: int64 [requests].
        requests, positions: int32 [requests]; None: 0, 1, ... and 0.
        accept, pick, select: float64 [nodes], uniforms in (0, 1); `select` for multipath. For
            sampling, `pick` [rows] alone.
    """

    seed: int = 0
    seeds: Any = None
    requests: Any = None
    positions: Any = None
    accept: Any = None
    pick: Any = None
    select: Any = None

    def pointers(self, device: Any, requests: int, nodes: int) -> list[int]:
        """Of tensors [requests] and [nodes], checked."""
        import torch

        kinds = {"seeds": torch.int64, "requests": torch.int32, "positions": torch.int32}
        every = [(name, kind, requests) for name, kind in kinds.items()]
        every += [(name, torch.float64, nodes) for name in ("accept", "pick", "select")]
        for name, _, length in every:
            if getattr(self, name) is not None:
                _expect(getattr(self, name), name, [length])
        return [_pointer(getattr(self, name), kind, device, name) for name, kind, _ in every]


class Projection:
    """A drafter's rows read by target ids on the device: no row over the target's is written.

    Build it once a pair of vocabularies and device; any number of `Sampler` and `Verification` take
    it. Their tokens, and their distributions to the bit, are those of rows over the target that
    the bridges
    write on the CPU: "tli" (token-level intersection, Timor et al. 2025, algorithm 4: the drafter's
    distribution on shared tokens, several ids of one token summed), or with `spelled` "slrs"
    (algorithm 3: the target tokens that a drafter's token spells, one after another). For the
    latter give `weighed`, the distributions of the drafter's own tokens (`Sampler.distributions`
    of the same rows, drawn without a projection, filters included), to `Sampler` or
    `Verification`, whose own parameters of the drafter are then the temperature alone. A drafter's
    token may spell several
    target tokens: `Sampler.places` says where it stands behind the one drawn, and `places` of the
    next `Sampler` (of the same logits, where nothing was fed) and of `Verification` take that.

    Args:
        draft, target: `Vocabulary`s.
        target_vocab, draft_vocab: columns of the models' logits.
        device: a CUDA device.
        spelled: as above.

    Attributes:
        packed: torch.int32 on the device, 4 bytes a target token and a few more for what is shared.

    >>> from anydraft import Vocabulary
    >>> a = Vocabulary.from_bytes([b"x", b"y"], encoder=lambda text: [])
    >>> b = Vocabulary.from_bytes([b"y", b"z", b"x"], encoder=lambda text: [])
    >>> Projection(a, b, target_vocab=3, draft_vocab=2, device="cpu").packed.tolist()
    [0, 1, -1, 0, 0]
    """

    def __init__(
        self,
        draft: Vocabulary,
        target: Vocabulary,
        *,
        target_vocab: int,
        draft_vocab: int,
        device: Any,
        spelled: bool = False,
    ) -> None:
        import torch

        table = _core.VocabularyMapTable(draft.table, target.table)
        if spelled:
            token_trie = _core.DraftTokenTrie(draft.table, target.table, table)
            packed = _core.pack_token_trie(token_trie, draft.size, target_vocab, draft_vocab)
        else:
            packed = _core.pack_map(table, target_vocab, draft_vocab)
        self.target_vocab, self.draft_vocab = target_vocab, draft_vocab
        self.packed = torch.tensor(packed, dtype=torch.int32).to(device)

    def pointers(
        self, logits: Any, vocab: int, weighed: Any, places: Any, device: Any
    ) -> list[int]:
        """Of the map, `weighed` and `places` [rows], checked against the drafter's logits."""
        import torch

        if logits is None or logits.shape[-1] != self.draft_vocab or vocab != self.target_vocab:
            raise InputError(
                f"[cuda] expected rows of {self.draft_vocab} drafter and {self.target_vocab} "
                f"target tokens with this projection, got "
                f"{None if logits is None else logits.shape[-1]} and {vocab}"
            )
        if weighed is not None:
            _expect(weighed, "weighed", [logits.shape[0], _core.row_distribution_bytes()])
        if places is not None:
            _expect(places, "places", [logits.shape[0], 3])
            if weighed is None:
                raise InputError("[cuda] expected `weighed` with places, got none")
        return [
            _pointer(self.packed, torch.int32, device, "projection"),
            _pointer(weighed, torch.uint8, device, "weighed"),
            _pointer(places, torch.int32, device, "places"),
        ]


class Verification:
    """`anydraft.verify` for one shape of batch, on the device.

    Args:
        tokens, parents: int32 [nodes]; offsets: int32 [requests + 1]; `nodes` is offsets[-1], or
            more: workspace for the largest batch a graph will see.
        target_logits: [nodes, vocab]; draft_logits: [rows, vocab], with a projection [rows,
            drafter's vocab], or None.
        kinds, rows: int32 [nodes], number of each node's kind of distribution and its row of
            draft_logits.
        sampling, draft_sampling: of `distribution_params`, a request a row.
        verifier: as for `verify`.
        paths: int32 [nodes] or None.
        draft_distributions: of `Sampler.distributions`: spares reading the draft rows to normalise
            them.
        projection, weighed, places: of a drafter with another vocabulary; places int32 [rows, 3].
        splits: blocks that play one request, 1, 2, 4 or 8; 0: by the number of requests.
        lazy: rows are read when the verifier comes to them.
        acceptance: also tell how likely each node was to be accepted: one more launch, which reads
            every inner node.

    Attributes:
        accepted: int32 [nodes]: each request's path at the front of its slice, then -1.
        counts: int32 [requests], nodes in the path.
        next_token: int64 [requests]; -1 where the request failed.
        status, where: int32 [requests], index into STATUS, and the row or node it is about.
        degenerate: uint8 [requests].
        acceptance: float64 [nodes] or None, as of `verify`.

    Raises:
        InputError: dtype, shape or device of an argument, named. What is wrong with one request,
            its status says: nothing waits for the device here.
    """

    def __init__(
        self,
        tokens: Any,
        parents: Any,
        offsets: Any,
        target_logits: Any,
        *,
        kinds: Any,
        rows: Any,
        sampling: Any,
        draft_logits: Any = None,
        draft_sampling: Any = None,
        verifier: str = "traversal",
        paths: Any = None,
        uniforms: Uniforms | None = None,
        draft_distributions: Any = None,
        projection: Projection | None = None,
        weighed: Any = None,
        places: Any = None,
        splits: int = 0,
        lazy: bool = False,
        acceptance: bool = False,
    ) -> None:
        import torch

        device, nodes = target_logits.device, target_logits.shape[0]
        requests = offsets.shape[0] - 1
        _expect(tokens, "tokens", [nodes])
        _expect(parents, "parents", [nodes])
        _expect(kinds, "kinds", [nodes])
        _expect(rows, "rows", [nodes])
        if paths is not None:
            _expect(paths, "paths", [nodes])
        if draft_logits is not None and draft_logits.device != device:
            raise InputError(
                f"[cuda] expected draft_logits on {device}, got them on {draft_logits.device}"
            )
        draft_sampling = sampling if draft_sampling is None else draft_sampling
        for name, given in (("sampling", sampling), ("draft_sampling", draft_sampling)):
            _expect(given, name, [requests, _core.distribution_params_bytes()])
        uniforms = uniforms or Uniforms()
        vocab = target_logits.shape[-1]
        mapped = _map(projection, draft_logits, vocab, weighed, places, device)
        if draft_distributions is not None and draft_logits is not None:
            _expect(
                draft_distributions,
                "draft_distributions",
                [draft_logits.shape[0], _core.row_distribution_bytes()],
            )
        int32, uint8 = torch.int32, torch.uint8
        self.accepted = torch.full((nodes,), -1, dtype=int32, device=device)
        self.counts, self.status, self.where = torch.zeros(
            (3, requests), dtype=int32, device=device
        )
        self.next_token = torch.full((requests,), -1, dtype=torch.int64, device=device)
        self.degenerate = torch.zeros(requests, dtype=uint8, device=device)
        self.acceptance = (
            torch.zeros(nodes, dtype=torch.float64, device=device) if acceptance else None
        )
        self._device = device
        self._call = _core.CudaVerification(
            _pointer(tokens, int32, device, "tokens"),
            _pointer(parents, int32, device, "parents"),
            _pointer(offsets, int32, device, "offsets"),
            _pointer(paths, int32, device, "paths"),
            requests,
            target_logits,
            draft_logits,
            _pointer(kinds, int32, device, "kinds"),
            _pointer(rows, int32, device, "rows"),
            _pointer(sampling, uint8, device, "sampling"),
            _pointer(draft_sampling, uint8, device, "draft_sampling"),
            verifier,
            uniforms.seed,
            uniforms.pointers(device, requests, nodes),
            [_pointer(draft_distributions, uint8, device, "draft_distributions"), *mapped],
            splits,
            lazy,
            [self.accepted.data_ptr(), self.counts.data_ptr(), self.next_token.data_ptr()],
            [
                self.status.data_ptr(),
                self.where.data_ptr(),
                self.degenerate.data_ptr(),
                _pointer(self.acceptance, torch.float64, device, "acceptance"),
            ],
        )
        self._room = torch.empty(self._call.workspace, dtype=uint8, device=device)
        trees = (tokens, parents, offsets, paths)
        distributions = (kinds, rows, draft_distributions, projection, weighed, places)
        self._kept = (
            trees,
            distributions,
            target_logits,
            draft_logits,
            sampling,
            draft_sampling,
            uniforms,
        )

    @property
    def workspace(self) -> int:
        """Bytes of device memory beyond inputs and outputs."""
        return int(self._call.workspace)

    def __call__(self) -> None:
        """Launches on torch's current stream; the outputs are there when the stream comes to it."""
        import torch

        with torch.cuda.device(self._device):
            stream = torch.cuda.current_stream(self._device).cuda_stream
            self._call.run(self._room.data_ptr(), stream)


class Sampler:
    """One token a row, on the device.

    Args:
        logits: [rows, vocab], with a projection [rows, drafter's vocab].
        sampling: of `distribution_params`, a row each.
        uniforms: keys or `pick` uniforms, a row each.
        nodes: int32 [rows] of the keys, or None: 0.
        purpose: of the keys, 0 (drafts) or 5 (plain decoding).
        projection, weighed: of a drafter with another vocabulary; tokens are then the target's.
        places: int32 [rows, 3] with `weighed`: where in a drafter's token each row stands.

    Attributes:
        tokens: int64 [rows]; -1 where the row is bad.
        status: int32 [rows], index into STATUS.
        distributions: uint8 [rows, bytes], the rows' distributions for
            `Verification(draft_distributions=...)`.
        drafter_ids: int32 [rows], what the drafter is fed: the token, or with a projection the
            likeliest of its own ids that stand for it. Spelled: one that ends with it, by chance as
            much as those weigh, or -1 where the drafter's token goes on (nothing is fed).
        places: int32 [rows, 3] with `weighed`, else None: where the drafter stands behind `tokens`.
    """

    def __init__(
        self,
        logits: Any,
        sampling: Any,
        uniforms: Uniforms,
        *,
        nodes: Any = None,
        purpose: int = 5,
        projection: Projection | None = None,
        weighed: Any = None,
        places: Any = None,
        splits: int = 0,
    ) -> None:
        import torch

        rows, device, uint8 = logits.shape[0], logits.device, torch.uint8
        _expect(sampling, "sampling", [rows, _core.distribution_params_bytes()])
        if nodes is not None:
            _expect(nodes, "nodes", [rows])
        self.tokens = torch.full((rows,), -1, dtype=torch.int64, device=device)
        self.status, self.drafter_ids = torch.zeros((2, rows), dtype=torch.int32, device=device)
        vocab = projection.target_vocab if projection else logits.shape[-1]
        self.distributions = torch.zeros(
            (rows, _core.row_distribution_bytes()), dtype=uint8, device=device
        )
        self.places = None
        if weighed is not None:
            self.places = torch.zeros((rows, 3), dtype=torch.int32, device=device)
        self._device = device
        self._call = _core.CudaSampling(
            logits,
            _pointer(sampling, uint8, device, "sampling"),
            uniforms.seed,
            uniforms.pointers(device, rows, rows),
            _pointer(nodes, torch.int32, device, "nodes"),
            purpose,
            splits,
            _map(projection, logits, vocab, weighed, places, device),
            vocab,
            [
                self.tokens.data_ptr(),
                self.status.data_ptr(),
                self.distributions.data_ptr(),
                self.drafter_ids.data_ptr(),
                _pointer(self.places, torch.int32, device, "places"),
            ],
        )
        self._room = torch.empty(self._call.workspace, dtype=uint8, device=device)
        self._kept = (logits, sampling, uniforms, nodes, projection, weighed, places)

    def __call__(self) -> None:
        """As `Verification.__call__`."""
        import torch

        with torch.cuda.device(self._device):
            stream = torch.cuda.current_stream(self._device).cuda_stream
            self._call.run(self._room.data_ptr(), stream)


def _map(
    projection: Projection | None, logits: Any, vocab: int, weighed: Any, places: Any, device: Any
) -> list[int]:
    if projection:
        return projection.pointers(logits, vocab, weighed, places, device)
    if weighed is not None or places is not None:
        raise InputError("[cuda] expected a projection with `weighed` and places, got none")
    return [0, 0, 0]


def _expect(tensor: Any, name: str, shape: list[int]) -> None:
    if list(tensor.shape) != shape:
        raise InputError(f"[cuda] expected {name} {shape}, got {list(tensor.shape)}")


def _pointer(tensor: Any, dtype: Any, device: Any, name: str) -> int:
    if tensor is None:
        return 0
    if tensor.device != device or tensor.dtype != dtype or not tensor.is_contiguous():
        raise InputError(
            f"[cuda] expected {name} {dtype}, contiguous, on {device}, "
            f"got {tensor.dtype} on {tensor.device}"
        )
    return int(tensor.data_ptr())
