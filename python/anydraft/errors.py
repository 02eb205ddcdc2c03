"""What anydraft raises: all inherit from `Error`, those about a value also from ValueError."""


class Error(Exception):
    """Base of everything anydraft raises on purpose."""


class InputError(Error, ValueError):
    """A wrong value or shape; the message says what was expected and what came."""


class VocabularyError(Error, ValueError):
    """Vocabularies that cannot be bridged, or a table that contradicts itself."""


class UnsupportedTokenizerError(Error, ValueError):
    """A tokeniser component that is not supported, named."""


class NonFiniteLogitsError(Error, ValueError):
    """NaN or +inf in a row of logits, or a row without any mass; the row is named."""


class CudaUnavailableError(Error, RuntimeError):
    """CUDA rows were given to a build without CUDA, or no device is present."""
