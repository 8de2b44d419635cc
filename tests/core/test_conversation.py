"""Chat templates, and transcripts on disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.recipe.checks import RecipeError
from core.recipe.file import load
from core.recipe.sampling import Sampling
from core.recipe.schema import Chat
from core.runs import transcript
from core.runs.transcript import AnswerInfo, ChatMessage, ConversationStart, MessageWithdrawn, Transcripts
from core.sample.conversation import Message, Role, apply_chat_template

ROOT = Path(__file__).parent.parent.parent
CHAT = Chat(system="{text}\n\n", user="User: {text}\nBot:", assistant=" {text}\n")


def messages(*texts: tuple[Role, str]) -> list[Message]:
    return [Message(role=role, text=text) for role, text in texts]


# -- templates ---------------------------------------------------------------------------------------------------------


def test_templates_format_a_conversation_up_to_the_reply() -> None:
    formatted = apply_chat_template(
        messages(("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Who?")), CHAT
    )
    assert formatted.prompt == "Be kind.\n\nUser: Hi\nBot: Hello\nUser: Who?\nBot:"
    assert formatted.stop == ("\nUser:",)
    assert formatted.answer_start("  I am") == "I am"  # the space before the reply belongs to the template


def test_without_templates_messages_are_concatenated_without_stop_strings() -> None:
    formatted = apply_chat_template(
        messages(("user", "Once upon "), ("assistant", " a time "), ("user", "there ")), Chat()
    )
    assert formatted.prompt == "Once upon  a time there "
    assert formatted.stop == ()
    assert formatted.answer_start("  was") == "  was"


def test_a_reply_at_the_end_is_continued() -> None:
    formatted = apply_chat_template(messages(("user", "Hi"), ("assistant", "Well, ")), CHAT)
    assert formatted.prompt == "User: Hi\nBot: Well, "
    assert formatted.answer_start(" I") == " I"


@given(st.lists(st.text(max_size=20), min_size=1, max_size=6))
def test_messages_are_not_interpreted_as_templates(texts: list[str]) -> None:
    texts = [text + "{text}{0}%s" for text in texts]
    formatted = apply_chat_template(messages(*(("user", text) for text in texts)), CHAT)
    assert formatted.prompt == "".join(f"User: {text}\nBot:" for text in texts)


@pytest.mark.parametrize("template", ["no text", "{text} and {text}"])
def test_a_template_contains_its_text_exactly_once(template: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load(base={"chat": {"user": template}})
    assert f"chat.user has {{text}} {template.count('{text}')} times" in caught.value.sentence()
    assert load(base={"chat": {"user": "{text}:"}}).chat.user == "{text}:"


# -- transcripts -------------------------------------------------------------------------------------------------------

QUESTION = ChatMessage(role="user", text="\x1b[2J\u202eHi\n")
ANSWER = ChatMessage(
    role="assistant", text="Hello", answer_info=AnswerInfo(sampling=Sampling(seed=7), precision="float32", ended="end")
)


@pytest.fixture
def transcripts(tmp_path: Path) -> Transcripts:
    return Transcripts(tmp_path)


def reopen(transcripts: Transcripts, run: Path) -> Transcripts:
    transcripts.close()
    return Transcripts(run)


def test_a_conversation_is_restored_per_checkpoint(transcripts: Transcripts, tmp_path: Path) -> None:
    transcripts.add("step-00000200", QUESTION, ANSWER)
    transcripts.add("step-00000400", QUESTION)
    reopened = reopen(transcripts, tmp_path)
    assert reopened.conversation("step-00000200") == [QUESTION, ANSWER]
    assert reopened.conversation("step-00000400") == [QUESTION]
    assert reopened.conversation("step-00000600") == []
    assert [reopened.last(before=f"step-{step:08d}") for step in (100, 300, 900)] == [
        "",
        "step-00000200",
        "step-00000400",
    ]


def test_new_conversations_and_withdrawn_messages_are_applied_on_reading(transcripts: Transcripts) -> None:
    transcripts.add("step-1", QUESTION, ANSWER, ConversationStart(), QUESTION, ANSWER, MessageWithdrawn())
    assert transcripts.conversation("step-1") == [QUESTION]
    transcripts.add("step-1", MessageWithdrawn(), MessageWithdrawn())
    assert transcripts.conversation("step-1") == []


def test_torn_and_unknown_lines_are_skipped(transcripts: Transcripts, tmp_path: Path) -> None:
    transcripts.add("step-1", QUESTION)
    file = tmp_path / "transcripts" / "step-1.jsonl"
    with file.open("ab") as file_handle:
        file_handle.write(b'{"type":"shouted","text":"!"}\n\xff\n{"type":"said","role":"assis')
    assert transcripts.conversation("step-1") == [QUESTION]
    transcripts.add("step-1", ANSWER)
    assert transcripts.conversation("step-1") == [QUESTION, ANSWER]


def test_only_one_chat_writes_at_a_time(transcripts: Transcripts, tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from core.runs.transcript import Transcripts\n"
    code += "t = Transcripts(Path(sys.argv[1])); print(t.taken, t.kept)"
    command = [sys.executable, "-c", code, str(tmp_path)]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout == "True False\n"
    transcripts.close()
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout == "False True\n"


def test_file_size_is_limited_and_the_end_of_a_conversation_is_kept(
    transcripts: Transcripts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcript, "FILE_LIMIT", 20_000)
    monkeypatch.setattr(transcript, "MAX_CHARACTERS", 1_000)
    for number in range(500):
        transcripts.add("step-1", ChatMessage(role="user", text=f"{number:03d} {'x' * 96}"))
    assert (tmp_path / "transcripts" / "step-1.jsonl").stat().st_size < 21_000
    texts = transcripts.conversation("step-1")
    assert [int(message.text[:3]) for message in texts] == list(range(490, 500))
    transcripts.add("step-1", ChatMessage(role="user", text="a" * 500 + "z" * 1_000))
    assert [message.text for message in transcripts.conversation("step-1")] == ["z" * 1_000]


def test_an_unwritable_directory_is_reported_and_not_an_error(tmp_path: Path) -> None:
    unwritable = Transcripts(tmp_path / "no such run")
    unwritable.add("step-1", QUESTION)
    assert (unwritable.kept, unwritable.taken, unwritable.conversation("step-1"), unwritable.last(before="step-2")) == (
        False,
        False,
        [],
        "",
    )


def test_a_kill_loses_no_messages(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from core.runs.transcript import *\n"
    code += "t, n = Transcripts(Path(sys.argv[1])), 0\n"
    code += "while True: t.add('step-1', ChatMessage(role='user', text=str(n))); n += 1; print(n, flush=True)"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    for _ in range(50):
        process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    acknowledged = 50 + len(process.stdout.read().splitlines())
    process.wait()
    texts = Transcripts(tmp_path).conversation("step-1")
    assert [int(message.text) for message in texts] == list(range(len(texts)))
    assert acknowledged <= len(texts) <= acknowledged + 1


def test_a_transcript_is_json_lines(transcripts: Transcripts, tmp_path: Path) -> None:
    transcripts.add("step-1", QUESTION, ANSWER)
    lines = (tmp_path / "transcripts" / "step-1.jsonl").read_bytes().splitlines()
    assert [(line["role"], line["text"]) for line in map(msgspec.json.decode, lines)] == [
        ("user", QUESTION.text),
        ("assistant", "Hello"),
    ]
    assert msgspec.json.decode(lines[1])["drawn"]["sampling"]["seed"] == 7
