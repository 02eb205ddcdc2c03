"""The native engine. Tensors are any object with `__dlpack__`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from numpy import float32
from numpy.typing import NDArray

__version__: str
testing: Any  # what tests and benches ask of the engine beyond its interface

class SamplingParams:
    """Temperature, top-k, top-p, min-p, applied in this order; ties at a boundary are kept.

    temperature 0 is greedy (ties to the lowest id); top_k 0, top_p 1 and min_p 0 are off.
    Immutable; equal where all fields are; may be pickled.

    Raises:
        InputError: a value out of its range; a seed outside [0, 2^64).
    """

    def __init__(
        self,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        seed: int | None = None,
    ) -> None: ...
    @property
    def temperature(self) -> float: ...
    @property
    def top_k(self) -> int: ...
    @property
    def top_p(self) -> float: ...
    @property
    def min_p(self) -> float: ...
    @property
    def seed(self) -> int | None: ...
    @property
    def greedy(self) -> bool: ...

def write_probs(logits: Any, params: SamplingParams, out: Any) -> None: ...
def sample_rows(
    logits: Any, params: SamplingParams, uniforms: Sequence[float], stream: int = 0
) -> list[int]: ...
def set_threads(count: int) -> None:
    """Let one call of the engine use `count` threads, the calling one among them.

    0: one for each CPU that this process may run on (the default). Only calls over several rows
    or requests use more than one; results do not depend on the count. The threads sleep when idle.

    Raises:
        InputError: a negative count.

    >>> import anydraft
    >>> anydraft.set_threads(2)
    """

def threads() -> int:
    """How many threads one call may use.

    >>> import anydraft
    >>> anydraft.threads() >= 1
    True
    """

def uniform(
    seed: int,
    request: int = 0,
    position: int = 0,
    node: int = 0,
    purpose: int = 0,
    attempt: int = 0,
) -> float: ...
def verify(
    tokens: Sequence[int],
    parents: Sequence[int],
    offsets: Sequence[int],
    paths: Sequence[int] | None,
    target_logits: Any,
    proposal_kinds: Sequence[int],
    proposal_rows: Sequence[int],
    sparse: tuple[Sequence[int], Sequence[int], Sequence[float]] | None,
    draft_logits: Any,
    sampling: Sequence[SamplingParams],
    draft_sampling: Sequence[SamplingParams],
    verifier: str,
    seeds: Sequence[int],
    requests: Sequence[int] | None,
    positions: Sequence[int] | None,
    accept: Sequence[float] | None,
    pick: Sequence[float] | None,
    select: Sequence[float] | None,
    report_status: bool,
    acceptance: bool,
    stream: int,
    /,
) -> tuple[list[int], list[int], list[int], list[str], list[int], list[float]]: ...
def verifiers() -> list[tuple[str, str, str, str, str, str]]: ...
def draw_children(
    kind: int,
    logits: Any,
    params: SamplingParams,
    width: int,
    request: int,
    position: int,
    node: int,
    /,
) -> list[int]: ...
def cuda_built() -> bool: ...
def distribution_params(params: SamplingParams) -> list[int]: ...
def distribution_params_bytes() -> int: ...
def row_distribution_bytes() -> int: ...
def pack_map(map: VocabularyMapTable, target_vocab: int, draft_vocab: int, /) -> list[int]: ...
def pack_token_trie(
    token_trie: DraftTokenTrie, draft_size: int, target_vocab: int, draft_vocab: int, /
) -> list[int]: ...
def projected_rows(
    logits: Any, map: VocabularyMapTable, width: int, params: SamplingParams, /
) -> Any:
    """float32 [rows, width] logits over target ids, as `bridge="tli"` draws from them; on the CPU.

    Raises:
        NonFiniteLogitsError: NaN or +inf.
    """

def psi_rows(logits: Any, token_trie: DraftTokenTrie, width: int, params: SamplingParams, /) -> Any:
    """As `projected_rows`, of `bridge="slrs"` where a drafter token begins: filters are in it."""

class CudaVerification:
    """Addresses are those of device memory; 0: not given. See `anydraft.cuda`."""

    def __init__(
        self,
        tokens: int,
        parents: int,
        offsets: int,
        paths: int,
        requests: int,
        target_logits: Any,
        draft_logits: Any,
        kinds: int,
        rows: int,
        sampling: int,
        draft_sampling: int,
        verifier: str,
        seed: int,
        uniforms: Sequence[int],
        drafts: Sequence[int],
        splits: int,
        lazy: bool,
        kept: Sequence[int],
        said: Sequence[int],
    ) -> None: ...
    @property
    def workspace(self) -> int: ...
    def run(self, workspace: int, stream: int) -> None: ...

class CudaSampling:
    """As `CudaVerification`."""

    def __init__(
        self,
        logits: Any,
        sampling: int,
        seed: int,
        uniforms: Sequence[int],
        nodes: int,
        purpose: int,
        splits: int,
        map: Sequence[int],
        vocab: int,
        out: Sequence[int],
    ) -> None: ...
    @property
    def workspace(self) -> int: ...
    def run(self, workspace: int, stream: int) -> None: ...

def complete_utf8(data: bytes, /) -> int: ...

class VocabularyTable:
    def __init__(
        self,
        tokens: Sequence[bytes],
        specials: Mapping[str, int],
        roles: Mapping[str, Sequence[int]],
        prefix: Sequence[int],
        byte_fallbacks: Sequence[int],
        encoder: Callable[[str], list[int]],
        /,
    ) -> None: ...
    @staticmethod
    def build(description: dict[str, Any], /) -> VocabularyTable: ...
    @property
    def size(self) -> int: ...
    @property
    def native(self) -> bool: ...
    @property
    def exact(self) -> bool: ...
    @property
    def specials(self) -> dict[str, int]: ...
    @property
    def prefix(self) -> list[int]: ...
    def token_bytes(self, token: int, /) -> bytes | None: ...
    def encode(self, data: bytes, /) -> list[int]: ...
    def encode_as_owner(self, text: bytes, specials: bool, /) -> list[int]: ...
    def decode(self, ids: Sequence[int], /) -> bytes: ...
    def decode_as_owner(self, ids: Sequence[int], skip_specials: bool, /) -> str: ...
    def role(self, name: str, /) -> list[int]: ...
    def is_special(self, token: int, /) -> bool: ...

def read_vocabulary(path: str, /) -> VocabularyTable: ...
def write_vocabulary(vocabulary: VocabularyTable, path: str, /) -> None: ...

class Retokenizer:
    """Text in, piece by piece; the tokens of all of it out, as if it had come at once."""

    def __init__(self, vocabulary: VocabularyTable) -> None: ...
    def feed(self, data: bytes, /) -> None: ...
    def feed_special(self, token: int, /) -> None: ...
    def clear(self) -> None: ...
    @property
    def ids(self) -> list[int]: ...
    @property
    def ends(self) -> list[int]: ...
    @property
    def stable(self) -> int: ...

class VocabularyMapTable:
    def __init__(self, draft: VocabularyTable, target: VocabularyTable) -> None: ...
    @property
    def shared(self) -> int: ...
    @property
    def to_target(self) -> list[int]: ...
    @property
    def to_draft(self) -> list[int]: ...

class DraftTokenTrie:
    """What each drafter token spells in the target's tokens."""

    def __init__(
        self, draft: VocabularyTable, target: VocabularyTable, map: VocabularyMapTable
    ) -> None: ...
    @property
    def size(self) -> int: ...
    def of(self, token: int, /) -> list[int]: ...

