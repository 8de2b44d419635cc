"""The lines of a run's log, and of its journal, as text to read and to search."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from core.events import AttemptEnded, CleaningStep, Event, Excerpt, HardwareReading, Metric, Progress, decode
from core.parsing import ParseError
from core.runs.failure import is_reason
from llmtui.view.event_text import event_text
from llmtui.view.sanitize import shown
from llmtui.view.units import size

MAX_CHARACTERS = 2000
"""Of one line."""


class LogLine(NamedTuple):
    """One line, sanitised."""

    text: str
    role: str = ""
    is_failure: bool = False
    """Whether it says why the run failed."""

    def matches(self, search: str) -> bool:
        """Whether it contains `search`; upper and lower case are the same unless `search` has upper case letters."""
        return search in (self.text if search != search.lower() else self.text.lower())


def log_lines(raw: Iterable[bytes]) -> list[LogLine]:
    """Lines of log.txt."""
    return [_log_line(line) for line in raw]


def journal_lines(raw: Iterable[bytes]) -> list[LogLine]:
    """Lines of journal.jsonl: the time and the event, the fields of those that have no sentence."""
    return [_journal_line(line) for line in raw]


def _log_line(raw: bytes) -> LogLine:
    text = raw.decode(errors="replace").rstrip()
    failed = is_reason(text)
    return LogLine(shown(text, MAX_CHARACTERS), "bad" if failed else "", failed)


_KINDS: dict[type[Event], str] = {
    Progress: "progress", Metric: "step", HardwareReading: "hardware", Excerpt: "excerpt", CleaningStep: "cleaning",
}  # fmt: skip
_ROLES = {"warn": "warn", "error": "bad", "end": "bold", "saved": "good", "eval": "val"}


def _journal_line(raw: bytes) -> LogLine:
    try:
        event = decode(raw)
    except ParseError:
        return LogLine(shown(raw.decode(errors="replace"), MAX_CHARACTERS), "warn")
    moment = time.strftime("%d %b %H:%M:%S", time.localtime(event.at))
    text = event_text(event)
    kind, words, role = (text.kind, text.line, _ROLES.get(text.kind, "")) if text else (*_fields(event), "dim")
    failed = isinstance(event, AttemptEnded) and event.outcome == "failed"
    line = f"{moment}  {shown(kind, 12):<9} {shown(words, MAX_CHARACTERS)}"
    return LogLine(line, "bad" if failed else role, failed)


def _fields(event: Event) -> tuple[str, str]:
    """Kind and figures of an event that other screens draw."""
    if isinstance(event, HardwareReading):
        return _KINDS[HardwareReading], _reading(event)
    if isinstance(event, Progress):
        if event.of in ("sample", "checkpoint"):
            return _KINDS[Progress], f"a {event.of} begins"
        total = "" if event.total is None else f" of {_figure(event.total)}"
        return _KINDS[Progress], f"{_figure(event.done)}{total} {event.unit}{event.of and f' of the {event.of}'}"
    values = msgspec.to_builtins(event)
    hidden = ("type", "at", "tick", *(("step",) if isinstance(event, Metric) else ()))
    words = " ".join(f"{name} {_figure(value)}" for name, value in values.items() if name not in hidden)
    if isinstance(event, Metric):
        words = f"{event.step} {words}"
    return _KINDS.get(type(event), "event"), words


def _reading(event: HardwareReading) -> str:
    parts = [
        f"cpu {event.cpu * event.cores:.1f}/{event.cores} cores",
        f"ram {size(event.ram)} of {size(event.ram_total)}",
        f"worker {event.process_cpu:.1f} cores, {size(event.process_ram)}",
        *(
            f"gpu {number} {gpu.utilisation:.0%}, {size(gpu.memory)} of {size(gpu.memory_total)}"
            for number, gpu in enumerate(event.gpus)
        ),
        f"disk {size(event.disk_free)} free",
    ]
    return " · ".join(parts)


def _figure(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if (value.is_integer() or value >= 1e4) and abs(value) < 1e15 else f"{value:.4g}"
    return str(value)


def find(lines: Sequence[LogLine], search: str) -> list[int]:
    """The indices of the lines that contain `search`; none for an empty one."""
    return [index for index, line in enumerate(lines) if line.matches(search)] if search else []


def last_failure(lines: Sequence[LogLine]) -> int | None:
    """The index of the last line that says why the run failed."""
    return next((index for index in reversed(range(len(lines))) if lines[index].is_failure), None)
