"""Documents become clean documents, some of them held out for validation: the second stage."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from functools import partial
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import asdict, replace

from core.artifact import Artifact, Staging
from core.download.documents import SHARD_BYTES, Part, read_parts, write_parts
from core.download.progress import Meter, published_shards, shard_name
from core.events import Event, Report, StepCount
from core.preprocess.split import Side, Split, TooSmall, choose, cut_at_line
from core.preprocess.steps import STEPS, Step
from core.preprocess.survey import Survey, rewrite
from core.recipe import Preprocess
from core.trouble import Trouble

__all__ = ["FORMAT", "NothingLeft", "TooSmall", "preprocess"]

FORMAT = 1
"""Changes when the same documents and recipe would give other clean documents."""


class NothingLeft(Trouble):
    """No text survived the cleaning."""

    doing = "clean the documents"


class _Position(Struct, frozen=True, kw_only=True):
    """What comes next in the second reading."""

    row: int = 0
    document: int = 0
    before: int = 0
    """Bytes of clean text in front of it."""
    read: int = 0
    """Bytes of text in front of it before the cleaning."""
    shift: int = 0
    """Parts of the present document that were left to training, when validation has its tail."""


def preprocess(recipe: Preprocess, documents: Artifact, out: Staging) -> Generator[Event, None, Artifact]:
    """Clean documents into `train-*.parquet` and `validation-*.parquet`, which share none; counts in `report.json`.

    Reads everything twice: only after the first time is it known what goes where. After a break the first reading
    is repeated and the second goes on behind the last complete shards. Yields Progress in bytes of text, and at the
    end a Report. Facts: train_documents, validation_documents, train_bytes, validation_bytes, removed (documents).
    Raises NothingLeft, TooSmall.
    """
    steps = [STEPS[name] for name in recipe.steps]
    files = documents.files("documents-*.parquet")
    meter = Meter(float(documents.facts["bytes"]))
    survey = Survey(steps, recipe.seed)
    for part in read_parts(files):
        survey.read(part)
        yield from meter.advance(len(part.text.encode()) / 2)
    counts = survey.counts()
    removed = len(survey.kept) - sum(survey.kept)
    if not any(size for size, kept in zip(survey.sizes, survey.kept, strict=True) if kept):
        raise NothingLeft(
            f"the cleaning steps left no text of {len(survey.kept):,} documents", where="preprocess.steps"
        )
    split = choose(recipe, survey.keys, survey.sizes, survey.kept)
    train, validation = sides = _Writer(out, "train"), _Writer(out, "validation")
    yield from _write(steps, files, survey, split, sides, meter)
    out.publish("report.json", partial(_write_report, counts=counts))
    yield meter.now()
    yield Report(steps=counts)
    return out.finish(
        {
            "train_documents": train.documents,
            "validation_documents": validation.documents,
            "train_bytes": train.bytes,
            "validation_bytes": validation.bytes,
            "removed": removed,
        }
    )


def _write_report(path: Path, counts: tuple[StepCount, ...]) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode({"steps": counts}), indent=1) + b"\n")


class _Writer:
    """The shards of one side."""

    def __init__(self, out: Staging, side: Side) -> None:
        self._out, self._side = out, side
        self._shards, facts = published_shards(out, side, "parquet")
        facts = dict(facts or {"documents": 0, "bytes": 0})
        self.documents, self.bytes = int(facts.pop("documents")), int(facts.pop("bytes"))
        self.start = _Position(**facts)  # type: ignore[arg-type]
        """What is before this is on the disk."""
        self._parts: list[Part] = []
        self._held = 0

    def add(self, part: Part) -> None:
        size = len(part.text.encode())
        self._parts.append(part)
        self._held += size
        self.documents += part.number == 0
        self.bytes += size

    @property
    def full(self) -> bool:
        return self._held >= SHARD_BYTES

    def publish(self, following: _Position) -> None:
        """Write what was added as one shard; `following` is where to go on behind it."""
        if self._parts:
            facts = {**asdict(following), "documents": self.documents, "bytes": self.bytes}
            name = shard_name(self._side, self._shards, "parquet")
            self._out.publish(name, partial(write_parts, parts=self._parts), facts)
            self._shards, self._parts, self._held = self._shards + 1, [], 0


def _write(
    steps: Sequence[Step], files: list[Path], survey: Survey, split: Split, sides: tuple[_Writer, _Writer], meter: Meter
) -> Iterator[Event]:
    """The second reading: clean again what survives and write it to its side."""
    position = min((side.start for side in sides), key=lambda start: start.row)
    meter.done += position.read / 2
    for part in read_parts(files, position.row):
        size = len(part.text.encode())
        following = _Position(
            row=position.row + 1,
            document=position.document + part.last,
            before=position.before,
            read=position.read + size,
        )
        if survey.kept[position.document]:
            clean = part._replace(text=rewrite(steps, part))
            head, tail = _divide(clean, split, position)
            for side, piece in zip(sides, (head, tail), strict=True):
                if piece is not None and position.row >= side.start.row:
                    side.add(piece)
            shift = 0 if part.last or tail is None else part.number - tail.number
            following = replace(following, before=position.before + len(clean.text.encode()), shift=shift)
        position = following
        for side in sides:
            if side.full:
                side.publish(position)
        yield from meter.advance(size / 2)
    for side in sides:
        side.publish(position)


def _divide(part: Part, split: Split, position: _Position) -> tuple[Part | None, Part | None]:
    """What of a clean part is for training, and what for validation."""
    if split.held_out is not None:
        return (None, part) if split.held_out[position.document] else (part, None)
    size = len(part.text.encode())
    if position.before + size <= split.tail:
        return part, None
    if position.before > split.tail:
        return None, part._replace(number=part.number - position.shift)
    cut = cut_at_line(part.text, split.tail - position.before, split.slack)
    head, tail = part._replace(text=part.text[:cut]), part._replace(text=part.text[cut:], number=0)
    return (head if head.text else None), tail
