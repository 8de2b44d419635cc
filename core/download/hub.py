"""A data set of the Hugging Face hub as a source."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Generator, Iterator

from msgspec import Struct
from msgspec.structs import asdict, replace

from core.download import hub_client
from core.download.arrow_tables import column_to_batches
from core.download.batches import FilePosition
from core.download.hub_client import DownloadStoppedError, HubSession
from core.download.hub_errors import HubError, all_failed, to_hub_error, unreachable
from core.download.hub_files import DataFile, read_column
from core.download.hub_resolve import Plan, make_plan
from core.download.source_reader import SourceBatch
from core.download.text_column import text_excerpt
from core.events import Event, Note, Progress
from core.plural import plural, verb
from core.processes.threads import iterate_in_thread
from core.recipe.schema import Source
from core.sources.corpora import EXPORT, CorpusLocation, corpus_locations
from core.storage.artifact import Facts, fingerprint

__all__ = ["Hub", "HubError", "hub_fingerprint"]


def hub_fingerprint(recipe: Source) -> str:
    """The fingerprint of a source from its recipe alone, so that no network is needed for what is downloaded already.

    Raises CorpusError.
    """
    corpus_locations(recipe.corpus)
    return fingerprint("hub", recipe.corpus, recipe.config, recipe.split, recipe.column)


class _Position(Struct, kw_only=True):
    """What the first attempt resolved, and the next row to read.

    A commit never changes, so its list of files is the same at every attempt.
    """

    repository: str = ""
    branch: str = ""
    commit: str = ""
    config: str = ""
    split: str = ""
    column: str = ""
    listing: str = ""
    """Fingerprint of the list of data files."""
    file: int = 0
    """Number of files that were read completely."""
    row: int = 0
    """Next row of the file, from 0."""
    part: int = 0
    """Next part of that row, if it is a long one."""
    done: float = 0.0
    """Bytes of data files read so far."""
    replaced: int = 0
    """Invalid UTF-8 sequences replaced so far."""


class Hub:
    """The text column of a data set; each row is a document named `file:row`."""

    def __init__(self, recipe: Source) -> None:
        """Make no request yet. Raises CorpusError."""
        self._recipe = recipe
        self._locations = [_with_recipe(location, recipe) for location in corpus_locations(recipe.corpus)]
        self.total: float | None = None
        self.facts: Facts = {}

    def read(self, position: Facts) -> Iterator[SourceBatch | Event]:
        """See `core.download.source_reader`. Raises HubError."""
        session = HubSession()
        state = _Position(**position)  # type: ignore[arg-type]
        started, done = time.monotonic(), state.done
        limit = hub_client.FIRST_RESPONSE_SECONDS + hub_client.CONNECT_TIMEOUT
        with contextlib.closing(iterate_in_thread(self._read(session, state), session.close)) as items:
            for item in items:
                if isinstance(item, SourceBatch):
                    done = item.done
                if item is not None:
                    yield item
                    continue
                yield Progress(done=done, total=self.total, unit="bytes")
                # a name lookup has no timeout of its own
                if session.opened and not session.responded and time.monotonic() - started > limit:
                    raise unreachable("no answer")

    def _read(self, session: HubSession, state: _Position) -> Generator[SourceBatch | Event, None, None]:
        """Read in the thread that may wait for the hub."""
        session.open()
        try:
            yield from self._rows(session, state)
        finally:
            session.release()

    def _rows(self, session: HubSession, state: _Position) -> Iterator[SourceBatch | Event]:
        plan = yield from self._resolve(session, state)
        location, files = plan.location, _ordered(plan.files, self._recipe)
        listing = fingerprint([file.url for file in files])
        if state.listing and state.listing != listing:
            what = "the interrupted download cannot be resumed: the list of its files has changed"
            raise HubError(
                "damaged", what, where=location.repository, todo="remove the partial artifact, then start again"
            )
        state.repository, state.branch, state.commit = location.repository, location.revision, plan.commit
        state.config, state.split, state.column = location.config, location.split, location.column
        state.listing = listing
        self.facts = {"repository": location.repository, "commit": plan.commit, "files": len(files)}
        self.total = float(sum(file.size for file in files))
        done = float(sum(file.size for file in files[: state.file]))
        reported = bool(state.file or state.row or state.part)
        for index in range(state.file, len(files)):
            last: SourceBatch | None = None
            for rows in self._read_file(plan, files[index], done, session, state):
                if not reported and (first := next((text for text in rows.batch["text"].to_pylist() if text), "")):
                    reported = True
                    yield Note(text=f"the text in {location.column!r} begins: {text_excerpt(first)!r}")
                if last is not None:
                    yield last
                last = rows
            done += files[index].size
            state.file, state.row, state.part, state.done = index + 1, 0, 0, done
            if last is not None:
                # the last rows carry the position of the next file, so that a complete file is not opened again
                yield SourceBatch(last.batch, done, asdict(state))
        if state.replaced:
            were = verb(state.replaced, "was", "were")
            text = f"{plural(state.replaced, 'place')} {were} not UTF-8 and {were} replaced by \ufffd"
            yield Note(level="warning", text=text)

    def _read_file(
        self, plan: Plan, file: DataFile, done: float, session: HubSession, state: _Position
    ) -> Iterator[SourceBatch]:
        """The rows of one file from `state` on. done: bytes of the files before it."""
        received, row, part = session.received, state.row, state.part
        try:
            for chunk in read_column(plan.builder, plan.location.split, file, plan.location.column, row):
                chunk = chunk.after(row)
                if not len(chunk.column):
                    continue
                share = (session.received - received) / max(file.size, 1)
                first = FilePosition(offset=chunk.first, part=part if chunk.first == row else 0)
                end = FilePosition(offset=chunk.first + len(chunk.column))
                for step in column_to_batches(file.path, chunk.column, [], first, end, 0, keep_empty=True):
                    read = min(step.position.offset + step.position.part, end.offset)
                    share = read / chunk.rows if chunk.rows else min(share, 1.0)
                    state.row, state.part = step.position.offset, step.position.part
                    state.done = done + share * file.size
                    state.replaced += step.replaced
                    yield SourceBatch(step.batch, state.done, asdict(state))
        except DownloadStoppedError:
            raise
        except Exception as exception:  # of any kind: the libraries raise what they like for a damaged file
            error = to_hub_error(exception, plan.location, file.path)
            error.kept = "what was complete is kept"
            raise error from None

    def _resolve(self, session: HubSession, state: _Position) -> Generator[Event, None, Plan]:
        """What the first attempt resolved, or the plan of the first repository that can be read."""
        if state.commit:
            location = CorpusLocation(
                repository=state.repository,
                revision=state.branch,
                config=state.config,
                split=state.split,
                column=state.column,
            )
            return (yield from make_plan(location, session, state.commit))
        failed: list[tuple[CorpusLocation, HubError]] = []
        untried = list(self._locations)
        while untried:
            location = untried.pop(0)
            session.retry_seconds = hub_client.RETRY_SECONDS
            if untried:
                session.retry_seconds = min(hub_client.FALLBACK_RETRY_SECONDS, hub_client.RETRY_SECONDS)
            try:
                plan = yield from make_plan(location, session)
            except HubError as error:
                failed.append((location, error))
                if error.kind in ("unreachable", "offline mode"):
                    break
                if error.kind == "scripts" and location.revision != EXPORT:
                    untried.insert(0, replace(location, revision=EXPORT))
                if untried:
                    text = f"{location.repository}: {error.what}; trying {untried[0].repository}@{untried[0].revision}"
                    yield Note(level="warning", text=text)
                continue
            session.retry_seconds = hub_client.RETRY_SECONDS
            if failed:
                yield Note(text=f"taking {plan.location.repository}@{plan.location.revision}")
            if location.remark:
                yield Note(level="warning", text=f"{location.repository}: {location.remark}")
            return plan
        raise all_failed(self._recipe.corpus, failed)


def _with_recipe(location: CorpusLocation, recipe: Source) -> CorpusLocation:
    """`location` with the recipe's configuration, split and column where the recipe sets them."""
    return replace(
        location,
        config=recipe.config or location.config,
        split=recipe.split if recipe.split != Source().split else location.split,
        column=recipe.column or location.column,
    )


def _ordered(files: tuple[DataFile, ...], recipe: Source) -> list[DataFile]:
    """The files in reading order: shuffled by the seed for a sample, which must not be the beginning of the corpus."""
    if recipe.take == "first":
        return list(files)
    return sorted(files, key=lambda file: hashlib.sha256(f"{recipe.seed} {file.path}".encode()).digest())
