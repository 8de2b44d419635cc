"""Sessions: the conversations with a run over all of its checkpoints, without the copies that continuing them makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.recipe.sampling import Sampling
from core.runs.chat_sessions import saved_prompts, saved_sessions
from core.runs.transcript import (
    AnswerInfo,
    ChatMessage,
    ComparedAnswer,
    ConversationStart,
    Transcripts,
    earlier_messages,
)


def user_message(text: str, time: float) -> ChatMessage:
    return ChatMessage(role="user", text=text, at=time)


def answer_message(text: str, time: float, checkpoint: str) -> ChatMessage:
    info = AnswerInfo(sampling=Sampling(), checkpoint=checkpoint)
    return ChatMessage(role="assistant", text=text, at=time, answer_info=info)


@pytest.fixture
def transcripts(tmp_path: Path) -> Transcripts:
    return Transcripts(tmp_path)


def test_prompts_of_one_session_are_shown_together_whichever_checkpoint_answered(
    transcripts: Transcripts, tmp_path: Path
) -> None:
    start = ConversationStart(session="one")
    transcripts.add("step-1", start, user_message("a", 1), answer_message("A", 2, "step-1"))
    transcripts.add("step-2", start, user_message("b", 3), answer_message("B", 4, "step-2"))
    transcripts.add("step-1", start, user_message("c", 5), ConversationStart(session="two"), user_message("a", 6))
    two, one = saved_sessions(tmp_path)
    assert [message.text for message in one.messages] == ["a", "A", "b", "B", "c"]
    assert (one.checkpoint, one.prompts, one.at) == ("step-2", ["a", "b", "c"], 5)
    assert two.prompts == ["a"]
    assert saved_prompts(tmp_path) == ["b", "c", "a"]  # each once, the newest last


def test_a_branch_is_a_session_and_its_copied_messages_are_shown_once(transcripts: Transcripts, tmp_path: Path) -> None:
    first, reply = user_message("a", 1), answer_message("A", 2, "step-1")
    transcripts.add(
        "step-1", ConversationStart(session="one"), first, reply, user_message("b", 3), answer_message("B", 4, "step-1")
    )
    transcripts.add("step-1", ConversationStart(session="two"), first, reply, user_message("c", 5))
    assert [session.prompts for session in saved_sessions(tmp_path)] == [["a", "c"], ["a", "b"]]
    assert [message.text for message in earlier_messages(tmp_path, "step-1")] == ["a", "A", "b", "B", "c"]


def test_a_conversation_that_a_newer_checkpoint_continues_is_listed_once(
    transcripts: Transcripts, tmp_path: Path
) -> None:
    first, reply = user_message("a", 1), answer_message("A", 2, "step-1")
    transcripts.add("step-1", first, reply)  # as an earlier version wrote it, without a session
    transcripts.add("step-2", ConversationStart(after="step-1"), first, reply, user_message("b", 3))
    (session,) = saved_sessions(tmp_path)
    assert [message.text for message in session.messages] == ["a", "A", "b"]


def test_the_answer_of_another_checkpoint_belongs_to_the_one_before_it(
    transcripts: Transcripts, tmp_path: Path
) -> None:
    reply = answer_message("A", 2, "step-1")
    other = ComparedAnswer(text="other", answer_info=AnswerInfo(sampling=Sampling(), checkpoint="step-9"), run="r")
    transcripts.add("step-1", user_message("a", 1), reply, other)
    assert transcripts.conversation("step-1")[-1].compared == other
    assert saved_sessions(tmp_path)[0].messages[-1].compared == other


def test_surprise_is_kept_with_the_answer(transcripts: Transcripts) -> None:
    info = AnswerInfo(sampling=Sampling(), surprise=((2, 0.5), (1, 7.25)))
    transcripts.add("step-1", ChatMessage(role="assistant", text="abc", answer_info=info))
    (message,) = transcripts.conversation("step-1")
    assert message.answer_info == info
