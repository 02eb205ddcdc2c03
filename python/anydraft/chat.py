"""Chat templates of a model's files, without transformers.

>>> template = ChatTemplate("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}")
>>> template.render([{"role": "user", "content": "Hi"}])
'<user>Hi'
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anydraft.errors import InputError
from anydraft.gguf_metadata import GGUF_MAGIC, read_metadata
from anydraft.vocabulary import Vocabulary

Json = dict[str, Any]
_ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
_REASONING = ("reasoning_content", "thinking", "reasoning")  # names of the same thing
# Arguments of transformers' apply_chat_template that are not the template's: a caller who gives one
# means something by it, so none is taken for a variable of the template.
TOKENISING = (
    "chat_template", "tokenize", "sanitize_control_tokens", "padding", "truncation", "max_length",
    "return_tensors", "return_dict", "return_assistant_tokens_mask", "tokenizer_kwargs",
)  # fmt: skip
_TAG = "<anydraft continues here> "  # its space shows whether the template trims


class ChatTemplate:
    """A chat template: messages in, the prompt's text out.

    A template is a program out of the model's files. It runs in Jinja's sandbox with bounds on its
    loops and texts; it sees plain JSON alone.

    Attributes:
        sources: templates by name; the one in use is "default", or "tool_use" where tools are
            given and there is one.
        specials: texts of special tokens by the names templates use (bos_token, …).
    """

    def __init__(
        self, source: str | Mapping[str, str], specials: Mapping[str, str] | None = None
    ) -> None:
        self.sources = {"default": source} if isinstance(source, str) else dict(source)
        self.specials = dict(specials or {})
        self._compiled: dict[str, tuple[Any, Any]] = {}

    @classmethod
    def from_file(cls, path: str | Path) -> ChatTemplate | None:
        """The template of a model's folder, its tokenizer_config.json, or a GGUF file.

        In a folder, chat_template.jinja and additional_chat_templates/*.jinja come before what
        tokenizer_config.json says. None: there is no template.

        Raises:
            FileNotFoundError: no such file.
            VocabularyError: a GGUF file that is damaged.
            InputError: a configuration that is none.
        """
        path = Path(path)
        if path.is_dir():
            return _of_folder(cls, path)
        with path.open("rb") as file:
            if file.read(len(GGUF_MAGIC)) == GGUF_MAGIC:
                return _of_gguf(cls, read_metadata(path))
        config = _config(path)
        sources = _named(config.get("chat_template"), path)
        return cls(sources, _specials(config)) if sources else None

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        **arguments: Any,
    ) -> str:
        """The text of a chat.

        Args:
            messages: each with a role and content; keys that are None are left out.
            tools: JSON schemas of functions that the model may call.
            add_generation_prompt: end where the assistant's answer begins.
            continue_final_message: end within the last message, which the model goes on with.
            arguments: whatever else the template asks for (enable_thinking, …).

        Raises:
            ImportError: no jinja2 (pip install 'anydraft[chat]').
            InputError: messages or a template that cannot be rendered; the message says why.
        """
        if not messages:
            raise InputError("[ChatTemplate.render] expected messages, got none")
        if add_generation_prompt and continue_final_message:
            raise InputError(
                "[ChatTemplate.render] expected add_generation_prompt or continue_final_message, "
                "got both"
            )
        chat = [_message(message) for message in messages]
        last = _mark_end(chat[-1]) if continue_final_message else ""
        values = {
            **self.specials,
            **plain(arguments),
            "messages": chat,
            "tools": None if tools is None else plain(list(tools)),
            "documents": None if documents is None else plain(list(documents)),
            "add_generation_prompt": add_generation_prompt,
        }
        text = self._render(self._name(tools), values)
        return _cut_at_mark(text, last) if continue_final_message else text

    def ids(
        self, vocabulary: Vocabulary, messages: Sequence[Mapping[str, Any]], **options: Any
    ) -> list[int]:
        """The ids of `render`, its special tokens recognised and none added."""
        return vocabulary.encode_as_owner(self.render(messages, **options), specials=True)

    def _name(self, tools: Any) -> str:
        name = "tool_use" if tools is not None and "tool_use" in self.sources else "default"
        if name not in self.sources:
            raise InputError(
                "[ChatTemplate.render] expected a template called default, got "
                f"{', '.join(sorted(self.sources))}"
            )
        return name

    def _render(self, name: str, values: Json) -> str:
        try:
            import jinja2

            from anydraft.template_sandbox import Sandbox
        except ImportError as error:
            raise ImportError(
                f"chat templates need Jinja: pip install 'anydraft[chat]' ({error})"
            ) from error
        try:
            if name not in self._compiled:
                sandbox = Sandbox()
                self._compiled[name] = sandbox, sandbox.from_string(self.sources[name])
            sandbox, template = self._compiled[name]
            return str(sandbox.render(template, **values))
        except jinja2.TemplateError as error:
            raise InputError(
                f"[ChatTemplate.render] expected messages that the template takes, got: {error}"
            ) from error
        except (
            ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError,
            ValueError,
        ) as error:  # fmt: skip
            raise InputError(
                f"[ChatTemplate.render] expected a template that runs, got {error!r}"
            ) from error


def plain(value: Any) -> Any:
    """The same as plain JSON types, so that a template gets at nothing else.

    Raises:
        InputError: a value that JSON has none for.
    """
    if value is None or type(value) in (str, int, float, bool):
        return value
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    raise InputError(
        f"[ChatTemplate.render] expected JSON's kinds of values, got {type(value).__name__}"
    )


def _message(message: Any) -> Json:
    if not isinstance(message, Mapping):
        raise InputError(f"[ChatTemplate.render] expected messages, got {type(message).__name__}")
    made: Json = plain({key: value for key, value in message.items() if value is not None})
    reasoning = next((made[key] for key in _REASONING if key in made), None)
    if reasoning is not None:
        made = {"thinking": reasoning, **made, "reasoning_content": reasoning}
    return made


def _mark_end(message: Json) -> str:
    """Puts the mark behind the message's text, which is returned."""
    content = message.get("content")
    if isinstance(content, list):
        for part in reversed(content):
            if isinstance(part, dict) and isinstance(part.get("text"), str):
                text: str = part["text"]
                part["text"] = text + _TAG
                return text
    elif isinstance(content, str):
        message["content"] = content + _TAG
        return content
    raise InputError(
        "[ChatTemplate.render] expected a last message with text to continue, got none"
    )


def _cut_at_mark(rendered: str, last: str) -> str:
    at = rendered.rfind(_TAG.strip())
    if at < 0 or last.strip() not in rendered:
        raise InputError(
            "[ChatTemplate.render] expected a template that shows the last message as it is, got "
            "one that changes it: it cannot be continued"
        )
    text = rendered[:at]
    return text if rendered[at:].startswith(_TAG) else text.rstrip()


# ---- Files ---------------------------------------------------------------------------------------
def _config(path: Path) -> Json:
    try:
        config = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"[ChatTemplate] expected JSON in {path.name}, got {error}") from error
    if not isinstance(config, dict):
        raise InputError(f"[ChatTemplate] expected an object in {path.name}, got none")
    return config


def _named(template: Any, path: Path) -> dict[str, str]:
    """Templates by name: one text, or a list of them with names."""
    if template is None:
        return {}
    if isinstance(template, str):
        return {"default": template}
    try:
        return {str(entry["name"]): str(entry["template"]) for entry in template}
    except (LookupError, TypeError) as error:
        raise InputError(
            f"[ChatTemplate] expected a template or a list of named ones in {path.name}, got "
            f"{type(template).__name__}"
        ) from error


def _specials(config: Json) -> dict[str, str]:
    texts = {}
    for role in _ROLES:
        entry = config.get(f"{role}_token")
        text = entry.get("content") if isinstance(entry, dict) else entry
        if isinstance(text, str):
            texts[f"{role}_token"] = text
    return texts


def _of_folder(cls: type[ChatTemplate], folder: Path) -> ChatTemplate | None:
    file = folder / "tokenizer_config.json"
    config = _config(file) if file.is_file() else {}
    sources = {}
    if (single := folder / "chat_template.jinja").is_file():
        sources["default"] = single.read_text("utf-8")
    for extra in sorted((folder / "additional_chat_templates").glob("*.jinja")):
        sources[extra.stem] = extra.read_text("utf-8")
    sources = sources or _named(config.get("chat_template"), file)
    return cls(sources, _specials(config)) if sources else None


def _of_gguf(cls: type[ChatTemplate], metadata: Json) -> ChatTemplate | None:
    prefix = "tokenizer.chat_template"
    sources = {
        key.removeprefix(prefix).lstrip(".") or "default": value
        for key, value in metadata.items()
        if isinstance(value, str) and (key == prefix or key.startswith(prefix + "."))
    }
    tokens = metadata.get("tokenizer.ggml.tokens", [])
    names = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}
    specials = {}
    for role, name in names.items():
        token = metadata.get(f"tokenizer.ggml.{name}_token_id")
        if isinstance(token, int) and 0 <= token < len(tokens):
            specials[f"{role}_token"] = tokens[token]
    return cls(sources, specials) if sources else None
