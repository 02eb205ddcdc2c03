"""What the CUDA kernels are measured against, each used where it can be imported.

A peer makes, of a case's tensors, calls without arguments that do the same work from the same
logits: the softmaxes, copies and filters that it needs are part of its time. A case of chains has
target and draft [requests * (drafts + 1), vocab], tokens [requests * (drafts + 1)] (the drafted one
at the node it leads to), drafts and params; one of draws has logits and params; one of a tree has
target [nodes, vocab], tokens and parents (lists).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

Call = Callable[[], Any]

NAMES = ("torch", "transformers", "flashinfer", "vllm")


class Torch:
    """Full rows of probabilities, all requests at once, no synchronisation."""

    def __init__(self) -> None:
        import torch

        self.torch, self.version = torch, str(torch.__version__)

    def probs(self, logits: Any, params: Any) -> Any:
        torch = self.torch
        rows = logits.float() / params.temperature
        if params.top_k:
            least = rows.topk(params.top_k, -1).values[:, -1:]
            rows = rows.masked_fill(rows < least, -torch.inf)
        if params.top_p < 1:
            ordered, index = rows.softmax(-1).sort(-1, descending=True)
            drop = ordered.cumsum(-1) - ordered > params.top_p
            rows = rows.masked_fill(torch.zeros_like(drop).scatter(-1, index, drop), -torch.inf)
        return rows.softmax(-1)

    def draw(self, case: Any) -> Call:
        return lambda: self.torch.multinomial(self.probs(case.logits, case.params), 1)

    def chain(self, case: Any) -> Call:
        torch, size, vocab = self.torch, case.drafts + 1, case.target.shape[1]
        ids = case.tokens.view(-1, size)[:, 1:, None].long()

        def call() -> Any:
            target = self.probs(case.target, case.params).view(-1, size, vocab)
            draft = self.probs(case.draft, case.params).view(-1, size, vocab)
            ratio = target[:, :-1].gather(-1, ids) / draft[:, :-1].gather(-1, ids)
            kept = (torch.rand_like(ratio) < ratio).squeeze(-1).int().cumprod(-1).sum(-1)
            index = kept[:, None, None].expand(-1, 1, vocab)
            last = target.gather(1, index).squeeze(1)
            left = (last - draft.gather(1, index).squeeze(1)).relu()
            distribution = torch.where((kept < case.drafts)[:, None], left, last)
            return torch.multinomial(distribution + 1e-30, 1), kept

        return call

    def first(self, kind: str, case: Any, output: Any) -> Any:
        """The first token of each request, of what `draw` or `chain` gave."""
        if kind == "draw":
            return output
        drawn, kept = output
        drafted = case.tokens.view(-1, case.drafts + 1)[:, 1:2]
        return self.torch.where((kept > 0).view(-1, 1), drafted.long(), drawn)


class Transformers:
    """transformers' own verification of one chain."""

    waits = True  # for the device, in each call

    def __init__(self) -> None:
        self.utils = import_module("transformers.generation.utils")
        self.utils._speculative_sampling  # noqa: B018  absent in old ones
        self.version = version("transformers")

    def chain(self, case: Any) -> Call | None:
        if len(case.tokens) != case.drafts + 1 or case.params.top_k or case.params.top_p < 1:
            return None
        ids = case.tokens[None, 1:].long()

        def call() -> Any:
            t = case.params.temperature
            draft, target = case.draft[None, :-1].float() / t, case.target[None].float() / t
            return self.utils._speculative_sampling(ids, draft, case.drafts, target)

        return call


