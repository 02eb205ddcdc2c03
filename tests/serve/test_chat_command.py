"""`anydraft chat`: what is asked and said, through the terminal's own input and output."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from anydraft import Event, SpeculativeSession, VocabularyError, cli
from anydraft.cli import chat as command
from anydraft.cli.terminal import TextStream, for_stdout
from tests.serve.tiny import Tiny


def test_a_chat(monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path) -> None:
    made: list[SpeculativeSession] = []

    def session(args: Any, sampling: Any) -> SpeculativeSession:
        made.append(SpeculativeSession(Tiny(), "lookup", sampling=sampling))
        return made[0]

    report = tmp_path / "out.html"
    lines = [
        "SAY(one)YAS",
        "",
        "/stats",
        "/new",
        "SAY(two)YAS",
        f"/report {report}",
        "/help",
        "/quit",
    ]
    monkeypatch.setattr(command, "make_session", session)
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join([*lines, "SAY(never)YAS"])))
    assert cli.main(["chat", "--target", "tiny", "--system", "brief", "--temperature", "0"]) == 0
    told = capsys.readouterr()
    assert told.out == "one\ntwo\n"
    assert "4 tokens" in told.err and "/quit" in told.err
    assert made[0].last is not None
    prompt = made[0].target.vocabulary.decode(made[0].last.prompt)
    assert prompt == b"system\nbriefuser\nSAY(two)YASassistant\n"  # /new forgot the first turn
    assert "anydraft report" in report.read_text()


class Refusing(Tiny):
    """Its template is transformers' own, which says no in its own words."""

    def chat(self, messages: Any, **arguments: Any) -> list[int]:
        said = messages[-1]["content"]
        if said.startswith("no"):
            raise VocabularyError(f"refused: {said}") if said == "no" else ValueError(said)
        return super().chat(messages, **arguments)


def test_a_turn_that_is_refused_ends_no_chat(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path
) -> None:
    lines = ["no", "not this", "SAY(one)YAS", f"/report {tmp_path / 'nowhere' / 'out.html'}"]
    session = SpeculativeSession(Refusing(), "lookup")
    monkeypatch.setattr(command, "make_session", lambda args, sampling: session)
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join([*lines, "SAY(two)YAS"])))
    assert cli.main(["chat", "--target", "tiny"]) == 0
    told = capsys.readouterr()
    assert [line for line in told.out.splitlines() if line] == ["one", "two"]
    assert "refused: no" in told.err and "not this" in told.err and "nowhere" in told.err
    assert session.last is not None
    assert b"not this" not in session.target.vocabulary.decode(session.last.prompt)


@pytest.mark.parametrize("colour", [False, True])
def test_a_terminal_does_not_obey_the_model(monkeypatch: pytest.MonkeyPatch, colour: bool) -> None:
    """Escape sequences write to the clipboard, among other things. A file has the text as it is."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    said = "a\x1b]52;c;ZXZpbA==\x07\x9b2J\x7f\r\tb\n"
    for stream, kept in ((Terminal(), False), (io.StringIO(), True)):
        monkeypatch.setattr("sys.stdout", stream)
        TextStream(colour=colour and not kept).write(Event(said, (1,), "bonus"))
        shown = stream.getvalue().removeprefix("\x1b[36m").removesuffix("\x1b[0m")
        assert (shown == said) == kept
        assert kept or not {*shown} & {"\x1b", "\x07", "\x9b", "\x7f", "\r"}
        assert "\tb\n" in shown
        assert (for_stdout(said) == said) == kept  # of texts that come whole, from `generate`
