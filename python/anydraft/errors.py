"""What anydraft raises: all inherit from `Error`, those about a value also from ValueError."""


class Error(Exception):
    """Base of everything anydraft raises on purpose.

    >>> from anydraft import SamplingParams
    >>> try:
    ...     SamplingParams(top_p=2)
    ... except Error as error:
    ...     print(type(error).__name__)
    InputError
    """


class InputError(Error, ValueError):
    """A wrong value or shape; the message says what was expected and what came.

    >>> from anydraft import SamplingParams
    >>> SamplingParams(max_tokens=-1)
    Traceback (most recent call last):
    anydraft.errors.InputError: [SamplingParams] expected max_tokens >= 0, got -1
    """


class VocabularyError(Error, ValueError):
    """Vocabularies that cannot be bridged, or a table that contradicts itself.

    >>> from anydraft import Vocabulary
    >>> Vocabulary.from_json("no JSON")
    Traceback (most recent call last):
    anydraft.errors.VocabularyError: [Vocabulary] expected JSON, got Expecting value: line 1 ...
    """


class UnsupportedTokenizerError(Error, ValueError):
    """A tokeniser component that is not supported, named.

    >>> from anydraft import Vocabulary
    >>> Vocabulary.from_json('{"model": {"type": "New", "vocab": {}}}')
    Traceback (most recent call last):
    anydraft.errors.UnsupportedTokenizerError: [Vocabulary] expected ... got ...
    """


class NonFiniteLogitsError(Error, ValueError):
    """NaN or +inf in a row of logits, or a row without any mass; the row is named.

    >>> import torch
    >>> from anydraft import SamplingParams, probs
    >>> probs(torch.tensor([[0.0, float("nan")]]), SamplingParams())
    Traceback (most recent call last):
    anydraft.errors.NonFiniteLogitsError: ...
    """


class CudaUnavailableError(Error, RuntimeError):
    """CUDA rows were given to a build without CUDA, or no device is present.

    >>> issubclass(CudaUnavailableError, RuntimeError)
    True
    """


class CudaError(Error, RuntimeError):
    """The device failed: no memory, a launch that was refused, a fault of work before.

    >>> issubclass(CudaError, RuntimeError)
    True
    """
