"""A conversation as text, by the templates of the recipe; and what was said, kept on the disk."""

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


def talk(*said: tuple[Role, str]) -> list[Message]:
    return [Message(role=role, text=text) for role, text in said]


# -- templates ---------------------------------------------------------------------------------------------------------


def test_a_conversation_is_written_by_the_templates_up_to_where_the_answer_begins() -> None:
    start = apply_chat_template(
        talk(("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Who?")), CHAT
    )
    assert start.prompt == "Be kind.\n\nUser: Hi\nBot: Hello\nUser: Who?\nBot:"
    assert start.stop == ("\nUser:",)
    assert start.answer_start("  I am") == "I am"  # the space before an answer is the template's


def test_without_templates_what_was_said_is_one_text_and_nothing_stops_it() -> None:
    start = apply_chat_template(talk(("user", "Once upon "), ("assistant", " a time "), ("user", "there ")), Chat())
    assert start.prompt == "Once upon  a time there "
    assert start.stop == ()
    assert start.answer_start("  was") == "  was"


def test_an_answer_at_the_end_is_gone_on_with() -> None:
    start = apply_chat_template(talk(("user", "Hi"), ("assistant", "Well, ")), CHAT)
    assert start.prompt == "User: Hi\nBot: Well, "
    assert start.answer_start(" I") == " I"


@given(st.lists(st.text(max_size=20), min_size=1, max_size=6))
def test_whatever_is_said_is_only_text(texts: list[str]) -> None:
    said = [text + "{text}{0}%s" for text in texts]
    start = apply_chat_template(talk(*(("user", text) for text in said)), CHAT)
    assert start.prompt == "".join(f"User: {text}\nBot:" for text in said)


@pytest.mark.parametrize("template", ["no text", "{text} and {text}"])
def test_a_template_has_its_text_once(template: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load(base={"chat": {"user": template}})
    assert f"chat.user has {{text}} {template.count('{text}')} times" in caught.value.sentence()
    assert load(base={"chat": {"user": "{text}:"}}).chat.user == "{text}:"


# -- transcripts -------------------------------------------------------------------------------------------------------

ASKED = ChatMessage(role="user", text="\x1b[2J\u202eHi\n")
ANSWER = ChatMessage(
    role="assistant", text="Hello", answer_info=AnswerInfo(sampling=Sampling(seed=7), precision="float32", ended="end")
)


@pytest.fixture
def kept(tmp_path: Path) -> Transcripts:
    return Transcripts(tmp_path)


def reopened(kept: Transcripts, run: Path) -> Transcripts:
    kept.close()
    return Transcripts(run)


def test_what_was_said_to_a_checkpoint_is_there_again(kept: Transcripts, tmp_path: Path) -> None:
    kept.add("step-00000200", ASKED, ANSWER)
    kept.add("step-00000400", ASKED)
    again = reopened(kept, tmp_path)
    assert again.conversation("step-00000200") == [ASKED, ANSWER]
    assert again.conversation("step-00000400") == [ASKED]
    assert again.conversation("step-00000600") == []
    assert [again.last(before=f"step-{step:08d}") for step in (100, 300, 900)] == ["", "step-00000200", "step-00000400"]


def test_a_new_conversation_hides_the_old_and_a_withdrawn_answer_is_gone(kept: Transcripts) -> None:
    kept.add("step-1", ASKED, ANSWER, ConversationStart(), ASKED, ANSWER, MessageWithdrawn())
    assert kept.conversation("step-1") == [ASKED]
    kept.add("step-1", MessageWithdrawn(), MessageWithdrawn())
    assert kept.conversation("step-1") == []


def test_torn_and_unknown_lines_are_passed_over_and_the_next_is_whole(kept: Transcripts, tmp_path: Path) -> None:
    kept.add("step-1", ASKED)
    file = tmp_path / "transcripts" / "step-1.jsonl"
    with file.open("ab") as torn:
        torn.write(b'{"type":"shouted","text":"!"}\n\xff\n{"type":"said","role":"assis')
    assert kept.conversation("step-1") == [ASKED]
    kept.add("step-1", ANSWER)
    assert kept.conversation("step-1") == [ASKED, ANSWER]


def test_only_one_chat_writes_at_a_time(kept: Transcripts, tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from core.runs.transcript import Transcripts\n"
    code += "t = Transcripts(Path(sys.argv[1])); print(t.taken, t.kept)"
    ask = [sys.executable, "-c", code, str(tmp_path)]
    assert subprocess.run(ask, cwd=ROOT, capture_output=True, text=True, check=True).stdout == "True False\n"
    kept.close()
    assert subprocess.run(ask, cwd=ROOT, capture_output=True, text=True, check=True).stdout == "False True\n"


def test_a_file_does_not_grow_for_ever_and_a_conversation_keeps_its_end(
    kept: Transcripts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcript, "FILE_LIMIT", 20_000)
    monkeypatch.setattr(transcript, "MAX_CHARACTERS", 1_000)
    for number in range(500):
        kept.add("step-1", ChatMessage(role="user", text=f"{number:03d} {'x' * 96}"))
    assert (tmp_path / "transcripts" / "step-1.jsonl").stat().st_size < 21_000
    said = kept.conversation("step-1")
    assert [int(one.text[:3]) for one in said] == list(range(490, 500))
    kept.add("step-1", ChatMessage(role="user", text="a" * 500 + "z" * 1_000))
    assert [one.text for one in kept.conversation("step-1")] == ["z" * 1_000]


def test_where_nothing_can_be_written_the_chat_goes_on(tmp_path: Path) -> None:
    gone = Transcripts(tmp_path / "no such run")
    gone.add("step-1", ASKED)
    assert (gone.kept, gone.taken, gone.conversation("step-1"), gone.last(before="step-2")) == (False, False, [], "")


def test_a_kill_loses_nothing_that_was_said(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from core.runs.transcript import *\n"
    code += "t, n = Transcripts(Path(sys.argv[1])), 0\n"
    code += "while True: t.add('step-1', ChatMessage(role='user', text=str(n))); n += 1; print(n, flush=True)"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    for _ in range(50):
        process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    told = 50 + len(process.stdout.read().splitlines())
    process.wait()
    said = Transcripts(tmp_path).conversation("step-1")
    assert [int(one.text) for one in said] == list(range(len(said)))
    assert told <= len(said) <= told + 1


def test_a_transcript_is_lines_of_json_that_anything_can_read(kept: Transcripts, tmp_path: Path) -> None:
    kept.add("step-1", ASKED, ANSWER)
    lines = (tmp_path / "transcripts" / "step-1.jsonl").read_bytes().splitlines()
    assert [(line["role"], line["text"]) for line in map(msgspec.json.decode, lines)] == [
        ("user", ASKED.text),
        ("assistant", "Hello"),
    ]
    assert msgspec.json.decode(lines[1])["drawn"]["sampling"]["seed"] == 7
