"""What a run's results come from besides its recipe: code, PyTorch, machine and data, as its journal records them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from core.events import AnyEvent, AttemptStarted
from core.runs.artifacts import FOLDERS
from core.runs.directory import Run
from core.runs.summary import Summary

NOT_RECORDED = "not recorded"


class Origin(NamedTuple):
    """Texts, not sanitised; a run whose attempts differ has the values of all of them, in order."""

    version: str
    commit: str
    """Of the code; empty where it was installed without git."""
    torch: str
    host: str
    device: str
    parent: str
    """The checkpoint that the run branches from; empty if it does not."""
    data: tuple[str, ...]
    """Names of the artifacts of the data stages, with their fingerprints; empty for a stage that has not finished."""


class OriginDifference(NamedTuple):
    """One thing that is not the same for all runs."""

    what: str
    values: tuple[str, ...]
    """One for each run."""


def origin_of(run: Run, summary: Summary, events: Iterable[AnyEvent]) -> Origin:
    """The origin of `run`. events: at least its `AttemptStarted` events, in order."""
    attempts = [event for event in events if isinstance(event, AttemptStarted)]
    return Origin(
        _values(attempts, lambda attempt: attempt.version) or run.file.version,
        _values(attempts, lambda attempt: attempt.commit[:12]),
        _values(attempts, lambda attempt: attempt.torch),
        _values(attempts, lambda attempt: attempt.host),
        _values(attempts, lambda attempt: attempt.device),
        f"{run.parent.run} at step {run.parent.step:,}" if run.parent else "",
        tuple(Path(summary.stages[stage].artifact).name for stage in FOLDERS),
    )


def _values(attempts: Sequence[AttemptStarted], value: Callable[[AttemptStarted], str]) -> str:
    found = [value(attempt) for attempt in attempts]
    return ", then ".join(each for n, each in enumerate(found) if each and each not in found[:n])


def origin_differences(origins: Sequence[Origin]) -> list[OriginDifference]:
    """What is not the same for all of `origins`."""
    rows = [
        ("version", [origin.version for origin in origins]),
        ("commit", [origin.commit for origin in origins]),
        ("torch", [origin.torch for origin in origins]),
        ("machine", [origin.host for origin in origins]),
        ("device", [origin.device for origin in origins]),
        ("branch of", [origin.parent or "none" for origin in origins]),
        *((folder, [origin.data[n] for origin in origins]) for n, folder in enumerate(FOLDERS.values())),
    ]
    return [
        OriginDifference(what, tuple(value or NOT_RECORDED for value in values))
        for what, values in rows
        if len(set(values)) > 1
    ]
