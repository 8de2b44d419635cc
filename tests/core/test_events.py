"""The events of the journal: all are in the union that is decoded, and lines of older versions are read."""

from __future__ import annotations

import json
from typing import get_args

import msgspec
import pytest

from core import events
from core.events import AnyEvent, CompressionBaseline, Event, decode, encode
from core.runs.summary import Summary

CLASSES = [kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event)]
OLD_TAGS = {
    "AttemptStarted": "Started",
    "AttemptEnded": "Ended",
    "CheckpointSaved": "Saved",
    "CleaningReport": "Report",
    "GeneratedSample": "Sample",
    "HardwareReading": "Reading",
    "ModelInfo": "Shape",
    "TrainingForecast": "Plan",
}
"""Names of classes that journals have under an older name."""


def test_every_event_class_is_decoded() -> None:
    assert set(get_args(AnyEvent)) == set(CLASSES) - {Event}


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if kind is not Event], ids=lambda kind: kind.__name__)
def test_a_tag_in_the_journal_never_changes(kind: type[Event]) -> None:
    name = kind.__name__.removeprefix("_")
    assert msgspec.inspect.type_info(kind).tag == OLD_TAGS.get(name, name)  # type: ignore[attr-defined]


def test_compression_baselines_of_older_versions_are_read() -> None:
    line = b'{"type":"Yardstick","at":1.0,"tick":2.0,"name":"xz -9","bits_per_byte":1.68}'
    event = decode(line)
    assert isinstance(event, CompressionBaseline)
    summary = Summary()
    summary.absorb(event)
    assert summary.compression_baselines == {"xz -9": 1.68}


def test_the_compression_baselines_in_a_status_of_older_versions_are_read() -> None:
    summary = msgspec.json.decode(b'{"yardsticks":{"gzip -9":1.97}}', type=Summary)
    assert summary.compression_baselines == {"gzip -9": 1.97}
    assert "yardsticks" not in json.loads(encode(summary))
