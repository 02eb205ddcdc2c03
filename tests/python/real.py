"""Real vocabularies and their owners for tests: skipped, loudly, where they cannot be had."""

import functools
import sys
from pathlib import Path

import pytest

from anydraft import Vocabulary

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
import owners
import vocabularies
from owners import NAMES
from packages import Unavailable

__all__ = ["NAMES", "owner_of", "path_of", "vocabulary_of"]


def _or_skip(function):
    @functools.cache
    def fetched(name):
        try:
            return function(name)
        except Unavailable as error:
            return pytest.skip(f"!!!! {name} cannot be had: {error}")

    return fetched


owner_of = _or_skip(owners.owner_of)
vocabulary_of = _or_skip(lambda name: Vocabulary.from_file(vocabularies.fetch(name)))
path_of = _or_skip(vocabularies.fetch)