class FlashInfer:
    """The package, or in $ANYDRAFT_PEERS its kernels as `libflashinfer_sampling.so`: a C function
    around each of four (cuda/README.md)."""

    def __init__(self) -> None:
        self.library: Any = None
        folder = os.environ.get("ANYDRAFT_PEERS")
        file = Path(folder or ".") / "libflashinfer_sampling.so"
        try:
            self.kernels = import_module("flashinfer.sampling")
            self.version = version("flashinfer-python")
        except ImportError:
            if not folder or not file.exists():
                raise
            self.library = ctypes.CDLL(str(file.resolve()))
            self.version = f"kernels of {file.with_suffix('.version').read_text().strip()}"
        self.uniforms = {"seed": 1, "offset": 0}  # a generator's state cannot be read in a graph

    def softmax(self, logits: Any, temperature: float) -> Any:
        import torch

        rows = logits.float()  # its kernels take no other type
        if not self.library:
            return self.kernels.softmax(rows, temperature=temperature)
        if not hasattr(self, "workspace"):
            self.workspace = torch.empty(16 << 20, dtype=torch.uint8, device=rows.device)
        out = torch.empty_like(rows)
        self._check(
            self.library.anydraft_softmax(
                *self._pointers(rows, out, self.workspace),
                ctypes.c_int64(self.workspace.numel()),
                *map(ctypes.c_int, rows.shape),
                ctypes.c_float(temperature),
                self._stream(),
            )
        )
        return out

    def draw(self, case: Any) -> Call:
        import torch

        params = case.params
        if not self.library and not params.top_k:
            rows = case.logits
            return lambda: self.kernels.sampling_from_logits(
                rows.float() / params.temperature, **self.uniforms
            )
        if not self.library:
            return lambda: self.kernels.top_k_top_p_sampling_from_logits(
                case.logits.float() / params.temperature,
                params.top_k,
                params.top_p,
                **self.uniforms,
            )
        out = torch.empty(case.logits.shape[0], dtype=torch.int32, device=case.logits.device)
        valid = torch.zeros(len(out), dtype=torch.bool, device=out.device)
        k = params.top_k or case.logits.shape[1]

        def call() -> Any:
            rows = self.softmax(case.logits, params.temperature)
            function = self.library.anydraft_top_k_top_p
            scalars: tuple[Any, ...] = ctypes.c_int(k), ctypes.c_float(params.top_p)
            if not params.top_k and params.top_p == 1:
                function, scalars = self.library.anydraft_sample, ()
            shape = map(ctypes.c_int, rows.shape)
            self._check(
                function(*self._pointers(rows, out, valid), *shape, *scalars, self._stream())
            )
            return out

        return call

    def chain(self, case: Any) -> Call | None:
        import torch

        if case.params.top_k or case.params.top_p < 1:
            return None  # it verifies probabilities that somebody else has filtered
        size, vocab = case.drafts + 1, case.target.shape[1]
        ids = case.tokens.view(-1, size)[:, 1:].int().contiguous()
        requests = len(ids)
        draft_rows = case.draft.view(requests, size, vocab)[:, :-1].reshape(-1, vocab)
        out = torch.empty(requests, size, dtype=torch.int32, device=ids.device)
        counts = torch.zeros(2, requests, dtype=torch.int32, device=ids.device)

        def call() -> Any:
            draft = self.softmax(draft_rows, case.params.temperature)
            target = self.softmax(case.target, case.params.temperature)
            if not self.library:
                return self.kernels.chain_speculative_sampling(
                    draft.view(requests, case.drafts, vocab),
                    ids,
                    target.view(requests, size, vocab),
                    **self.uniforms,
                )
            shape = map(ctypes.c_int, (requests, case.drafts, vocab))
            pointers = self._pointers(draft, ids, target, out, counts[0], counts[1])
            self._check(self.library.anydraft_chain(*pointers, *shape, self._stream()))
            return out

        return call

    @staticmethod
    def _pointers(*tensors: Any) -> list[Any]:
        return [ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors]

    @staticmethod
    def _stream() -> Any:
        import torch

        return ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)

    @staticmethod
    def _check(status: int) -> None:
        if status:
            raise RuntimeError(f"CUDA error {status} of FlashInfer's kernels")


class Vllm:
    """vLLM's newest Triton kernels, from logits; they do no top-k and top-p."""

    def __init__(self) -> None:
        self.gumbel = import_module("vllm.v1.worker.gpu.sample.gumbel")
        self.rejection = import_module("vllm.v1.worker.gpu.spec_decode.rejection_sampler_utils")
        try:
            self.version = version("vllm")
        except PackageNotFoundError:  # carried in part
            self.version = str(import_module("vllm").__version__)

    @staticmethod
    def _state(requests: int, size: int, params: Any) -> dict[str, Any]:
        import torch

        def ints(values: Any, dtype: Any = torch.int32) -> Any:
            return values.to(device="cuda", dtype=dtype)

        each = torch.arange(requests)
        return {
            "cu_num_logits": ints(torch.arange(requests + 1) * size),
            "pos": ints(torch.arange(size).repeat(requests) + 7, torch.int64),
            "idx_mapping": ints(each),
            "expanded_idx_mapping": ints(each.repeat_interleave(size)),
            "expanded_local_pos": ints(torch.arange(size).repeat(requests)),
            "temperature": torch.full((requests,), params.temperature, device="cuda"),
            "seed": ints(each, torch.int64),
        }

    def draw(self, case: Any) -> Call | None:
        if case.params.top_k or case.params.top_p < 1:
            return None
        state = self._state(case.logits.shape[0], 1, case.params)
        names = ("expanded_idx_mapping", "temperature", "seed", "pos")
        inputs = {name: state[name] for name in names}
        return lambda: self.gumbel.gumbel_sample(
            case.logits, **inputs, apply_temperature=True, is_drafting=False
        )

    def chain(self, case: Any) -> Call | None:
        if case.params.top_k or case.params.top_p < 1:
            return None
        size, vocab = case.drafts + 1, case.target.shape[1]
        requests = len(case.tokens) // size
        state = self._state(requests, size, case.params)
        draft = case.draft.view(requests, size, vocab)[:, :-1]
        tokens = case.tokens.long()

        def call() -> Any:
            target = case.target.float()  # it applies the temperature in place, to a copy
            self.gumbel.apply_temperature(
                target, state["expanded_idx_mapping"], state["temperature"]
            )
            return self.rejection.rejection_sample(
                target,
                draft,
                draft_sampled=tokens,
                num_speculative_steps=case.drafts,
                **state,
            )

        return call


_KINDS: dict[str, Any] = {
    "torch": Torch,
    "transformers": Transformers,
    "flashinfer": FlashInfer,
    "vllm": Vllm,
}


def load(chosen: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, str]]:
    """The peers that can be had, by name; and of all that were asked for the version, or why not.

    A package that is there and cannot be used must not end a bench on a machine lent by the minute.
    """
    peers, said = {}, {}
    for name in chosen:
        try:
            peers[name] = _KINDS[name]()
            said[name] = peers[name].version
        except Exception as error:
            said[name] = f"absent: {type(error).__name__}: {error}".splitlines()[0][:200]
    return peers, said
