"""A tiny model of bytes that says what it is told to, and a server of it in a thread."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from anydraft import SpeculativeSession, Vocabulary
from anydraft.chat import ChatTemplate
from anydraft.serve import ServerOptions, create_app
from anydraft.serve.run import make_server

SPECIALS = ("<|im_start|>", "<|im_end|>", "[TOOL_CALLS]", "[ARGS]", "<|python_tag|>")
TEMPLATE = """{%- if tools %}{{ "<tool_call>" }}{% for t in tools %}{{ t | tojson }}{% endfor %}
{%- endif %}{% for m in messages %}{{ "<|im_start|>" + m.role + "\n" + m.content }}
{%- for call in m.tool_calls or [] %}{{ call.function.arguments.city }}{% endfor %}
{{- "<|im_end|>" }}{% endfor %}
{%- if add_generation_prompt %}{{ "<|im_start|>assistant\n" }}{% endif %}"""


def vocabulary() -> Vocabulary:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([AddedToken(text, special=True) for text in SPECIALS])
    return Vocabulary.from_json(json.dumps(json.loads(inner.to_str())))


class Tiny:
    """Logits by the last bytes; behind a prompt with "SAY(…)YAS" exactly what stands there.

    What is told may have specials by name. `slow`: seconds a call.
    """

    context_length = 4096

    def __init__(self, template: str | None = TEMPLATE, slow: float = 0.0) -> None:
        self.vocabulary = vocabulary()
        self.template = ChatTemplate(template) if template else None
        self.stop_tokens = [self.vocabulary.specials["<|im_end|>"]]
        self.slow = slow
        self.texts: dict[int, list[int]] = {}
        self.cache_bytes_per_token = 64
        self._begun: dict[int, tuple[int, list[int]]] = {}  # where the text begins, what it says

    def chat(self, messages: Any, **arguments: Any) -> list[int]:
        assert self.template is not None
        arguments.setdefault("add_generation_prompt", True)
        return self.template.ids(self.vocabulary, messages, **arguments)

    def __call__(self, feeds: Any) -> Any:
        time.sleep(self.slow)
        rows = []
        for feed in feeds:
            old = self.texts.get(feed.request, [])
            text = [old[slot] for slot in feed.keep] + list(feed.tokens)
            self.texts[feed.request] = text
            start = len(text) - feed.rows + 1  # a draft may come with the prompt
            self._begun.setdefault(feed.request, (start, self._told(text[:start])))
            ends = range(len(text) - feed.rows + 1, len(text) + 1)
            rows += [self._row(feed.request, text[:end]) for end in ends]
        return np.stack(rows)

    def forget(self, request: int) -> None:
        self.texts.pop(request, None)
        self._begun.pop(request, None)

    def _told(self, prompt: list[int]) -> list[int]:
        text = self.vocabulary.decode(prompt).decode("utf-8", "replace")
        if "SAY(" not in text:
            return []
        told = text.rpartition("SAY(")[2].partition(")YAS")[0].replace("~", "")
        return [*self.vocabulary.encode_as_owner(told, specials=True), *self.stop_tokens]

    def _row(self, request: int, text: list[int]) -> Any:
        start, told = self._begun[request]
        row = np.random.default_rng([text[-1], len(text) // 7]).normal(size=self.vocabulary.size)
        row[-len(SPECIALS) :] = -20
        at = len(text) - start
        if told and at >= 0:
            row[told[min(at, len(told) - 1)]] += 100
        return row.astype(np.float32)


class Running:
    """A server in a thread; `address` says where."""

    def __init__(self, model: Tiny, drafter: Any = "lookup", **options: Any) -> None:
        self.session = SpeculativeSession(model, drafter)
        self.app = create_app(self.session, ServerOptions(name="tiny", **options))
        self.serving = self.app.state.serving
        ready = threading.Event()

        def told(address: str) -> None:
            self.address = address
            ready.set()

        self.server = make_server(self.app, port=0, ready=told)
        self._thread = threading.Thread(target=self.server.run)
        self._thread.start()
        assert ready.wait(20)
        self.port = int(self.address.rpartition(":")[2])

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()

    def left_behind(self) -> tuple[int, int, int, int, int]:
        """Requests of the engine, caches, streams, places and bytes taken."""
        admission = self.serving.admission
        model: Any = self.session.target
        return (
            len(self.session._engine),
            len(model.texts),
            self.serving.streams.active,
            admission.places - admission.free,
            admission.capacity - admission.room,
        )

    def is_clean(self, seconds: float = 10) -> bool:
        """Whether nothing is left, now or soon."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.left_behind() == (0, 0, 0, 0, 0) and not self.serving.admission.waiting:
                return True
            time.sleep(0.02)
        return False


def wait_for(condition: Any, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


CHROMIUM = next(
    (str(path) for name in ("chromium", "chromium-browser", "google-chrome")
     if (path := Path("/usr/bin") / name).exists()), None
)  # fmt: skip
