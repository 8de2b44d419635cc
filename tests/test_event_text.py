"""Every event has a text, the same for the command line and the screens, or says that it has none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from core.events import (
    AttemptEnded,
    CheckpointSaved,
    CleaningReport,
    CompressionBaseline,
    Evaluation,
    Event,
    Metric,
    Note,
    Resumed,
    StageFinished,
    StepEffect,
    TextSize,
)
from llmtui.cli.run_output import EventFormatter
from llmtui.view.event_text import EventText, event_text


def _subclasses(kind: type[Event]) -> Iterator[type[Event]]:
    for child in kind.__subclasses__():
        if child.__module__ == "core.events":
            yield child
            yield from _subclasses(child)


@pytest.mark.parametrize("kind", list(_subclasses(Event)))
def test_every_event_class_is_registered(kind: type[Event]) -> None:
    assert event_text.dispatch(kind) is not event_text.dispatch(object)


def test_an_event_class_that_is_not_registered_is_an_error() -> None:
    class Unregistered(Event, frozen=True, kw_only=True):
        pass

    with pytest.raises(TypeError, match="Unregistered"):
        event_text(Unregistered())


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (StageFinished(stage="tokenize", artifact="", facts={"tokens": 12}), ("stage", "tokenize done, 12 tokens")),
        (Resumed(step=1200, checkpoint="/x"), ("resume", "resumed from step 1,200")),
        (Resumed(step=0, checkpoint=""), ("resume", "restarted: no checkpoint")),
        (
            CheckpointSaved(step=5, path="", bytes=12_100_000, seconds=0.4),
            ("saved", "step 5: checkpoint of 12.1 MB saved in 0.4s"),
        ),
        (
            CompressionBaseline(name="xz -9", bits_per_byte=1.68),
            ("base", "xz -9: 1.680 bits per byte of the held-out text"),
        ),
        (Note(level="warning", text="slow disk"), ("warn", "slow disk")),
        (AttemptEnded(attempt=1, outcome="failed", what="no space left"), ("end", "failed: no space left")),
        (AttemptEnded(attempt=1, outcome="stopped"), ("end", "stopped on request")),
    ],
)
def test_the_short_form_is_one_line(event: Event, text: tuple[str, str]) -> None:
    one_line = event_text(event)
    assert one_line and (one_line.kind, one_line.line) == text


def test_an_evaluation_of_a_masked_model_is_written_as_a_bound() -> None:
    event = Evaluation(step=3, loss=3.21, train_loss=3.1, bits_per_byte=1.46, best=True, bound=True)
    text = event_text(event)
    assert text and text.text == "step 3: ≤1.460 bits per byte, best so far"
    assert text.lines[0].startswith("step 3: validation loss ≤3.210 (training ≤3.100), perplexity ≤24.8, ≤1.460 bits")


def test_a_cleaning_report_lists_the_steps_that_changed_something() -> None:
    steps = (
        StepEffect(step="nfc", changed=0, removed=0, bytes=0),
        StepEffect(step="dedup", changed=0, removed=2, bytes=9),
    )
    sizes: dict[str, Any] = {"before": TextSize(documents=10, bytes=100), "after": TextSize(documents=8, bytes=91)}
    text = event_text(CleaningReport(steps=steps, **sizes))
    assert text == EventText(
        "clean",
        "8 of 10 documents kept, 91 B of 100 B",
        ("8 of 10 documents kept, 91 B of 100 B", "dedup: 2 removed, 9 B less"),
    )


def test_metrics_have_no_text_but_the_formatter_prints_progress_now_and_then() -> None:
    metric = Metric(step=1, loss=8.0, lr=0.1, grad_norm=1.0, tokens=1, seconds=1.0, progress=0.5)
    assert event_text(metric) is None
    assert not list(EventFormatter().format(metric))