class RandomSource: ...

class Feed:
    """What one call feeds to one request of a model.

    Cut the request's cache to the slots `keep` (ascending; they move up to 0, 1, ...), then append
    `tokens` at `positions` of the text. Each follows its parent in `parents` (index in this feed,
    -1: the last slot kept) and sees it and all that it sees: siblings of a tree do not see each
    other. Logits are wanted for the last `rows` tokens. `request` names the cache: the request's
    id, for the drafter the id + 1.

    >>> import torch
    >>> from anydraft import SpeculativeSession, Vocabulary
    >>> seen = []
    >>> def model(feeds):
    ...     seen.extend((feed.tokens, list(feed.keep), feed.rows) for feed in feeds)
    ...     return torch.zeros(sum(feed.rows for feed in feeds), 2)
    >>> model.vocabulary = Vocabulary.from_bytes(
    ...     [b"a", b"b"], encoder=lambda text: [ord(c) - 97 for c in text]
    ... )
    >>> _ = SpeculativeSession(model).generate("ab", max_tokens=1)
    >>> seen
    [([0, 1], [], 1)]
    """

    @property
    def request(self) -> int: ...
    @property
    def tokens(self) -> list[int]: ...
    @property
    def positions(self) -> list[int]: ...
    @property
    def parents(self) -> list[int]: ...
    @property
    def keep(self) -> Sequence[int]: ...
    @property
    def rows(self) -> int: ...

class Stats:
    @property
    def target_calls(self) -> int: ...
    @property
    def draft_calls(self) -> int: ...
    @property
    def drafted(self) -> int: ...
    @property
    def accepted(self) -> int: ...
    @property
    def distributions(self) -> int: ...
    @property
    def stopped(self) -> float: ...
    @property
    def bridges(self) -> dict[str, dict[str, float]]: ...

class TreeShape:
    def __init__(
        self, widths: Sequence[int] = (), *, max_nodes: int = 0, depth: int = 0, beam: int = 0
    ) -> None: ...

class StopRule:
    def __init__(self, *, tokens: int = 1, rows: int = 32, terms: int = 64) -> None: ...

