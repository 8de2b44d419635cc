"""The process behind `llmtui data`: `python -P -m core.jobs.data_commands TASK ARGUMENTS`.

See `core.processes.child_job`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct

from core.events import CleaningStep, Event
from core.parsing import parse_json
from core.processes.child_job import run_and_report
from core.recipe.schema import Recipe

# each task imports what it needs: only `prepare` has to wait for torch


def _preview(recipe: str, directory: str, documents: str, limit: str) -> Iterator[Event]:
    from core.jobs.preview import preview

    return preview(_recipe(recipe), Path(directory), documents=int(documents), limit=int(limit))


def _prepare(recipe: str, part: str, parts: str) -> Iterator[Event]:
    from core.jobs.prepare import prepare
    from core.storage.workspace import Workspace

    return prepare(_recipe(recipe), Workspace().prepare(), (int(part), int(parts)) if parts != "1" else None)


def _prepare_before(recipe: str, stage: str) -> Iterator[Event]:
    from core.jobs.prepare_part import prepare_before
    from core.storage.workspace import Workspace

    return prepare_before(_recipe(recipe), Workspace().prepare(), stage)


def _parts_status(recipe: str, parts: str) -> Iterator[Struct]:
    from core.jobs.prepare_part import parts_status
    from core.storage.workspace import Workspace

    yield parts_status(_recipe(recipe), Workspace().prepare(), int(parts))


def _export(artifact: str, stage: str, to: str) -> Iterator[Event]:
    from core.jobs.export import export
    from core.storage.artifact import Artifact

    return export(Artifact.open(Path(artifact)), stage, Path(to))  # type: ignore[arg-type]


def list_steps() -> Iterator[Event]:
    from core.preprocess.steps import STEPS

    for step in STEPS.values():
        yield CleaningStep(
            name=step.name,
            why=step.why,
            cost=step.cost,
            parameters=step.parameters,
            compares=step.scope != "document",
        )


def _recipe(text: str) -> Recipe:
    return parse_json(text, Recipe)


TASKS: dict[str, Callable[..., Iterator[Struct]]] = {
    "preview": _preview,
    "prepare": _prepare,
    "prepare-before": _prepare_before,
    "parts-status": _parts_status,
    "export": _export,
    "steps": list_steps,
}


if __name__ == "__main__":
    os.umask(0o077)
    task, *arguments = sys.argv[1:]
    sys.exit(run_and_report(lambda: TASKS[task](*arguments)))
