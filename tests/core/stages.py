"""Running the data stages in tests: to their end, up to a point, and in a process that dies on the way."""

from __future__ import annotations

import os
import signal
import subprocess
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

T = TypeVar("T")
Stage = Generator[Event, None, Artifact]
Make = Callable[[Staging], Stage]

ROOT = Path(__file__).parents[2]


def make(path: Path, stage: Make, *, events: list[Event] | None = None) -> Artifact:
    """Run a stage to its end and return its artifact at `path`; what it says is added to `events`."""
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


def made(work: Generator[Event, None, T]) -> T:
    """What a generator of events returns at its end."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result


def break_off(path: Path, stage: Make, after: int) -> bool:
    """Close a stage after so many events; False when it came to its end before."""
    with Staging(path, "test", "0").open() as out:
        generator = stage(out)
        for _ in range(after):
            if next(generator, None) is None:
                return False
        generator.close()
    return True


def downloading(corpus: Path | str, **recipe: Any) -> Make:
    return lambda out: core.download.download(Source(corpus=str(corpus), **recipe), out)


def preprocessing(documents: Artifact, recipe: Preprocess | None = None) -> Make:
    return lambda out: core.preprocess.preprocess(recipe or Preprocess(), documents, out)


def tokenizing(clean: Artifact, recipe: Tokenize | None = None) -> Make:
    return lambda out: core.tokenize.tokenize(recipe or Tokenize(size=300), clean, out)


def clean_of(home: Path, corpus: Path, recipe: Preprocess | None = None) -> Artifact:
    """The clean documents of a corpus, made in `home`."""
    return make(home / "clean", preprocessing(make(home / "documents", downloading(corpus)), recipe))


def contents(artifact: Artifact) -> dict[str, str]:
    """Digest of each file."""
    return {name: facts.sha256 for name, facts in artifact.manifest.files.items()}


def notes(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Note)]


def remarks(events: list[Event]) -> list[str]:
    """Those that do not say why a training ended."""
    return [note for note in notes(events) if not note.startswith("the training is finished")]


def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make files of a few kB take many shards, and every piece of work a word about progress."""
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


def killed_while_writing(path: Path, stage: str, source: Path | str, shard: int) -> int:
    """Run `stage` in a process that kills itself in the middle of writing a shard; its exit status.

    source: the corpus, or the artifact before.
    """
    command = [sys.executable, "-c", "import sys; from tests.core.stages import die; die(*sys.argv[1:])"]
    return subprocess.run([*command, str(path), stage, str(source), str(shard)], cwd=ROOT).returncode


def die(path: str, stage: str, source: str, shard: str) -> NoReturn:
    """What `killed_while_writing` runs."""
    for module, name, value in SMALL:
        setattr(sys.modules[module], name, value)
    makes: dict[str, Callable[[], Make]] = {
        "download": lambda: downloading(source),
        "preprocess": lambda: preprocessing(Artifact.open(Path(source))),
        "tokenize": lambda: tokenizing(Artifact.open(Path(source))),
    }
    publish, calls = Staging.publish, [0]

    def deadly(self: Staging, name: str, write: Callable[[Path], None], *rest: object) -> object:
        def half(staged: Path) -> None:
            write(staged)
            os.truncate(staged, staged.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

        calls[0] += 1
        return publish(self, name, half if calls[0] == int(shard) else write, *rest)  # type: ignore[arg-type]

    Staging.publish = deadly  # type: ignore[assignment,method-assign]
    make(Path(path), makes[stage]())
    sys.exit("it came to its end")
