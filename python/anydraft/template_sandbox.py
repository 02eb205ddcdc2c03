"""A Jinja environment for chat templates, which are untrusted code out of a model's files.

Jinja's immutable sandbox keeps a template from Python's insides. What it does not bound is bounded
here: turns of loops, the size of every text a template builds, its output and its nesting.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

MOST_TURNS = 2_000_000  # of all loops of one rendering
LONGEST_TEXT = 32_000_000  # characters, of any text on the way
# Filters whose arguments are widths.
_WIDE = {"batch", "center", "format", "indent", "replace", "slice", "truncate", "wordwrap"}
_BUILDERS = ("center", "ljust", "rjust", "zfill", "expandtabs")  # whose arguments are widths


class _Generation(Extension):
    """`{% generation %}`: marks what the model wrote, for training; here its text is its body."""

    tags = {"generation"}  # noqa: RUF012  (Jinja's way)

    def parse(self, parser: Any) -> Any:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


class _SafeNamespace(Namespace):
    """Without names that begin with an underscore."""

    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise SecurityError(f"a namespace has no attribute {name!r}")
        super().__setitem__(name, value)


def _namespace(*args: Any, **values: Any) -> Namespace:
    made = _SafeNamespace()
    for name, value in dict(*args, **values).items():
        made[name] = value
    return made


def _bounded(node: nodes.Node) -> nodes.Node:
    """The tree with every loop counted and every joined text measured."""
    for name, value in node.iter_fields():
        if isinstance(value, nodes.Node):
            setattr(node, name, _bounded(value))
        elif isinstance(value, list):
            setattr(node, name, [_bounded(v) if isinstance(v, nodes.Node) else v for v in value])
    if isinstance(node, nodes.For):
        node.iter = _filter(node.iter, "_counted")
    if isinstance(node, nodes.Concat):
        return _filter(nodes.List(node.nodes, lineno=node.lineno), "_joined")
    return node


def _filter(node: Any, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


class Sandbox(ImmutableSandboxedEnvironment):
    """As transformers sets its own up: the same helpers, the same white space."""

    intercepted_binops = frozenset(("*", "**", "+", "%"))

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_Generation, loopcontrols],
            finalize=_weighed,
        )
        self._turns = 0
        self.filters |= {
            "tojson": _to_json,
            "_counted": self._counted,
            "_joined": _joined,
            "join": _join,
        }
        for name, plain in self.filters.items():
            self.filters[name] = _measured(plain, name)
        del self.globals["lipsum"]
        self.globals |= {
            "raise_exception": _raise,
            "strftime_now": lambda form: datetime.now().strftime(form),
            "namespace": _namespace,
        }

    def render(self, template: jinja2.Template, **values: Any) -> str:
        """The template's text, within bounds."""
        self._turns = 0
        parts, size = [], 0
        for part in template.generate(**values):
            size += len(part)
            _check(size)
            parts.append(part)
        return "".join(parts)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = _bounded(super()._parse(source, name, filename))
        assert isinstance(tree, nodes.Template)
        return tree

    def _counted(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self._turns += 1
            if self._turns > MOST_TURNS:
                raise SecurityError(f"more than {MOST_TURNS} turns of loops")
            yield item

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "*":
            for text, count in ((left, right), (right, left)):
                if isinstance(text, Sequence) and isinstance(count, int):
                    _check(len(text) * count)
        elif operator == "+" and isinstance(left, Sequence) and isinstance(right, Sequence):
            _check(len(left) + len(right))
        elif operator == "**" or (operator == "*" and _is_large(left) and _is_large(right)):
            if _is_large(left) or _is_large(right) or abs(right) > 64:
                raise SecurityError("numbers that are too large")
        elif operator == "%" and isinstance(left, str):
            _check_format(left)
            return _weighed(super().call_binop(context, operator, left, _weighed(right)))
        return super().call_binop(context, operator, left, right)

    def wrap_str_format(self, value: Any) -> Any:
        text = getattr(value, "__self__", None)
        if isinstance(text, str) and getattr(value, "__name__", "") in ("format", "format_map"):
            _check_format(text)
        plain = super().wrap_str_format(value)
        if plain is None:
            return None

        def checked(*args: Any, **kwargs: Any) -> Any:
            return _weighed(plain(*_weighed(args), **_weighed(kwargs)))

        return checked

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        if isinstance(owner, str):
            if name == "join" and args:
                args = (list(args[0]), *args[1:])
            _check_method(owner, name, args, kwargs)
        return super().call(__context, __obj, *args, **kwargs)


def _check(size: int) -> None:
    if size > LONGEST_TEXT:
        raise SecurityError(f"a text of more than {LONGEST_TEXT} characters")


def _size_of(value: Any, known: dict[int, int] | None = None) -> int:
    """About how many characters `str` of a value has. What a list holds many times is counted once
    and taken as often: lists of lists that are the same double with every level."""
    if isinstance(value, str | bytes):
        return len(value)
    parts: Iterable[Any]
    if isinstance(value, Mapping):
        parts = (*value.keys(), *value.values())
    elif isinstance(value, Namespace):
        parts = value._Namespace__attrs.values()
    elif isinstance(value, list | tuple | set | frozenset):
        parts = value
    else:
        return 1
    known = {} if known is None else known
    if id(value) not in known:
        known[id(value)] = 2 + sum(2 + _size_of(part, known) for part in parts)
    return known[id(value)]


def _weighed(value: Any) -> Any:
    """A value whose text is not too long."""
    _check(_size_of(value))
    return value


def _is_large(number: Any) -> bool:
    return isinstance(number, int) and abs(number) > 1 << 64


def _check_format(text: str) -> None:
    """Widths in a format are as long as the text they make."""
    digits = "".join(c if c.isdigit() else " " for c in text).split()
    if any(len(run) > 5 for run in digits) or "*" in text:
        raise SecurityError("a format that is too wide")


def _check_method(text: str, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    given = [*args, *kwargs.values()]
    if name == "replace" and len(given) > 1:
        _check((len(text) + 1) * max(_size_of(given[1]), 1))
    elif name == "join" and given and isinstance(given[0], Sequence):
        _check(sum(_size_of(part) + len(text) for part in given[0]))
    elif name in _BUILDERS:
        _check(len(text) * max(1, *(v for v in given if isinstance(v, int)), 0))


def _measured(plain: Callable[..., Any], name: str) -> Callable[..., Any]:
    """A filter whose arguments and result are measured."""

    def checked(*args: Any, **kwargs: Any) -> Any:
        sizes = [_size_of(a) for a in args]
        _check(max([*sizes, *map(_size_of, kwargs.values())], default=0))
        if name in _WIDE:
            _check(max((a for a in (*args, *kwargs.values()) if isinstance(a, int)), default=0))
        if name == "replace":
            _check((max(sizes) + 1) * max(max(sizes[2:], default=0), 1))
        elif name == "format":
            _check_format("".join(a for a in args if isinstance(a, str)))
        made = plain(*args, **kwargs)
        return _weighed(made) if isinstance(made, str) else made

    for mark in ("jinja_pass_arg",):  # how Jinja knows who wants its environment
        if hasattr(plain, mark):
            setattr(checked, mark, getattr(plain, mark))
    return checked


def _joined(parts: Sequence[Any]) -> str:
    texts = [str(part) for part in _weighed(list(parts))]
    _check(sum(map(len, texts)))
    return "".join(texts)


def _join(value: Iterable[Any], d: str = "", attribute: Any = None) -> str:
    parts = list(value)
    if attribute is not None:
        parts = [_member(part, attribute) for part in parts]
    texts = [str(part) for part in parts]
    _check(sum(map(len, texts)) + len(str(d)) * len(texts))
    return str(d).join(texts)


def _member(part: Any, attribute: Any) -> Any:
    for name in str(attribute).split("."):
        part = part[name] if isinstance(part, Mapping) else jinja2.Undefined(name=name)
    return part


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON without HTML's escapes, which Jinja's own filter has."""
    if isinstance(indent, int):
        _check(indent * 1000)
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)