class DrafterOptions:
    def __init__(
        self,
        *,
        bridge: str = "none",
        draft_length: int = 4,
        draft_cost: float = 0.15,
        row_costs: list[float] = ...,
        auto_length: bool = False,
        tree: TreeShape = ...,
        stop_rule: StopRule = ...,
        scheme: int = 1,
        verifier: str | None = None,
        draft_confidence: float = 0.0,
        draft_context: int = 0,
        random_source: RandomSource | None = None,
    ) -> None: ...

class LogitChanges:
    """What changes the target's logits before temperature and filters."""

    def __init__(
        self,
        *,
        logit_bias: Sequence[tuple[int, float]] = (),
        repetition_penalty: float = 1.0,
        frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0,
        bad_words: Sequence[Sequence[int]] = (),
        min_tokens: int = 0,
        allowed: Sequence[int] | None = None,
    ) -> None: ...
    @property
    def any(self) -> bool: ...

class Work:
    """What to run next: on the "drafter", the "target", or nothing ("idle")."""

    @property
    def model(self) -> str: ...
    @property
    def feeds(self) -> list[Feed]: ...

class TokenLogprobs:
    @property
    def logprob(self) -> float: ...
    @property
    def top(self) -> list[tuple[int, float]]: ...

class Engine:
    """The decode loop without I/O: `next()` says what to feed to whom, `feed` takes logits."""

    def __init__(
        self,
        target: VocabularyTable,
        drafter: VocabularyTable | None,
        options: DrafterOptions,
        *,
        target_context: int = 0,
        map: VocabularyMapTable | None = None,
        token_trie: DraftTokenTrie | None = None,
    ) -> None: ...
    def add(
        self,
        prompt: Sequence[int],
        *,
        sampling: SamplingParams,
        draft_sampling: SamplingParams | None = None,
        max_tokens: int = 256,
        stop: Sequence[int] = (),
        random_stream: int = 0,
        changes: LogitChanges = ...,
        logprobs: int = -1,
    ) -> int: ...
    def cancel(self, id: int, /) -> None: ...
    def forget(self, id: int, /) -> None: ...
    def check(self, id: int, /) -> None: ...
    def resume(self, id: int, /) -> None: ...
    def next(self, ids: Sequence[int] | None = None) -> Work: ...
    def failed(self, work: Work, /) -> None: ...
    def drop(self, work: Work, id: int, /) -> None: ...
    def feed(self, work: Work, logits: Any, stream: int = ...) -> None: ...
    def emitted(self, id: int, from_index: int = 0) -> list[tuple[int, Any]]: ...
    def logprobs(self, id: int, from_index: int = 0) -> list[TokenLogprobs]: ...
    def finish(self, id: int, /) -> str | None: ...
    def stats(self, id: int, /) -> Stats: ...

class Drafter:
    """Drafts for many requests, without I/O and without a target."""

    def __init__(
        self, target: VocabularyTable, drafter: VocabularyTable | None, options: DrafterOptions
    ) -> None: ...
    def add(
        self,
        id: int,
        *,
        sampling: SamplingParams,
        draft_sampling: SamplingParams | None = None,
        stop: Sequence[int] = (),
        random_stream: int = 0,
    ) -> None: ...
    def has(self, id: int, /) -> bool: ...
    def forget(self, id: int, /) -> None: ...
    def propose(self, id: int, context: Sequence[int], remaining: int, /) -> None: ...
    def next(self) -> list[Feed]: ...
    def feed(self, feeds: Sequence[Feed], logits: Any, /) -> None: ...
    def failed(self, feeds: Sequence[Feed], /) -> None: ...
    def verify(
        self,
        ids: Sequence[int],
        lengths: Sequence[int],
        target_logits: Any,
        sampling: Sequence[SamplingParams],
        verifier: str,
        requests: Sequence[int],
        positions: Sequence[int],
        /,
    ) -> tuple[list[int], list[int], list[int], list[str], list[int]]: ...
    def check(self, id: int, /) -> None: ...
    def retry(self, id: int, /) -> None: ...
    def draft(self, id: int, width: int, /) -> tuple[Any, ...]: ...

class Decoder:
    """A transformer decoder on a CPU; `anydraft.native` wraps it."""

    def __init__(self, path: str, weights: str | None, cache: str) -> None: ...
    def forward(self, feeds: Sequence[Any]) -> NDArray[float32]: ...
    def forget(self, request: int) -> None: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def context_length(self) -> int: ...
    @property
    def stop_tokens(self) -> list[int]: ...
    @property
    def architecture(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def step_bytes(self) -> int: ...
    @property
    def cache_bytes_per_token(self) -> int: ...
    @property
    def cached_requests(self) -> int: ...

def gguf_metadata(path: str) -> dict[str, Any]:
    """The metadata of a GGUF file; texts as bytes, numbers of arrays as floats."""
