"""`llmtui chat`: lines in, answers out, and the conversation kept for the next time."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.runs.directory import Run
from core.runs.transcript import Transcripts
from core.storage.workspace import Workspace
from llmtui.cli.main import run as command_line
from tests.byte_models import TEMPLATES, run_with_checkpoints, save
from tests.cli_runs import LLMTUI, ROOT
from tests.waiting import PATIENCE, wait_for

ECHO = """
import sys
from core.sample.protocol import TextEnded, Finished, Loaded, Refused, TextDelta, decode_request, encode
for line in sys.stdin.buffer:
    asked = decode_request(line)
    said = (
        Loaded(id=asked.id, checkpoint="", step=1, prompt_tokens=90, dropped_tokens=26 * ("long" in asked.prompt),
               precision="float32" if asked.precision == "auto" else asked.precision),
        TextDelta(id=asked.id, text="  "),
        TextDelta(id=asked.id, text=f"<{asked.prompt}|{asked.sampling.seed}|{','.join(asked.sampling.stop)}>"),
        *([Refused(id=asked.id, what="enough")] if "break" in asked.prompt else []),
        TextEnded(id=asked.id, reason="length", tokens=2),
        Finished(id=asked.id, tokens=2, seconds=0.5),
    )
    for reply in (Refused(id=asked.id, what="no"),) if "refuse" in asked.prompt else said:
        sys.stdout.buffer.write(encode(reply) + b"\\n")
    sys.stdout.buffer.flush()
