"""What a data stage made, as plain text for people and other tools."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Literal, TextIO

import numpy as np

from core.events import Event
from core.processes.progress import ProgressMeter
from core.storage.artifact import Artifact
from core.storage.documents import DocumentPart, read_parts
from core.storage.files import replacing
from core.tokenize.shards import map_shard
from core.tokenize.vocabulary import Vocabulary

Exported = Literal["raw", "clean", "tokens"]

_SAMPLE_DOCUMENTS = 1000
"""Documents that decide whether they are single lines."""
_IDS = 2**20
"""Token ids turned into digits at once."""


def export(artifact: Artifact, stage: Exported, to: Path) -> Iterator[Event]:
    """Write all of an artifact to the file `to`, which is complete or absent; yields Progress in bytes or tokens.

    raw, clean: the documents one after the other, with an empty line between them unless each of the first thousand
    is a single line.
    tokens: the ids of a document on one line, in decimal digits with spaces between; its end is the line's end.
    Training text comes before validation text.
    """
    with replacing(to) as staged, staged.open("x", encoding="utf-8", newline="\n") as file:
        if stage == "tokens":
            yield from _ids(artifact, file)
        else:
            yield from _texts(artifact, stage, file)


def _files(artifact: Artifact, suffix: str) -> list[Path]:
    return [path for side in ("documents", "train", "validation") for path in artifact.files(f"{side}-*.{suffix}")]


def _texts(artifact: Artifact, stage: Exported, file: TextIO) -> Iterator[Event]:
    sides = ("",) if stage == "raw" else ("train_", "validation_")
    meter = ProgressMeter(float(sum(int(artifact.facts[f"{side}bytes"]) for side in sides)))
    parts = iter(read_parts(_files(artifact, "parquet")))
    first = list(islice(parts, _SAMPLE_DOCUMENTS))
    between = "" if _single_lines(first) else "\n"
    ended = True
    for number, part in enumerate(chain(first, parts)):
        if part.number == 0 and number:
            file.write(between if ended else "\n" + between)
        file.write(part.text)
        ended = part.text.endswith("\n") or (ended and not part.text)
        yield from meter.advance(len(part.text.encode()))
    if not ended:
        file.write("\n")
    yield meter.report()


def _single_lines(parts: Iterable[DocumentPart]) -> bool:
    return all(part.number == 0 and "\n" not in part.text.rstrip("\n") for part in parts)


def _ids(artifact: Artifact, file: TextIO) -> Iterator[Event]:
    end = Vocabulary.load(artifact.path / "vocabulary.json").end_of_text
    meter = ProgressMeter(
        float(int(artifact.facts["train_tokens"]) + int(artifact.facts["validation_tokens"])), "tokens"
    )
    line_is_open = False
    for shard in _files(artifact, "tokens"):
        ids = map_shard(shard)
        for start in range(0, len(ids), _IDS):
            piece = ids[start : start + _IDS]
            begin = 0
            for stop in [*np.flatnonzero(piece == end).tolist(), len(piece)]:
                digits = " ".join(map(str, piece[begin:stop].tolist()))
                file.write(f" {digits}" if line_is_open and digits else digits)
                line_is_open = stop == len(piece) and bool(line_is_open or digits)
                if stop < len(piece):
                    file.write("\n")
                begin = stop + 1
            yield from meter.advance(len(piece))
    yield meter.report()
