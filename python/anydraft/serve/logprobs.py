"""Log-probabilities as OpenAI tells them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anydraft.request import Event
from anydraft.vocabulary import Vocabulary

_LEAST = -9999.0  # in place of -inf, which JSON has none of


class TokenTexts:
    """Texts of single tokens; specials by their names."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._specials = {token: text for text, token in vocabulary.specials.items()}

    def special(self, token: int) -> str | None:
        return self._specials.get(token)

    def data(self, token: int) -> bytes:
        text = self._specials.get(token)
        return text.encode() if text else self._vocabulary.decode([token])

    def text(self, token: int) -> str:
        """Of a token that is no whole character: "bytes:" and its bytes."""
        data = self.data(token)
        try:
            return data.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


def for_chat(events: Sequence[Event], texts: TokenTexts) -> dict[str, Any]:
    content = []
    for event in events:
        assert event.logprobs is not None
        entry = _entry(event.tokens[0], event.logprobs.logprob, texts)
        entry["top_logprobs"] = [_entry(*one, texts) for one in event.logprobs.top.items()]
        content.append(entry)
    return {"content": content, "refusal": None}


def for_completion(events: Sequence[Event], texts: TokenTexts, offset: int) -> dict[str, Any]:
    """offset: characters of the text before these events."""
    told: dict[str, list[Any]] = {
        "tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []
    }  # fmt: skip
    for event in events:
        assert event.logprobs is not None
        top = {texts.text(token): max(by, _LEAST) for token, by in event.logprobs.top.items()}
        told["tokens"].append(texts.text(event.tokens[0]))
        told["token_logprobs"].append(max(event.logprobs.logprob, _LEAST))
        told["top_logprobs"].append(top)
        told["text_offset"].append(offset)
        offset += len(event.text)
    return told


def _entry(token: int, logprob: float, texts: TokenTexts) -> dict[str, Any]:
    return {
        "token": texts.text(token),
        "logprob": max(logprob, _LEAST),
        "bytes": list(texts.data(token)),
    }