"""

Talk = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def talk(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Talk:
    """Run `llmtui chat` with an inference process that echoes its prompts; exit code, replies, standard error."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(
        "llmtui.clients.inference_client.python_command", lambda module: [sys.executable, "-P", "-c", ECHO]
    )

    def talk(lines: str, *arguments: str) -> tuple[int, list[str], str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
        code = command_line(["chat", *arguments])
        told = capsys.readouterr()
        return code, told.out.splitlines(), told.err

    return talk


def roles(run: Run, step: int) -> str:
    return " ".join(said.role[0] for said in Transcripts(run.path).conversation(f"step-{step:08d}"))


def test_each_line_is_a_turn_written_by_the_templates(workspace: Workspace, talk: Talk) -> None:
    run = run_with_checkpoints(workspace, 200, chat=TEMPLATES)
    code, said, _ = talk("hi\n\nthere", "--stop", "END")
    assert code == 0
    assert said[:2] == ["<User: hi", "Bot:|1|"]  # what the template says comes next stops it, and what was asked for
    assert "".join(said).endswith("<User: hiBot: <User: hiBot:|1|User:,END>User: thereBot:|1|User:,END>")
    assert roles(run, 200) == "u a u a"


def test_without_templates_the_model_goes_on_from_all_that_was_said(workspace: Workspace, talk: Talk) -> None:
    run_with_checkpoints(workspace, 200)
    assert talk("once \nupon\n")[1] == ["  <once |1|>", "  <once   <once |1|>upon|1|>"]


def test_it_goes_on_where_the_last_chat_ended_and_new_begins_another(workspace: Workspace, talk: Talk) -> None:
    run_with_checkpoints(workspace, 200)
    talk("a\n")
    _, said, about = talk("b\n/new\nc\n")
    assert said == ["  <a  <a|1|>b|1|>", "  <c|1|>"]
    assert "continuing its conversation of 2 messages; /new starts another" in about
    assert talk("d\n", "--new")[1] == ["  <d|1|>"]


def test_a_newer_checkpoint_takes_the_conversation_over_and_an_older_keeps_its_own(
    workspace: Workspace, talk: Talk
) -> None:
    run = run_with_checkpoints(workspace, 200)
    talk("a\n")
    save(run, 400)
    _, said, about = talk("b\n")
    assert said == ["  <a  <a|1|>b|1|>"]
    assert "step-00000400: it continues the conversation with step-00000200, 2 messages" in about
    assert (roles(run, 200), roles(run, 400)) == ("u a", "u a u a")
    assert talk("c\n", "--checkpoint", "200")[1] == ["  <a  <a|1|>c|1|>"]


def test_a_checkpoint_saved_meanwhile_answers_from_the_next_turn_on(
    workspace: Workspace, talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_with_checkpoints(workspace, 200)

    class Slow(io.StringIO):
        def readline(self, *_: object) -> str:
            line = super().readline()
            if line == "b\n":
                save(run, 400)
            return line

    monkeypatch.setattr(io, "StringIO", Slow)
    _, said, about = talk("a\nb\n")
    assert said == ["  <a|1|>", "  <a  <a|1|>b|1|>"]
    assert "training has saved step-00000400, which replies from now on" in about
    assert roles(run, 400) == "u a u a"


def test_settings_checkpoints_and_retries_are_lines_with_a_slash(workspace: Workspace, talk: Talk) -> None:
    run = run_with_checkpoints(workspace, 200, 400)
    lines = "a\n/retry\n/seed 7\n/retry\n/top_k 3\n/set\n/checkpoint\n/checkpoint 200\nb\n/help\n/quit\nunread\n"
    code, said, about = talk(lines)
    assert (code, said) == (0, ["  <a|1|>", "  <a|2|>", "  <a|8|>", "  <b|8|>"])
    assert "top_k = 3" in about and "checkpoints: 200, 400" in about and "/retry " in about
    assert (roles(run, 400), roles(run, 200)) == ("u a", "u a")


def test_mistakes_are_sentences_and_the_chat_goes_on(workspace: Workspace, talk: Talk) -> None:
    run_with_checkpoints(workspace, 200)
    code, said, about = talk("/retry\n/seed x\n/temprature 1\n/checkpoint 3\n/set nonsense\nrefuse\n/new\nlong\n")
    assert (code, said) == (0, ["  <long|1|>"])
    for sentence in (
        "there is no message to reply to",
        "sample.seed = 'x' is not a whole number",
        "unknown command /temprature",
        "there is no checkpoint of step 3",
        "--set needs FIELD=VALUE",
        "cannot generate text: no",
        "longer than the context: the first 26 of 90 tokens are left out",
    ):
        assert sentence in about


def test_an_answer_that_breaks_off_ends_its_line(workspace: Workspace, talk: Talk) -> None:
    run_with_checkpoints(workspace, 200)
    _, said, about = talk("break\n/new\nb\n")
    assert said == ["  <break|1|>", "  <b|1|>"]
    assert "cannot generate text: enough" in about


def test_other_numbers_than_float32_are_said_once(workspace: Workspace, talk: Talk) -> None:
    run_with_checkpoints(workspace, 200)
    assert talk("a\nb\n", "--precision", "int8")[2].count("weights in int8") == 1
    assert "weights" not in talk("a\nb\n")[2]


def test_a_damaged_checkpoint_is_passed_over_and_that_is_said_once(workspace: Workspace, talk: Talk) -> None:
    run = run_with_checkpoints(workspace, 200, 400)
    (run.checkpoints / "step-00000400" / "model.json").unlink()
    code, said, about = talk("a\nb\n/checkpoint last\nc\n")
    assert (code, len(said)) == (0, 3)
    assert about.count("skipping step-00000400") == 2  # at the start, and when the last was asked for again


def test_a_chat_has_no_prompts_to_set(workspace: Workspace, talk: Talk) -> None:
    run_with_checkpoints(workspace, 200)
    about = talk('/prompts ["a"]\n/set prompts=["a"]\n')[2]
    assert "unknown command /prompts" in about
    assert "prompts has no effect in a chat" in about


def test_ctrl_c_ends_a_chat_whose_lines_come_from_a_file(workspace: Workspace, tmp_path: Path) -> None:
    run = run_with_checkpoints(workspace, 200)
    lines = tmp_path / "lines"
    lines.write_text("a\nb\nc\n")
    with lines.open() as stdin:
        chat = subprocess.Popen(
            [*LLMTUI, "chat", "--tokens", "1000000"],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=stdin,
            stdout=subprocess.PIPE,
        )
    assert chat.stdout is not None
    with chat.stdout:
        chat.stdout.read(10)  # the answer of a model that never ends by itself
        chat.send_signal(signal.SIGINT)
        chat.stdout.read()
    assert chat.wait(PATIENCE) == 130
    assert roles(run, 200) == "u a"


def test_a_run_without_checkpoint_says_so(workspace: Workspace, talk: Talk) -> None:
    run_with_checkpoints(workspace)
    code, said, about = talk("a\n")
    assert (code, said) == (1, []) and "there is no checkpoint yet" in about


class Terminal:
    """The real program in a terminal."""

    def __init__(self, *arguments: str) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [*LLMTUI, *arguments],
            env=os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=take_terminal,
        )
        os.close(slave)
        self.seen = ""

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def until(self, text: str) -> str:
        """Read on until `text` has come; what came up to there."""
        self.read_until(lambda: text in self.seen, f"{text!r} comes")
        before, _, self.seen = self.seen.partition(text)
        return before

    def read_until(self, condition: Callable[[], bool], what: str) -> None:
        """Read on until `condition` holds."""
        wait_for(condition, what=what, work=self._read, shows=lambda: self.seen[-3000:])

    def _read(self) -> None:
        if select.select([self._master], [], [], 0.1)[0]:
            self.seen += os.read(self._master, 65536).decode(errors="replace")


def take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def terminal(workspace: Workspace) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(*arguments: str) -> Terminal:
        opened.append(Terminal(*arguments))
        return opened[-1]

    yield start
    for each in opened:
        each.process.kill()
        each.process.wait()


def test_ctrl_c_stops_the_answer_and_at_the_prompt_ends_the_chat(
    workspace: Workspace, terminal: Callable[..., Terminal]
) -> None:
    run = run_with_checkpoints(workspace, 200)
    chat = terminal("chat", "--tokens", "1000000")
    chat.until("> ")
    chat.type("hello\n")
    chat.until("hello\r\n")
    chat.read_until(lambda: len(chat.seen) >= 50, "the answer of a model that never ends by itself")
    chat.type("\x03")
    chat.until("stopped")
    chat.until("> ")
    chat.type("/set tokens=3\n")
    chat.until("> ")
    chat.type("again\n")  # the same process replies
    chat.until("again\r\n")
    assert chat.until("\r\n> ")[-3:].isalpha()
    while chat.process.poll() is None:  # Python's readline misses one that comes in the instant the prompt does
        chat.type("\x03")
        with contextlib.suppress(subprocess.TimeoutExpired):
            chat.process.wait(5)
    assert chat.process.returncode == 130
    said = Transcripts(run.path).conversation("step-00000200")
    assert [one.role[0] for one in said] == ["u", "a", "u", "a"]
    assert [one.answer_info.ended for one in said if one.answer_info] == ["", "length"]


def test_the_end_of_what_is_typed_ends_the_chat(workspace: Workspace, terminal: Callable[..., Terminal]) -> None:
    run_with_checkpoints(workspace, 200)
    chat = terminal("chat")
    chat.until("> ")
    chat.type("\x04")
    assert chat.process.wait() == 0
