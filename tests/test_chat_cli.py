"""`llmtui chat`: replies to lines of input, and saved conversations."""

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

pytestmark = pytest.mark.heavy

ECHO = """
import sys
from core.sample.protocol import TextEnded, Finished, Loaded, Refused, TextDelta, decode_request, encode
for line in sys.stdin.buffer:
    request = decode_request(line)
    replies = (
        Loaded(id=request.id, checkpoint="", step=1, prompt_tokens=90, dropped_tokens=26 * ("long" in request.prompt),
               precision="float32" if request.precision == "auto" else request.precision),
        TextDelta(id=request.id, text="  "),
        TextDelta(id=request.id, text=f"<{request.prompt}|{request.sampling.seed}|{','.join(request.sampling.stop)}>"),
        *([Refused(id=request.id, what="enough")] if "break" in request.prompt else []),
        TextEnded(id=request.id, reason="length", tokens=2),
        Finished(id=request.id, tokens=2, seconds=0.5),
    )
    for reply in (Refused(id=request.id, what="no"),) if "refuse" in request.prompt else replies:
        sys.stdout.buffer.write(encode(reply) + b"\\n")
    sys.stdout.buffer.flush()
"""

RunChat = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def run_chat(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunChat:
    """Run `llmtui chat` with an inference process that echoes its prompts; exit code, replies, standard error."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(
        "llmtui.clients.inference_client.python_command", lambda module: [sys.executable, "-P", "-c", ECHO]
    )

    def run_chat(lines: str, *arguments: str) -> tuple[int, list[str], str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
        code = command_line(["chat", *arguments])
        captured = capsys.readouterr()
        return code, captured.out.splitlines(), captured.err

    return run_chat


def roles(run: Run, step: int) -> str:
    return " ".join(message.role[0] for message in Transcripts(run.path).conversation(f"step-{step:08d}"))


def test_each_line_is_a_message_formatted_by_the_templates(workspace: Workspace, run_chat: RunChat) -> None:
    run = run_with_checkpoints(workspace, 200, chat=TEMPLATES)
    code, replies, _ = run_chat("hi\n\nthere", "--stop", "END")
    assert code == 0
    assert replies[:2] == ["<User: hi", "Bot:|1|"]  # stop strings: the template's and --stop
    assert "".join(replies).endswith("<User: hiBot: <User: hiBot:|1|User:,END>User: thereBot:|1|User:,END>")
    assert roles(run, 200) == "u a u a"


def test_without_templates_the_model_continues_all_messages(workspace: Workspace, run_chat: RunChat) -> None:
    run_with_checkpoints(workspace, 200)
    assert run_chat("once \nupon\n")[1] == ["  <once |1|>", "  <once   <once |1|>upon|1|>"]


def test_the_last_conversation_is_continued_and_new_starts_another(workspace: Workspace, run_chat: RunChat) -> None:
    run_with_checkpoints(workspace, 200)
    run_chat("a\n")
    _, replies, messages = run_chat("b\n/new\nc\n")
    assert replies == ["  <a  <a|1|>b|1|>", "  <c|1|>"]
    assert "continuing its conversation of 2 messages; /new starts another" in messages
    assert run_chat("d\n", "--new")[1] == ["  <d|1|>"]


def test_a_newer_checkpoint_continues_the_conversation_and_an_older_keeps_its_own(
    workspace: Workspace, run_chat: RunChat
) -> None:
    run = run_with_checkpoints(workspace, 200)
    run_chat("a\n")
    save(run, 400)
    _, replies, messages = run_chat("b\n")
    assert replies == ["  <a  <a|1|>b|1|>"]
    assert "step-00000400: it continues the conversation with step-00000200, 2 messages" in messages
    assert (roles(run, 200), roles(run, 400)) == ("u a", "u a u a")
    assert run_chat("c\n", "--checkpoint", "200")[1] == ["  <a  <a|1|>c|1|>"]


def test_a_checkpoint_saved_during_the_chat_replies_from_the_next_message(
    workspace: Workspace, run_chat: RunChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_with_checkpoints(workspace, 200)

    class Slow(io.StringIO):
        def readline(self, *_: object) -> str:
            line = super().readline()
            if line == "b\n":
                save(run, 400)
            return line

    monkeypatch.setattr(io, "StringIO", Slow)
    _, replies, messages = run_chat("a\nb\n")
    assert replies == ["  <a|1|>", "  <a  <a|1|>b|1|>"]
    assert "training has saved step-00000400, which replies from now on" in messages
    assert roles(run, 400) == "u a u a"


def test_slash_commands_set_settings_checkpoints_and_retry(workspace: Workspace, run_chat: RunChat) -> None:
    run = run_with_checkpoints(workspace, 200, 400)
    lines = "a\n/retry\n/seed 7\n/retry\n/top_k 3\n/set\n/checkpoint\n/checkpoint 200\nb\n/help\n/quit\nunread\n"
    code, replies, messages = run_chat(lines)
    assert (code, replies) == (0, ["  <a|1|>", "  <a|2|>", "  <a|8|>", "  <b|8|>"])
    assert "top_k = 3" in messages and "checkpoints: 200, 400" in messages and "/retry " in messages
    assert (roles(run, 400), roles(run, 200)) == ("u a", "u a")


def test_errors_are_reported_and_the_chat_continues(workspace: Workspace, run_chat: RunChat) -> None:
    run_with_checkpoints(workspace, 200)
    code, replies, messages = run_chat(
        "/retry\n/seed x\n/temprature 1\n/checkpoint 3\n/set nonsense\nrefuse\n/new\nlong\n"
    )
    assert (code, replies) == (0, ["  <long|1|>"])
    for sentence in (
        "there is no message to reply to",
        "sample.seed = 'x' is not a whole number",
        "unknown command /temprature",
        "there is no checkpoint of step 3",
        "--set needs FIELD=VALUE",
        "cannot generate text: no",
        "longer than the context: the first 26 of 90 tokens are left out",
    ):
        assert sentence in messages


def test_an_aborted_reply_ends_its_line(workspace: Workspace, run_chat: RunChat) -> None:
    run_with_checkpoints(workspace, 200)
    _, replies, messages = run_chat("break\n/new\nb\n")
    assert replies == ["  <break|1|>", "  <b|1|>"]
    assert "cannot generate text: enough" in messages


def test_reduced_precision_is_reported_once(workspace: Workspace, run_chat: RunChat) -> None:
    run_with_checkpoints(workspace, 200)
    assert run_chat("a\nb\n", "--precision", "int8")[2].count("weights in int8") == 1
    assert "weights" not in run_chat("a\nb\n")[2]


def test_a_damaged_checkpoint_is_skipped_and_reported_once(workspace: Workspace, run_chat: RunChat) -> None:
    run = run_with_checkpoints(workspace, 200, 400)
    (run.checkpoints / "step-00000400" / "model.json").unlink()
    code, replies, messages = run_chat("a\nb\n/checkpoint last\nc\n")
    assert (code, len(replies)) == (0, 3)
    assert messages.count("skipping step-00000400") == 2  # at the start, and after /checkpoint last


def test_prompts_cannot_be_set_in_a_chat(workspace: Workspace, run_chat: RunChat) -> None:
    run_with_checkpoints(workspace, 200)
    messages = run_chat('/prompts ["a"]\n/set prompts=["a"]\n')[2]
    assert "unknown command /prompts" in messages
    assert "prompts has no effect in a chat" in messages


def test_ctrl_c_ends_a_chat_with_input_from_a_file(workspace: Workspace, tmp_path: Path) -> None:
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
        chat.stdout.read(10)  # a reply that never ends
        chat.send_signal(signal.SIGINT)
        chat.stdout.read()
    assert chat.wait(PATIENCE) == 130
    assert roles(run, 200) == "u a"


def test_a_run_without_checkpoints_is_an_error(workspace: Workspace, run_chat: RunChat) -> None:
    run_with_checkpoints(workspace)
    code, replies, messages = run_chat("a\n")
    assert (code, replies) == (1, []) and "there is no checkpoint yet" in messages


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
        """Read until `text` appears; returns the output before it."""
        self.read_until(lambda: text in self.seen, f"{text!r} comes")
        before, _, self.seen = self.seen.partition(text)
        return before

    def read_until(self, condition: Callable[[], bool], what: str) -> None:
        """Read until `condition` holds."""
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
    chat.read_until(lambda: len(chat.seen) >= 50, "a reply")
    chat.type("\x03")
    chat.until("stopped")
    chat.until("> ")
    chat.type("/set tokens=3\n")
    chat.until("> ")
    chat.type("again\n")  # the same process replies
    chat.until("again\r\n")
    assert chat.until("\r\n> ")[-3:].isalpha()
    while chat.process.poll() is None:  # Python's readline may miss one at the moment of the prompt
        chat.type("\x03")
        with contextlib.suppress(subprocess.TimeoutExpired):
            chat.process.wait(5)
    assert chat.process.returncode == 130
    messages = Transcripts(run.path).conversation("step-00000200")
    assert [message.role[0] for message in messages] == ["u", "a", "u", "a"]
    assert [message.answer_info.ended for message in messages if message.answer_info] == ["", "length"]


def test_end_of_input_ends_the_chat(workspace: Workspace, terminal: Callable[..., Terminal]) -> None:
    run_with_checkpoints(workspace, 200)
    chat = terminal("chat")
    chat.until("> ")
    chat.type("\x04")
    assert chat.process.wait() == 0
