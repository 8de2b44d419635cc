"""What is marked at a step of a run's charts: the user's notes, and changes of the learning rate."""

from __future__ import annotations

from typing import NamedTuple

from core.events import LearningRateChanged
from core.runs.annotations import Annotations
from llmtui.view.event_text import event_text
from llmtui.view.history import History
from llmtui.view.sanitize import shown

NOTE, LEARNING_RATE = "✎", "↕"


class StepMark(NamedTuple):
    """A mark at a step."""

    step: float
    glyph: str
    role: str
    text: str
    """What it stands for, on one line; sanitised."""


def step_marks(history: History, annotations: Annotations) -> list[StepMark]:
    """The marks of a run; where two are at one place, the later one is seen: a note."""
    changed = [event for _, event in history.curves.events.get("lr", ()) if isinstance(event, LearningRateChanged)]
    marks = [StepMark(event.step, LEARNING_RATE, "warn", _text(event)) for event in changed]
    notes = annotations.step_notes.items()
    return marks + [StepMark(step, NOTE, "accent", shown(" ".join(text.split()), 200)) for step, text in notes]


def _text(event: LearningRateChanged) -> str:
    text = event_text(event)
    return text.line if text else ""
