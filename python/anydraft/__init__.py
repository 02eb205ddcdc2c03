"""Lossless speculative decoding for any pair of language models."""

from anydraft._core import SamplingParams, __version__
from anydraft.errors import (
    CudaUnavailableError,
    Error,
    InputError,
    NonFiniteLogitsError,
    UnsupportedTokenizerError,
    VocabularyError,
)
from anydraft.verification import Law, Trees, VerifyResult, probs, sample, verifiers, verify

__all__ = [
    "CudaUnavailableError",
    "Error",
    "InputError",
    "Law",
    "NonFiniteLogitsError",
    "SamplingParams",
    "Trees",
    "UnsupportedTokenizerError",
    "VerifyResult",
    "VocabularyError",
    "__version__",
    "probs",
    "sample",
    "verifiers",
    "verify",
]
