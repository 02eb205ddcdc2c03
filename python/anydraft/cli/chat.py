"""`anydraft chat`: talk to a model in the terminal and see where each token came from."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from anydraft import Error, InputError, SpeculativeSession
from anydraft.cli.report import decode
from anydraft.cli.session import (
    add_sampling_options,
    add_session_options,
    make_session,
    sampling_of,
)
from anydraft.cli.terminal import harmless, legend, say, wants_colour

_HELP = """/new        forget the chat
/system X   begin a new one with this system message
/stats      what the last answer cost
/report F   write the last answer as an HTML file that shows each token's origin
/quit       or Ctrl-D"""


def add(commands: Any) -> None:
    """Add the subcommand to a parser's subparsers."""
    parser = commands.add_parser(
        "chat",
        help="talk to a model in the terminal",
        description="A chat with the target. Ctrl-C ends an answer, Ctrl-D the chat; /help says "
        "what else there is.",
    )
    option = parser.add_argument
    option("--target", required=True, metavar="MODEL", help="GGUF file, folder or name")
    option("--drafter", default="none", metavar="MODEL", help="file, folder, name, lookup, or none")
    option("--system", metavar="TEXT", help="the system message")
    add_sampling_options(option, temperature=0.7)
    option("--max-tokens", type=int, default=1024, metavar="N", help="of an answer")
    add_session_options(parser, draft_length="auto")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Ask and answer until the input ends."""
    session = make_session(args, sampling_of(args))
    try:
        target: Any = session.target
        target.chat([{"role": "user", "content": "?"}])
    except (AttributeError, Error, ValueError) as error:
        raise InputError(
            "[chat] expected a target with a chat template, an instruct model, got "
            f"{args.target}: {error}"
        ) from None
    chat = _Chat(session, args.system, args.max_tokens)
    if sys.stdin.isatty():
        import readline  # noqa: F401  (input() edits lines and has a history by it)

        say("/help says what there is; Ctrl-D ends the chat")
    if session.drafter is not None and wants_colour(sys.stdout):
        say(f"colours: {legend()}")
    while (line := _read()) is not None:
        if not line.strip():
            continue
        if line.startswith("/"):
            if not chat.command(line):
                return 0
            continue
        chat.ask(line)
    return 0


def _read() -> str | None:
    """A line of the user; None: the input has ended."""
    while True:
        try:
            return input("> " if sys.stdin.isatty() else "")
        except EOFError:
            return None
        except KeyboardInterrupt:
            say("")


class _Chat:
    def __init__(self, session: SpeculativeSession, system: str | None, max_tokens: int) -> None:
        self._session, self._max_tokens = session, max_tokens
        self._messages: list[dict[str, str]] = []
        self._new(system)

    def _new(self, system: str | None) -> None:
        self._system = system
        self._messages = [{"role": "system", "content": system}] if system else []

    def ask(self, text: str) -> None:
        """One turn; one that fails leaves the chat as it was."""
        self._messages.append({"role": "user", "content": text})
        try:
            made = decode(self._session, self._messages, self._max_tokens, shown=True)
        except (Error, ValueError) as error:  # too long for the context, or the template refuses
            self._messages.pop()
            say(harmless(str(error)))
            return
        self._messages.append({"role": "assistant", "content": made.text})
        if made.finish_reason in ("length", "context"):
            say(f"(ended: {made.finish_reason})")

    def command(self, line: str) -> bool:
        """False: the chat is over."""
        name, _, rest = line[1:].strip().partition(" ")
        if name in ("quit", "exit"):
            return False
        if name == "new":
            self._new(self._system)
        elif name == "system":
            self._new(rest.strip() or None)
        elif name == "stats" and self._session.last:
            self._stats()
        elif name == "report" and self._session.last and rest.strip():
            self._report(rest.strip())
        else:
            say(_HELP)
        return True

    def _report(self, file: str) -> None:
        try:
            self._session.report(file)
        except OSError as error:
            say(str(error))

    def _stats(self) -> None:
        assert self._session.last is not None
        stats = self._session.last.generation.stats
        say(
            f"{stats.tokens} tokens, {stats.tokens_per_second:.1f} a second, "
            f"{stats.target_calls} target calls, {stats.accepted} of {stats.drafted} drafted "
            f"tokens kept"
        )
