"""Turns of a chat as Markdown, the gap of a masked model, the shades of surprise, the history of prompts."""

from __future__ import annotations

from core.recipe.sampling import Sampling
from core.runs.transcript import AnswerInfo, ChatMessage, ComparedAnswer
from llmtui.tui.widgets.prompt import PromptHistory
from llmtui.view.chat_turn import split_gap, to_markdown, turns_of
from llmtui.view.surprise import MOST, legend, role_of, shaded


def info(step: int) -> AnswerInfo:
    return AnswerInfo(sampling=Sampling(), checkpoint=f"step-{step:08d}", tokens=3, ended="length")


MESSAGES = [
    ChatMessage(role="user", text="once ___ end"),
    ChatMessage(
        role="assistant",
        text="a ```fence``` ````",
        answer_info=info(200),
        compared=ComparedAnswer(text="other", answer_info=info(400), run="r"),
    ),
]


def test_the_gap_of_a_masked_model_is_between_two_texts() -> None:
    assert split_gap("a ___ b", masked=True) == ("a ", " b")
    assert split_gap("a ___ b ___ c", masked=True) == ("a ", " b ___ c")
    assert split_gap("a ___ b", masked=False) == ("a ___ b", "")
    assert split_gap("signed: ___", masked=True) == ("signed: ___", "")
    (turn,) = turns_of(MESSAGES, "r", is_reply=False, masked=True)
    assert (turn.prompt, turn.suffix, turn.typed) == ("once ", " end", "once ___ end")


def test_a_transcript_is_saved_with_both_answers_in_fences_that_they_cannot_close() -> None:
    text = to_markdown(turns_of(MESSAGES, "r", is_reply=False, masked=False), "bard")
    assert text.startswith(
        "# Chat with bard\n\n## Prompt\n\n```text\nonce ___ end\n```\n\n## Generated A\n\n`````text\n"
    )
    assert "## Generated B\n\n```text\nother\n```\n\n3 tokens · step 400 · T 0.8" in text


def test_shades_follow_the_tokens_also_of_a_text_whose_start_was_not_kept() -> None:
    surprise = [(3, 0.2), (2, 4.0), (1, 12.0)]
    assert shaded("oncecd", surprise) == [("onc", "surprise-1"), ("ec", "surprise-3"), ("d", MOST)]
    assert shaded("cd", surprise) == [("c", "surprise-3"), ("d", MOST)]
    assert shaded("> oncecd", surprise)[0] == ("> ", "")
    assert shaded("x\x1b[2J", [(5, 1.5)]) == [("x␛[2J", "surprise-2")]
    roles = [role for _, role in legend() if role.startswith("surprise")]
    assert roles == [role_of(bits) for bits in (0.5, 2, 5, 8, 20)]


def test_history_recalls_earlier_prompts_and_returns_to_the_draft() -> None:
    history = PromptHistory(["a", "b"])
    assert history.recall(1, "draft") is None
    assert [history.recall(-1, "draft"), history.recall(-1, "b"), history.recall(-1, "a")] == ["b", "a", None]
    assert [history.recall(1, "a"), history.recall(1, "b"), history.recall(1, "draft")] == ["b", "draft", None]
    history.add("a")
    assert [history.recall(-1, ""), history.recall(-1, "a"), history.recall(-1, "b")] == ["a", "b", None]
