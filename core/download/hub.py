"""A data set of the Hugging Face hub as a source."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Generator, Iterator

from msgspec import Struct
from msgspec.structs import asdict, replace

from core.download import hub_client
from core.download.column_batches import cut_rows, repaired
from core.download.hub_client import DownloadStoppedError, Line
from core.download.hub_errors import HubError, none_left, offline, told
from core.download.hub_files import DataFile, read_column
from core.download.hub_resolve import Plan, make_plan
from core.download.source import Rows
from core.download.text_column import beginning
from core.events import Event, Note, Progress
from core.plural import plural, verb
from core.processes.threads import iterate_in_thread
from core.recipe.schema import Source
from core.sources.corpora import EXPORT, Place, places
from core.storage.artifact import Facts, fingerprint

__all__ = ["Hub", "HubError", "hub_fingerprint"]


def hub_fingerprint(recipe: Source) -> str:
    """A fingerprint of what is asked for, without asking the hub: what is here stays good without a network.

    Raises CorpusError.
    """
    places(recipe.corpus)
    return fingerprint("hub", recipe.corpus, recipe.config, recipe.split, recipe.column)


class _Position(Struct, kw_only=True):
    """What was decided at the first attempt, and where the next row is. A commit never changes, so that the list of
    its files is the same at every attempt."""

    repository: str = ""
    branch: str = ""
    commit: str = ""
    config: str = ""
    split: str = ""
    column: str = ""
    listing: str = ""
    """Fingerprint of the data files."""
    file: int = 0
    """How many are read to their end."""
    row: int = 0
    part: int = 0
    done: float = 0.0
    """Bytes of data files up to here."""
    replaced: int = 0
    """Places that were not UTF-8."""


class Hub:
    """The rows of a data set's column of text, one document each, named `file:row`."""

    def __init__(self, recipe: Source) -> None:
        """Look at what is asked for, not yet at the hub. Raises CorpusError."""
        self._recipe = recipe
        self._places = [_asked(place, recipe) for place in places(recipe.corpus)]
        self.total: float | None = None
        self.facts: Facts = {}

    def read(self, position: Facts) -> Iterator[Rows | Event]:
        """See `Origin.read`. Raises HubError."""
        line = Line()
        at = _Position(**position)  # type: ignore[arg-type]
        begun, done = time.monotonic(), at.done
        with contextlib.closing(iterate_in_thread(self._read(line, at), line.close)) as items:
            for item in items:
                if isinstance(item, Rows):
                    done = item.done
                if item is not None:
                    yield item
                    continue
                yield Progress(done=done, total=self.total, unit="bytes")
                # looking up a name cannot be bounded otherwise
                if (
                    not line.answered
                    and line.opened
                    and time.monotonic() - begun > hub_client.CONTACT + hub_client.CONNECT
                ):
                    raise offline("no answer")

    def _read(self, line: Line, at: _Position) -> Generator[Rows | Event, None, None]:
        """The same, waiting for the hub as long as it takes."""
        line.open()
        try:
            yield from self._rows(line, at)
        finally:
            line.release()

    def _rows(self, line: Line, at: _Position) -> Iterator[Rows | Event]:
        plan = yield from self._settle(line, at)
        place, files = plan.place, _in_order(plan.files, self._recipe)
        listing = fingerprint([file.url for file in files])
        if at.listing and at.listing != listing:
            what = "what was begun cannot be gone on with: its list of files reads differently by now"
            raise HubError("damaged", what, where=place.repository, todo="remove what was begun, then start again")
        at.repository, at.branch, at.commit = place.repository, place.revision, plan.commit
        at.config, at.split, at.column, at.listing = place.config, place.split, place.column, listing
        self.facts = {"repository": place.repository, "commit": plan.commit, "files": len(files)}
        self.total = float(sum(file.size for file in files))
        done = float(sum(file.size for file in files[: at.file]))
        told = bool(at.file or at.row or at.part)
        for index in range(at.file, len(files)):
            last: Rows | None = None
            for rows in self._file(plan, files[index], done, line, at):
                if not told and (first := next((text for text in rows.batch["text"].to_pylist() if text), "")):
                    told = True
                    yield Note(text=f"the text in {place.column!r} begins: {beginning(first)!r}")
                if last is not None:
                    yield last
                last = rows
            done += files[index].size
            at.file, at.row, at.part, at.done = index + 1, 0, 0, done
            if last is not None:
                # behind a file's last rows is the next file, so that it is never opened again
                yield Rows(last.batch, done, asdict(at))
        if at.replaced:
            were = verb(at.replaced, "was", "were")
            text = f"{plural(at.replaced, 'place')} {were} not UTF-8 and {were} replaced by \ufffd"
            yield Note(level="warning", text=text)

    def _file(self, plan: Plan, file: DataFile, done: float, line: Line, at: _Position) -> Iterator[Rows]:
        received, begun = line.received, (at.row, at.part)
        try:
            for piece in read_column(plan.builder, plan.place.split, file, plan.place.column, at.row):
                column, replaced = repaired(piece.column)
                at.replaced += replaced if piece.first >= begun[0] else 0  # counted before the break
                share = (line.received - received) / max(file.size, 1)
                for cut in cut_rows(column, file.path, piece.first, *begun):
                    share = cut.row / piece.rows if piece.rows else min(share, 1.0)
                    at.row, at.part, at.done = cut.row, cut.part, done + share * file.size
                    yield Rows(cut.batch, at.done, asdict(at))
        except DownloadStoppedError:
            raise
        except Exception as error:  # whatever these libraries make of a file that is not what it says
            trouble = told(error, plan.place, file.path)
            trouble.kept = "what was complete is kept"
            raise trouble from None

    def _settle(self, line: Line, at: _Position) -> Generator[Event, None, Plan]:
        """What to read: what was decided before the break, or the first of the places that has it."""
        if at.commit:
            taken = Place(
                repository=at.repository, revision=at.branch, config=at.config, split=at.split, column=at.column
            )
            return (yield from make_plan(taken, line, at.commit))
        failed: list[tuple[Place, HubError]] = []
        waiting = list(self._places)
        while waiting:
            place = waiting.pop(0)
            line.patience = min(hub_client.HASTE, hub_client.PATIENCE) if waiting else hub_client.PATIENCE
            try:
                plan = yield from make_plan(place, line)
            except HubError as trouble:
                failed.append((place, trouble))
                if trouble.kind in ("offline", "switched off"):
                    break
                if trouble.kind == "scripts" and place.revision != EXPORT:
                    waiting.insert(0, replace(place, revision=EXPORT))
                if waiting:
                    text = f"{place.repository}: {trouble.what}; trying {waiting[0].repository}@{waiting[0].revision}"
                    yield Note(level="warning", text=text)
                continue
            line.patience = hub_client.PATIENCE
            if failed:
                yield Note(text=f"taking {plan.place.repository}@{plan.place.revision}")
            if place.remark:
                yield Note(level="warning", text=f"{place.repository}: {place.remark}")
            return plan
        raise none_left(self._recipe.corpus, failed)


def _asked(place: Place, recipe: Source) -> Place:
    """What the recipe says about a place goes before what the table says."""
    return replace(
        place,
        config=recipe.config or place.config,
        split=recipe.split if recipe.split != Source().split else place.split,
        column=recipe.column or place.column,
    )


def _in_order(files: tuple[DataFile, ...], recipe: Source) -> list[DataFile]:
    """The files as they are read: a sample of a part must not be its beginning."""
    if recipe.take == "first":
        return list(files)
    return sorted(files, key=lambda file: hashlib.sha256(f"{recipe.seed} {file.path}".encode()).digest())
