"""Running the data stages in tests: to their end, up to some event, or in a process that is killed."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import pytest

import core.download
import core.preprocess
import core.tokenize
from core.events import Event, Note
from core.recipe.schema import Preprocess, Source, Tokenize
from core.storage.artifact import Artifact, Staging
from tests.run_code import run_code

T = TypeVar("T")
Stage = Generator[Event, None, Artifact]
StageFactory = Callable[[Staging], Stage]

ROOT = Path(__file__).parents[2]


def run_stage(path: Path, stage: StageFactory, *, events: list[Event] | None = None) -> Artifact:
    """Run a stage to its end and return its artifact at `path`; its events are appended to `events`."""
    with Staging(path, "test", "0").open() as out:
        generator = stage(out)
        while True:
            try:
                event = next(generator)
            except StopIteration as end:
                artifact: Artifact = end.value
                return artifact
            if events is not None:
                events.append(event)


def return_value(generator: Generator[Event, None, T]) -> T:
    """The return value of a generator, which is run to its end."""
    while True:
        try:
            next(generator)
        except StopIteration as end:
            result: T = end.value
            return result


def close_after(path: Path, stage: StageFactory, after: int) -> bool:
    """Close a stage after `after` events. Returns False if it ended before that."""
    with Staging(path, "test", "0").open() as out:
        generator = stage(out)
        for _ in range(after):
            if next(generator, None) is None:
                return False
        generator.close()
    return True


def downloading(corpus: Path | str, **recipe: Any) -> StageFactory:
    return lambda out: core.download.download(Source(corpus=str(corpus), **recipe), out)


def preprocessing(documents: Artifact, recipe: Preprocess | None = None) -> StageFactory:
    return lambda out: core.preprocess.preprocess(recipe or Preprocess(), documents, out)


def tokenizing(clean: Artifact, recipe: Tokenize | None = None) -> StageFactory:
    return lambda out: core.tokenize.tokenize(recipe or Tokenize(size=300), clean, out)


def clean_documents(home: Path, corpus: Path, recipe: Preprocess | None = None) -> Artifact:
    """The clean documents of a corpus, written to `home`."""
    return run_stage(home / "clean", preprocessing(run_stage(home / "documents", downloading(corpus)), recipe))


def file_digests(artifact: Artifact) -> dict[str, str]:
    """SHA-256 of each file, by name."""
    return {name: facts.sha256 for name, facts in artifact.manifest.files.items()}


def note_texts(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Note)]


def remarks(events: list[Event]) -> list[str]:
    """Texts of the notes, except why training finished."""
    return [note for note in note_texts(events) if not note.startswith("the training is finished")]


def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make small files fill many shards, and every chunk of work report its progress."""
    for module, name, value in SMALL:
        monkeypatch.setattr(f"{module}.{name}", value)


SMALL = (
    ("core.processes.progress", "PROGRESS_INTERVAL", 0),
    ("core.download.text_chunks", "PART_BYTES", 1000),
    ("core.download.parquet_column", "DECODE_BYTES", 2000),
    ("core.download.parquet_column", "ROW_GROUP_BYTES", 8000),
    ("core.download.hub_files", "BLOCK_BYTES", 4096),
    ("core.download.batches", "BATCH_BYTES", 2000),
    ("core.download.line_blocks", "BLOCK_BYTES", 1500),
    ("core.download.parquet", "_SAMPLE_BATCH_BYTES", 1500),
    ("core.download.arrow_file", "_SLICE_BYTES", 1500),
    ("core.download", "SHARD_BYTES", 5000),
    ("core.preprocess", "SHARD_BYTES", 5000),
    ("core.tokenize.encode", "_CHUNK_BYTES", 2000),
)


def kill_while_writing(path: Path, stage: str, source: Path | str, shard: int) -> int:
    """Run `stage` in a process that kills itself while it writes shard number `shard`. Returns its exit code.

    source: the corpus, or the artifact of the stage before.
    """
    code = "import sys; from tests.core.stages import run_and_die; run_and_die(*sys.argv[1:])"
    return run_code(code, path, stage, source, shard).returncode


def run_and_die(path: str, stage: str, source: str, shard: str) -> NoReturn:
    """Runs in the process of `kill_while_writing`."""
    for module, name, value in SMALL:
        setattr(sys.modules[module], name, value)
    factories: dict[str, Callable[[], StageFactory]] = {
        "download": lambda: downloading(source),
        "preprocess": lambda: preprocessing(Artifact.open(Path(source))),
        "tokenize": lambda: tokenizing(Artifact.open(Path(source))),
    }
    publish, calls = Staging.publish, [0]

    def killing(self: Staging, name: str, write: Callable[[Path], None], *rest: object) -> object:
        def write_half(staged: Path) -> None:
            write(staged)
            os.truncate(staged, staged.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

        calls[0] += 1
        return publish(self, name, write_half if calls[0] == int(shard) else write, *rest)  # type: ignore[arg-type]

    Staging.publish = killing  # type: ignore[assignment,method-assign]
    run_stage(Path(path), factories[stage]())
    sys.exit("the stage finished before it was killed")
