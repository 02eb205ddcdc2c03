"""A function for `"drafter": "text:expecting:rest"`: a file's texts, all but each tenth word."""

import functools
import json
import os
from pathlib import Path


@functools.cache
def _texts():
    return json.loads(Path(os.environ["EXPECTED_TEXTS"]).read_text())


def rest(so_far):
    for text in _texts():
        if text.startswith(so_far):
            words = text[len(so_far) :].split(" ")
            return " ".join(w if i % 10 != 9 else "something" for i, w in enumerate(words))
    return None
