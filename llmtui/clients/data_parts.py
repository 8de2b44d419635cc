"""Preparing data in parts on a target: which parts are missing, their start, their progress, and the merge here."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import IO

import msgspec

from core.errors import BusyError, LlmtuiError
from core.events import AnyEvent, Note, Progress, StageFinished, StageSkipped, StageStarted
from core.jobs.prepare_part import PartsStatus
from core.plural import plural
from core.recipe.schema import Recipe
from core.runs.artifacts import lock_file
from core.runs.deletion import remove_locked
from core.runs.failure import find_reason
from core.runs.launch import child_environment
from core.sources.catalog import source_name
from core.storage.artifact import fingerprint, published_files
from core.storage.files import private, remove_tree, write_atomic
from core.storage.locks import Lock
from core.storage.workspace import Workspace, name_from
from core.targets.parts import PartsJob, run_parts
from core.targets.start import CHECK_EVERY, has_job
from core.targets.template import Target
from llmtui.clients.child_job import run_child_job

MODULE = "core.jobs.data_commands"

PROGRESS_EVERY = 2.0
"""Seconds between two polls of what the parts have published."""


class PartsError(LlmtuiError):
    doing = "prepare the data"


class PartsActiveError(BusyError):
    doing = "prepare the data"


def prepare_on_target(
    workspace: Workspace, recipe: Recipe, target: Target | None, parts: int, name: str
) -> Generator[AnyEvent, None, None]:
    """Download here, clean and tokenize on `target` in `parts`, and merge them here; yields events.

    Only parts that are not complete are started, so that the same call continues what was interrupted. target: None for
    this machine, one part after the other. name: of the target, for messages. Closing the generator ends what it has
    started. Raises LlmtuiError.
    """
    text = msgspec.json.encode(recipe)
    job_id = f"prepare-{name_from(source_name(recipe.source.corpus))}-{fingerprint(recipe, parts)[:8]}"
    folder = workspace.data / "prepare" / job_id
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = Lock.acquire(folder / "lock")
    if lock is None:
        raise PartsActiveError("another process prepares it in as many parts", where=str(folder))
    job = PartsJob(
        target=target,
        folder=folder,
        recipe=folder / "recipe.json",
        parts=parts,
        id=job_id,
        environment=child_environment(workspace),
    )
    reported: set[str] = set()

    def here(*task: str) -> Iterator[AnyEvent]:
        for event in run_child_job(workspace, MODULE, *task, result_type=AnyEvent):
            if not isinstance(event, StageSkipped) or event.artifact not in reported:
                yield event
            if isinstance(event, StageSkipped | StageFinished):
                reported.add(event.artifact)

    with lock, open(folder / "job.log", "ab", opener=private) as log:
        write_atomic(job.recipe, text)
        yield from here("prepare-before", text.decode(), "preprocess")
        if has_job(job.running):
            yield Note(text=f"waiting for the job of an earlier command on {name}")
            while has_job(job.running):
                time.sleep(CHECK_EVERY)
        status = _status(workspace, text, parts)
        if 0 in status.missing:
            yield Note(text=f"cleaning the documents and making the vocabulary on {name}")
            yield from _run(job, [0], status, log)
            status = _status(workspace, text, parts)
            _require(job, [0], status)
        if status.missing:
            yield StageStarted(stage="tokenize")
            done = parts - len(status.missing)
            some = f"{len(status.missing)} of {plural(parts, 'part')}" if done else plural(parts, "part")
            yield Note(text=f"{some} on {name}")
            missing = status.missing
            yield from _run(job, missing, status, log)
            status = _status(workspace, text, parts)
            _require(job, missing, status)
        yield from here("prepare", text.decode(), "1", "1")
        for artifact in map(Path, status.artifacts):  # the whole has their files
            remove_locked(
                artifact, [lock_file(artifact)], PartsActiveError("a part is being made", where=str(artifact))
            )
    remove_tree(folder)


def _status(workspace: Workspace, recipe: bytes, parts: int) -> PartsStatus:
    (status,) = run_child_job(workspace, MODULE, "parts-status", recipe.decode(), str(parts), result_type=PartsStatus)
    assert isinstance(status, PartsStatus)
    return status


def _run(job: PartsJob, numbers: Sequence[int], status: PartsStatus, log: IO[bytes]) -> Iterator[AnyEvent]:
    """Run the parts `numbers`; yields Progress, and a Note for each that is complete."""
    for number in numbers:
        _log(job, number).unlink(missing_ok=True)
    log.truncate(0)
    published, polled_at = _Published(job, status, numbers), 0.0
    with contextlib.closing(run_parts(job, numbers, log)) as steps:
        for _ in steps:
            if time.monotonic() >= polled_at + PROGRESS_EVERY:
                yield from published.poll()
                polled_at = time.monotonic()
    yield from published.poll()


class _Published:
    """What the parts have published so far, by their artifacts."""

    def __init__(self, job: PartsJob, status: PartsStatus, numbers: Sequence[int]) -> None:
        self._parts, self._total = job.parts, status.bytes
        self._paths = {number: Path(path) for number, path in enumerate(status.artifacts) if number}
        self._complete = set(self._paths) - set(numbers)
        self._sizes: dict[int, int] = {}

    def poll(self) -> Iterator[AnyEvent]:
        """A Note for each part that has become complete, and Progress; nothing for part 0."""
        for number, path in self._paths.items():
            if number in self._complete and number in self._sizes:
                continue
            self._sizes[number] = sum(int(file.facts.get("bytes", 0)) for file in published_files(path).values())
            if number not in self._complete and path.is_dir():
                self._complete.add(number)
                yield Note(text=f"part {number} is complete, {len(self._complete)} of {self._parts}")
        if self._paths:
            yield Progress(done=sum(self._sizes.values()), total=self._total, unit="bytes")


def _require(job: PartsJob, numbers: Sequence[int], status: PartsStatus) -> None:
    """Raises PartsError where one of the parts `numbers` is missing now."""
    failed = [number for number in numbers if number in status.missing]
    if not failed:
        return
    logs = [path for path in (*(_log(job, number) for number in failed), job.folder / "job.log") if path.exists()]
    reasons = [(reason, path) for path in logs if (reason := find_reason(path, 0))]
    reason, path = reasons[0] if reasons else ("it ended without a message", job.folder)
    which = (
        f"parts {', '.join(map(str, failed[:8]))}{' …' if failed[8:] else ''}" if failed[1:] else f"part {failed[0]}"
    )
    raise PartsError(
        f"{which} of {job.parts} {'are' if failed[1:] else 'is'} not complete: {reason}",
        where=str(path),
        kept=f"{job.parts - len([number for number in status.missing if number])} of {plural(job.parts, 'part')} "
        "are complete and kept",
        todo="the same command continues with the others",
    )


def _log(job: PartsJob, number: int) -> Path:
    return job.folder / f"part-{number}.log"
