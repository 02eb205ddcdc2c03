"""Lossless speculative decoding for any pair of language models."""

from anydraft._core import Feed, __version__, set_threads, threads
from anydraft.async_session import AsyncSession
from anydraft.bridges import Slrs
from anydraft.drafter import Draft, Drafter
from anydraft.drafts import Proposal, Trees, TreeShape, draw_children
from anydraft.errors import (
    CudaError,
    CudaUnavailableError,
    Error,
    InputError,
    NonFiniteLogitsError,
    UnsupportedTokenizerError,
    VocabularyError,
)
from anydraft.model import Model
from anydraft.penalties import LogitsProcessor
from anydraft.request import Event, Generation, GenerationStats, RequestHandle, TokenLogprobs
from anydraft.sampling import SamplingParams
from anydraft.session import SpeculativeSession
from anydraft.stateless import stateless
from anydraft.text import Text
from anydraft.verification import (
    VerifyResult,
    logits_of,
    probs,
    sample,
    verifiers,
    verify,
    verify_chain,
)
from anydraft.vocabulary import Vocabulary, VocabularyMap

__all__ = [
    "AsyncSession",
    "CudaError",
    "CudaUnavailableError",
    "Draft",
    "Drafter",
    "Error",
    "Event",
    "Feed",
    "Generation",
    "GenerationStats",
    "InputError",
    "LogitsProcessor",
    "Model",
    "NonFiniteLogitsError",
    "Proposal",
    "RequestHandle",
    "SamplingParams",
    "Slrs",
    "SpeculativeSession",
    "Text",
    "TokenLogprobs",
    "TreeShape",
    "Trees",
    "UnsupportedTokenizerError",
    "VerifyResult",
    "Vocabulary",
    "VocabularyError",
    "VocabularyMap",
    "__version__",
    "draw_children",
    "logits_of",
    "probs",
    "sample",
    "set_threads",
    "stateless",
    "threads",
    "verifiers",
    "verify",
    "verify_chain",
]
