"""The hooks of vLLM that the plug-in stands on, checked against the vLLM that is installed."""

from __future__ import annotations

import ast
import importlib
import inspect
import logging
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from anydraft.errors import Error

TESTED = ("0.32.0",)
_log = logging.getLogger("anydraft")

# Where a hook is -> its parameters, in order. A class: its fields or those of __init__.
PROPOSER_HOOKS = {
    "vllm.v1.spec_decode.custom_class_proposer.create_custom_proposer": ["vllm_config"],
    "vllm.v1.worker.gpu_model_runner.GPUModelRunner.take_draft_token_ids": ["self"],
}
SAMPLER_HOOKS = {
    "vllm.v1.worker.gpu_model_runner.GPUModelRunner._sample": [
        "self",
        "logits",
        "spec_decode_metadata",
    ],
    "vllm.v1.sample.sampler.Sampler.forward": [
        "self",
        "logits",
        "sampling_metadata",
        "predict_bonus_token",
        "logprobs_mode_override",
    ],
    "vllm.v1.sample.sampler.Sampler.__init__": ["self", "logprobs_mode", "use_fp64_gumbel"],
    "vllm.v1.sample.sampler.Sampler.compute_logprobs": ["logits"],
    "vllm.v1.sample.sampler.Sampler.gather_logprobs": ["logprobs", "num_logprobs", "token_ids"],
    "vllm.v1.sample.sampler.Sampler.gather_specific_token_logprobs": [
        "self",
        "logprobs",
        "logprob_token_ids",
        "sampled",
    ],
    "vllm.v1.sample.rejection_sampler.RejectionSampler.__init__": [
        "self",
        "sampler",
        "spec_config",
        "device",
    ],
    "vllm.v1.sample.rejection_sampler.RejectionSampler.forward": [
        "self",
        "metadata",
        "draft_probs",
        "logits",
        "sampling_metadata",
    ],
    "vllm.v1.sample.rejection_sampler.RejectionSampler.parse_output": [
        "output_token_ids",
        "vocab_size",
        "discard_req_indices",
        "logprobs_tensors",
    ],
    "vllm.v1.sample.ops.penalties.apply_all_penalties": [
        "logits",
        "prompt_token_ids",
        "presence_penalties",
        "frequency_penalties",
        "repetition_penalties",
        "output_token_ids",
    ],
    "vllm.v1.sample.ops.bad_words.apply_bad_words": [
        "logits",
        "bad_words_token_ids",
        "past_tokens_ids",
    ],
    "vllm.v1.sample.ops.topk_topp_sampler.apply_top_k_top_p": ["logits", "k", "p"],
    "vllm.v1.sample.logits_processor.builtin.MinTokensLogitsProcessor.apply_with_spec_decode": [
        "self",
        "logits",
        "num_draft_tokens",
    ],
    "vllm.v1.sample.metadata.SamplingMetadata": [
        "temperature",
        "all_greedy",
        "all_random",
        "top_p",
        "top_k",
        "generators",
        "max_num_logprobs",
        "no_penalties",
        "prompt_token_ids",
        "frequency_penalties",
        "presence_penalties",
        "repetition_penalties",
        "output_token_ids",
        "allowed_token_ids_mask",
        "bad_words_token_ids",
        "logitsprocs",
        "logprob_token_ids",
        "spec_token_ids",
        "thinking_budget_state_holder",
    ],
    "vllm.v1.spec_decode.metadata.SpecDecodeMetadata": [
        "draft_token_ids",
        "num_draft_tokens",
        "cu_num_draft_tokens",
        "cu_num_sampled_tokens",
        "target_logits_indices",
        "bonus_logits_indices",
        "logits_indices",
    ],
}
# What vLLM 0.33.0 has instead; its wheel was read, it was not run.
OTHERS = {
    "vllm.v1.sample.ops.topk_topp_sampler.apply_top_k_top_p": [
        "logits",
        "k",
        "p",
        "has_topp_only_rows",  # optional
    ],
}
# How the runner calls `propose` of a custom class.
PROPOSE_CALL = (3, ["slot_mappings"])
_RUNNER = "vllm.v1.worker.gpu_model_runner.GPUModelRunner.propose_draft_token_ids"
_STOCK_SAMPLER = "vllm.v1.sample.rejection_sampler"


class UnsupportedVllmError(Error, RuntimeError):
    """The vLLM that is installed has other hooks than those that were tested."""


