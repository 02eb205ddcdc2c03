"""Lossless speculative decoding for any pair of language models."""

from anydraft._core import Feed, SamplingParams, __version__, set_threads, threads
from anydraft.drafts import Proposal, Trees, TreeShape, draw_children
from anydraft.errors import (
    CudaUnavailableError,
    Error,
    InputError,
    NonFiniteLogitsError,
    UnsupportedTokenizerError,
    VocabularyError,
)
from anydraft.penalties import LogitsProcessor, Penalties
from anydraft.run import Event, Generation, GenerationStats, Run
from anydraft.session import Model, SpeculativeSession
from anydraft.stateless import stateless
from anydraft.verification import VerifyResult, logits_of, probs, sample, verifiers, verify
from anydraft.vocabulary import Vocabulary, VocabularyMap

__all__ = [
    "CudaUnavailableError",
    "Error",
    "Event",
    "Feed",
    "Generation",
    "GenerationStats",
    "InputError",
    "LogitsProcessor",
    "Model",
    "NonFiniteLogitsError",
    "Penalties",
    "Proposal",
    "Run",
    "SamplingParams",
    "SpeculativeSession",
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
]
