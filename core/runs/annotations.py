"""What a user writes about a run: tags, a note on it, notes on its steps, and whether it is archived.

They are kept in annotations.json in the run directory, which no process that trains reads or writes, so that a run can
be annotated at any time and its fingerprints stay as they are.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from core.errors import BusyError, DiskError, UsageError
from core.parsing import ParseError, read_json
from core.storage.files import write_atomic
from core.storage.locks import Lock

FILE = "annotations.json"

MAX_NOTE_CHARACTERS = 10_000
MAX_TAGS, MAX_STEP_NOTES = 32, 1_000

LOCK_TIMEOUT = 2.0
"""Seconds to wait for another program that writes the same annotations, which takes it milliseconds."""

_TAG = re.compile(r"\w[\w./-]{0,31}")

_one_at_a_time = threading.Lock()  # a record lock does not exclude threads of one process


class AnnotationError(UsageError):
    doing = "annotate the run"


class AnnotationBusyError(BusyError):
    doing = "annotate the run"


class Annotations(Struct, frozen=True, kw_only=True):
    """The annotations of one run; text as the user wrote it, not sanitised."""

    tags: tuple[str, ...] = ()
    """In lower case, sorted."""
    note: str = ""
    step_notes: dict[int, str] = {}
    """Notes by training step, in order of the steps."""
    archived: bool = False
    """Whether lists leave the run out unless asked for it."""


def read_annotations(run: Path) -> Annotations:
    """The annotations of the run in the directory `run`; none if the file is missing or unreadable."""
    try:
        return read_json(run / FILE, Annotations)
    except (OSError, ParseError):
        return Annotations()


def change_annotations(run: Path, change: Callable[[Annotations], Annotations]) -> Annotations:
    """Replace the annotations of the run in the directory `run` by `change` of them, and return those.

    Raises AnnotationError if the file has content that would be lost, AnnotationBusyError if another program has kept
    it locked, DiskError, and what `change` raises. The file is then unchanged.
    """
    path = run / FILE
    try:
        with _one_at_a_time, _locked(run / ".annotations.lock"):
            try:
                before = read_json(path, Annotations)
            except FileNotFoundError:
                before = Annotations()
            except ParseError as error:
                todo = "mend it, or delete it to start over"
                raise AnnotationError(f"{FILE} cannot be read ({error})", where=str(path), todo=todo) from None
            after = change(before)
            if after != before:
                write_atomic(path, msgspec.json.format(msgspec.json.encode(after), indent=1))
            return after
    except OSError as error:
        raise DiskError.from_oserror(error, path, kept="the annotations are as they were") from None


def _locked(path: Path) -> Lock:
    deadline = time.monotonic() + LOCK_TIMEOUT
    while (lock := Lock.acquire(path)) is None:
        if time.monotonic() > deadline:
            raise AnnotationBusyError("another program is writing them", where=str(path.parent), todo="try again")
        time.sleep(0.02)
    return lock


# -- changes ------------------------------------------------------------------------------------------------------


def with_tags(annotations: Annotations, add: Iterable[str] = (), remove: Iterable[str] = ()) -> Annotations:
    """With the tags of `add` and without those of `remove`. Raises AnnotationError for what is no tag."""
    added = {checked_tag(tag) for tag in add}
    tags = tuple(sorted((set(annotations.tags) | added) - {tag.lower() for tag in remove}))
    if len(tags) > MAX_TAGS:
        raise AnnotationError(f"it would have {len(tags)} tags; {MAX_TAGS} is the limit", todo="remove some first")
    return replace(annotations, tags=tags)


def checked_tag(tag: str) -> str:
    """`tag` in lower case. Raises AnnotationError if it is no tag."""
    if not _TAG.fullmatch(tag):
        raise AnnotationError(
            f"{tag!r} is not a tag",
            todo="write letters, digits, dots, dashes, underscores; at most 32, such as lr-sweep",
        )
    return tag.lower()


def with_note(annotations: Annotations, text: str, step: int | None = None) -> Annotations:
    """With the note `text` on the run, or on one of its steps; an empty one removes it. Raises AnnotationError."""
    text = text.encode(errors="replace").decode().strip()  # arguments may have bytes that are not UTF-8
    if len(text) > MAX_NOTE_CHARACTERS:
        todo = f"shorten it to {MAX_NOTE_CHARACTERS:,}"
        raise AnnotationError(f"the note has {len(text):,} characters", todo=todo)
    if step is None:
        return replace(annotations, note=text)
    notes = {**annotations.step_notes, step: text}
    notes = {at: notes[at] for at in sorted(notes) if notes[at]}
    if len(notes) > MAX_STEP_NOTES:
        raise AnnotationError(f"it has notes on {MAX_STEP_NOTES:,} steps already", todo="remove some first")
    return replace(annotations, step_notes=notes)