def check(hooks: Mapping[str, Sequence[str]] = PROPOSER_HOOKS) -> None:
    """Raises:
    UnsupportedVllmError: no vLLM, or one whose hooks differ; each is named.
    """
    try:
        version = str(importlib.import_module("vllm").__version__)
    except ImportError as error:
        raise UnsupportedVllmError(
            f"[anydraft.vllm] expected vLLM, got none: pip install 'anydraft[vllm]' ({error})"
        ) from error
    wrong = [text for name, wanted in hooks.items() if (text := _difference(name, wanted))]
    if called := _call_difference():
        wrong.append(called)
    if wrong:
        raise UnsupportedVllmError(
            f"[anydraft.vllm] expected the hooks of vLLM {', '.join(TESTED)}, got vLLM {version} "
            f"with {'; '.join(wrong)}"
        )
    if version.split("+")[0] not in TESTED:
        _log.warning(
            "vLLM %s has not been tested (%s has); its hooks are known", version, TESTED[-1]
        )


def check_stock_sampler() -> None:
    """vLLM's CPU build 0.32.0 does not spread temperatures over drafted tokens: what it draws there
    has another distribution. Greedy requests are not touched by it.

    Raises:
        UnsupportedVllmError: the vLLM that is installed does so.
    """
    spread = _wrong_spread()
    if spread is not None:
        raise UnsupportedVllmError(
            "[anydraft.vllm] expected a sampler of vLLM that is exact behind drafts, got this CPU "
            f"build, which takes {spread} for temperatures [0.5, 0.5, 2.0]: use "
            "worker_cls anydraft.vllm.cpu_worker.CpuWorker, or the option greedy_only where all "
            "requests are greedy"
        )


def guard_greedy_only(is_serving: Callable[[], bool]) -> None:
    """Where `check_stock_sampler` would refuse, another function takes the place of the one that is
    wrong. vLLM calls it for steps with requests that draw alone: such a request, against what
    greedy_only says, has its own temperature, and is told of once.

    Args:
        is_serving: vLLM warms up with requests that draw; nothing is told of those.
    """
    if _wrong_spread() is None:
        return
    told = list[bool]()

    def spread(
        values: Any, ends: Any, num_tokens: int, replace_from: int = 0, replace_to: int = 0
    ) -> Any:
        if is_serving() and not told:
            told.append(True)
            _log.error(
                "a request draws although the option greedy_only says that none does: a function "
                "in place of vLLM's keeps its distribution; use a worker_cls of anydraft instead"
            )
        values = values.where(values != replace_from, replace_to)
        counts = ends.diff(prepend=ends.new_zeros(1))
        return values.repeat_interleave(counts, output_size=num_tokens)

    sampler: Any = importlib.import_module(_STOCK_SAMPLER)
    sampler.expand_batch_to_tokens = spread


def _wrong_spread() -> list[float] | None:
    """What vLLM's sampler takes for the temperatures 0.5, 0.5, 2; None: those."""
    platforms = importlib.import_module("vllm.platforms")
    if not platforms.current_platform.is_cpu():
        return None
    import torch

    sampler = importlib.import_module(_STOCK_SAMPLER)
    ends = torch.tensor([2, 3], dtype=torch.int32)
    spread = sampler.expand_batch_to_tokens(torch.tensor([0.5, 2.0]), ends, 3).tolist()
    return None if spread == [0.5, 0.5, 2.0] else list(spread)


def parameters(hook: Any) -> list[str]:
    """Names of a hook's parameters, or of a dataclass's fields."""
    fields = getattr(hook, "__dataclass_fields__", None)
    return list(fields) if fields is not None else list(inspect.signature(hook).parameters)


def propose_call(source: str) -> tuple[int, list[str]] | None:
    """(positional arguments, keywords) of the call of `propose` for custom classes in the source
    of a function; None: there is none."""
    for branch in ast.walk(ast.parse(textwrap.dedent(source))):
        if not isinstance(branch, ast.If) or "custom_class" not in ast.unparse(branch.test):
            continue
        for statement in branch.body:
            for call in ast.walk(statement):
                if isinstance(call, ast.Call) and ast.unparse(call.func).endswith(".propose"):
                    return len(call.args), [word.arg or "**" for word in call.keywords]
    return None


def _difference(name: str, wanted: Sequence[str]) -> str | None:
    try:
        hook = _find(name)
    except (ImportError, AttributeError):
        return f"no {name}"
    found = parameters(hook)
    if found in (list(wanted), OTHERS.get(name)):
        return None
    return f"{name}({', '.join(found)}) instead of ({', '.join(wanted)})"


def _call_difference() -> str | None:
    try:
        found = propose_call(inspect.getsource(_find(_RUNNER)))
    except (ImportError, AttributeError):
        return f"no {_RUNNER}"
    return None if found == PROPOSE_CALL else f"a call of propose with {found} in {_RUNNER}"


def _find(name: str) -> Any:
    """A thing by its full name: of a module, or of a class of one."""
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            found = getattr(found, part)
        return found
    raise ImportError(name)
