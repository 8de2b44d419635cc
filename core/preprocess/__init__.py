"""Documents become clean documents, some of them held out for validation: the second stage."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from msgspec.structs import replace

from core.errors import LlmtuiError
from core.events import CleaningReport, Event, LineCount, StepEffect, TextSize
from core.plural import plural
from core.preprocess.dedup import Stock, repeated_lines, resolve, split
from core.preprocess.output import Output, outputs, write
from core.preprocess.phase_runner import PULSE, Round, clean_all, names
from core.preprocess.phases import DIVIDE, Phase, cut
from core.preprocess.sampling import BUDGET, Samples, rarity_for
from core.preprocess.split import CorpusTooSmallError, Split
from core.processes.pool import WorkerPool, worker_count
from core.processes.progress import ProgressMeter
from core.processes.threads import iterate_in_thread, run_in_thread
from core.recipe.schema import Preprocess
from core.storage.artifact import Artifact, Facts, Staging
from core.storage.documents import SHARD_BYTES
from core.storage.shard_names import shard_name

__all__ = ["FORMAT", "CorpusTooSmallError", "EmptyCorpusError", "preprocess"]

FORMAT = 2
"""Changes when the same documents and recipe would give other clean documents."""

SMALL = 32 * 2**20
"""Bytes of text that one process cleans sooner than others would have started."""
PROCESS_BYTES = 256 * 2**20
"""Memory that each process takes at most, on ordinary text."""
_REPORTED = 20


class EmptyCorpusError(LlmtuiError):
    """No text survived the cleaning."""

    doing = "clean the documents"


def preprocess(
    recipe: Preprocess, documents: Artifact, out: Staging, *, processes: int | None = None
) -> Generator[Event, None, Artifact]:
    """Clean documents into `train-*.parquet` and `validation-*.parquet`, which share none; a Report in `report.json`.

    Goes through the documents once for each phase of the recipe (`phases`), shard by shard, and then divides them.
    After a break it goes on behind the last complete shard. The result does not depend on `processes`; by default
    small corpora are cleaned in this one. Needs disk space for the text, compressed, twice. Yields Progress in bytes
    of the documents, even in time, and at the end a Report. Facts: train_documents, validation_documents,
    train_bytes, validation_bytes, removed (documents). Raises EmptyCorpusError, CorpusTooSmallError.
    """
    return (yield from _Work(recipe, documents, out, processes).run())


class _Work:
    def __init__(self, recipe: Preprocess, documents: Artifact, out: Staging, processes: int | None) -> None:
        self.recipe, self.documents, self.out = recipe, documents, out
        size = int(documents.facts["bytes"])
        self.processes = WorkerPool(processes or (1 if size < SMALL else worker_count(PROCESS_BYTES)))
        self.phases = cut(recipe.steps)
        weights = [phase.nanoseconds(recipe.steps) for phase in self.phases] + [DIVIDE]
        self.shares = [weight / sum(weights) for weight in weights]
        """Of the time each phase takes, and the writing."""
        self.meter = ProgressMeter(float(size))
        self.counts = {index: [0, 0, 0] for index in range(len(recipe.steps))}

    def run(self) -> Generator[Event, None, Artifact]:
        if "report.json" in self.out.published:
            return self._finish()
        with self.processes:
            return (yield from self._run())

    def _run(self) -> Generator[Event, None, Artifact]:
        found: Round | None = None
        before = left = TextSize()
        lengths: tuple[int, ...] = ()
        for phase in self.phases:
            found = yield from self._phase(phase, found)
            read = [sum(numbers) for numbers in zip(*(result.read for result in found.results), strict=True)] or [0] * 3
            before = before if phase.number else TextSize(documents=read[0], bytes=read[1], characters=read[2])
            stock = Stock(found)
            left, lengths = stock.left, stock.lengths
            for index, numbers in stock.counts.items():
                self.counts[index] = numbers
        assert found is not None
        if not left.bytes:
            raise EmptyCorpusError(
                f"the cleaning steps left no text of {plural(before.documents, 'document')}", where="preprocess.steps"
            )
        report = CleaningReport(
            steps=tuple(
                StepEffect(
                    step=step, changed=self.counts[index][0], removed=self.counts[index][1], bytes=self.counts[index][2]
                )
                for index, step in enumerate(self.recipe.steps)
            ),
            before=before,
            after=left,
            lengths=lengths,
        )
        try:
            divided = split(found, left)
        except CorpusTooSmallError:
            yield report  # which may tell why so little is left
            raise
        report = replace(report, split="document" if divided.by_document else "tail")
        report = yield from self._divide(found, divided, report)
        facts: Facts = {
            "train_documents": report.train.documents,
            "validation_documents": report.validation.documents,
            "train_bytes": report.train.bytes,
            "validation_bytes": report.validation.bytes,
            "removed": sum(step.removed for step in report.steps),
        }
        self.out.publish("report.json", partial(_write_report, report=report), facts)
        yield self.meter.report()
        yield report
        return self._finish()

    def _finish(self) -> Artifact:
        """All there is to say is in the report: take away what led to it."""
        kept = ("train-", "validation-", "report.json")
        self.out.discard(*(name for name in self.out.published if not name.startswith(kept)))
        return self.out.finish(self.out.published["report.json"].facts)

    def _phase(self, phase: Phase, before: Round | None) -> Generator[Event, None, Round]:
        """Go through all documents once."""
        sources = self.documents.files("documents-*.parquet") if before is None else before.texts
        size = self.meter.total if before is None else float(before.bytes)
        condemned: list[Path] = []
        if before is not None and before.phase.following == "duplicate_lines":
            with closing(iterate_in_thread(repeated_lines(before, self.out))) as found_files:
                for file in found_files:
                    condemned += [file] if file else []
                    yield from self.meter.advance(0)
        if any(names(phase, shard)[1] not in self.out.published for shard in range(len(sources))):
            work = clean_all(phase, self.recipe, sources, before, condemned, self.out, self.processes)
            with closing(work):
                for done in work:
                    yield from self._tell(phase.number, done / max(1.0, size or 0.0))
        yield from self._tell(phase.number, 1)
        if before is not None:
            self.out.discard(*(path.name for path in before.texts))
        found = Round(
            phase,
            self.recipe,
            *([self.out.path / names(phase, shard)[side] for shard in range(len(sources))] for side in (0, 1)),
        )
        with closing(iterate_in_thread(resolve(found))) as pauses:
            for _ in pauses:
                yield from self.meter.advance(0)
        return found

    def _tell(self, number: int, share: float) -> tuple[Event, ...]:
        """How far it is when a phase, the writing being the last, is done to a share of it."""
        done = sum(self.shares[:number]) + self.shares[number] * min(1.0, share)
        return self.meter.advance_to(done * (self.meter.total or 0.0))

    def _divide(self, found: Round, divided: Split, report: CleaningReport) -> Generator[Event, None, CleaningReport]:
        """Write the two sides, and complete the report by what they hold."""
        samples = Samples()
        sides = {"train": TextSize(), "validation": TextSize()}
        meter = self.out.path / ".outputs-meter.tmp"
        meter.write_bytes(b"")
        budget = max(2**16, BUDGET * SHARD_BYTES // max(SHARD_BYTES, report.after.bytes))

        def prepared() -> Iterator[Output]:
            for number, output in enumerate(outputs(found, divided, SHARD_BYTES)):
                output.meter, output.number = str(meter), number
                name = shard_name(output.side, output.index, "parquet")
                output.written = name in self.out.published
                output.path = str(self.out.path / (name if output.written else f".{name}.{os.getpid()}.tmp"))
                output.seed, output.budget, output.rarity = self.recipe.seed, budget, rarity_for(report.after.bytes)
                yield output

        for item in self.processes.map_ordered(write, prepared(), PULSE):
            if item is not None:
                output, sample = item
                if not output.written:
                    facts: Facts = {"documents": output.documents, "bytes": output.bytes}
                    name = shard_name(output.side, output.index, "parquet")
                    publish = partial(self.out.publish, name, partial(Path.replace, Path(output.path)), facts)
                    yield from run_in_thread(publish, self.meter, join=True)
                side = sides[output.side]
                sides[output.side] = TextSize(
                    documents=side.documents + output.documents, bytes=side.bytes + output.bytes
                )
                samples.add(output.side, sample)
            written = float(np.fromfile(meter, "<f8").sum())
            yield from self._tell(len(self.phases), written / max(1, report.after.bytes))
        meter.unlink()
        held_out, leaked = samples.leak()
        return replace(
            report,
            train=sides["train"],
            validation=sides["validation"],
            lines=tuple(LineCount(line=line, count=count) for line, count in samples.frequent(_REPORTED)),
            sampled=samples.sampled,
            held_out_lines=held_out,
            leaked_lines=leaked,
        )


def _write_report(path: Path, report: CleaningReport) -> None:
    content = msgspec.to_builtins(report)
    for clock in ("at", "tick", "type"):
        # the same documents give the same file
        content.pop(clock)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")
