"""The second stage: clean the documents, and hold some of them out for validation."""

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
from core.preprocess.dedup import RemainingText, find_repeated_lines, mark_duplicates, split_documents
from core.preprocess.line_statistics import BUDGET, LineStatistics, rarity_of
from core.preprocess.output import OutputShard, plan_outputs, write_output
from core.preprocess.phase_result import PhaseResult
from core.preprocess.phase_runner import POLL_SECONDS, run_phase, shard_file_names
from core.preprocess.phases import WRITE_OUTPUT, Phase, plan_phases
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
"""Format version: changes when the same documents and recipe give other clean documents."""

SMALL = 32 * 2**20
"""Bytes of text that one process cleans before others would have started."""
PROCESS_BYTES = 256 * 2**20
"""Maximum memory of each process, on ordinary text."""
_REPORTED = 20


class EmptyCorpusError(LlmtuiError):
    """The cleaning steps removed all text."""

    doing = "clean the documents"


def preprocess(
    recipe: Preprocess, documents: Artifact, out: Staging, *, processes: int | None = None
) -> Generator[Event, None, Artifact]:
    """Clean documents into disjoint `train-*.parquet` and `validation-*.parquet`, with statistics in `report.json`.

    Reads the documents once per phase of the recipe (`phases`), shard by shard, then splits them. Resumes after the
    last complete shard. The result does not depend on `processes`; by default small corpora are cleaned in this
    process. Needs disk space for twice the compressed text. Yields Progress in bytes of the documents, linear in time,
    and at the end a CleaningReport. Facts: train_documents, validation_documents, train_bytes, validation_bytes,
    removed (documents). Raises EmptyCorpusError if no text remains, CorpusTooSmallError if it is too short to split.
    """
    return (yield from _Preprocessor(recipe, documents, out, processes).run())


class _Preprocessor:
    def __init__(self, recipe: Preprocess, documents: Artifact, out: Staging, processes: int | None) -> None:
        self.recipe, self.documents, self.out = recipe, documents, out
        size = int(documents.facts["bytes"])
        self.processes = WorkerPool(processes or (1 if size < SMALL else worker_count(PROCESS_BYTES)))
        self.phases = plan_phases(recipe.steps)
        weights = [phase.nanoseconds(recipe.steps) for phase in self.phases] + [WRITE_OUTPUT]
        self.shares = [weight / sum(weights) for weight in weights]
        """Share of the time of each phase, and of writing the outputs."""
        self.meter = ProgressMeter(float(size))
        self.counts = {index: [0, 0, 0] for index in range(len(recipe.steps))}

    def run(self) -> Generator[Event, None, Artifact]:
        if "report.json" in self.out.published:
            return self._finish()
        with self.processes:
            return (yield from self._run())

    def _run(self) -> Generator[Event, None, Artifact]:
        phase_result: PhaseResult | None = None
        before = left = TextSize()
        lengths: tuple[int, ...] = ()
        for phase in self.phases:
            phase_result = yield from self._phase(phase, phase_result)
            read = [
                sum(numbers) for numbers in zip(*(result.read for result in phase_result.results), strict=True)
            ] or [0] * 3
            before = before if phase.number else TextSize(documents=read[0], bytes=read[1], characters=read[2])
            remaining = RemainingText(phase_result)
            left, lengths = remaining.left, remaining.lengths
            for index, numbers in remaining.counts.items():
                self.counts[index] = numbers
        assert phase_result is not None
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
            chosen = split_documents(phase_result, left)
        except CorpusTooSmallError:
            yield report  # it may show why so little is left
            raise
        report = replace(report, split="document" if chosen.by_document else "tail")
        report = yield from self._write_splits(phase_result, chosen, report)
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
        """Delete the intermediate files, and publish the artifact."""
        kept = ("train-", "validation-", "report.json")
        self.out.discard(*(name for name in self.out.published if not name.startswith(kept)))
        return self.out.finish(self.out.published["report.json"].facts)

    def _phase(self, phase: Phase, before: PhaseResult | None) -> Generator[Event, None, PhaseResult]:
        """Run one phase over all documents."""
        sources = self.documents.files("documents-*.parquet") if before is None else before.texts
        size = self.meter.total if before is None else float(before.bytes)
        repeated_windows: list[Path] = []
        if before is not None and before.phase.next_reshape == "duplicate_lines":
            with closing(iterate_in_thread(find_repeated_lines(before, self.out))) as found_files:
                for file in found_files:
                    repeated_windows += [file] if file else []
                    yield from self.meter.advance(0)
        if any(shard_file_names(phase, shard)[1] not in self.out.published for shard in range(len(sources))):
            work = run_phase(phase, self.recipe, sources, before, repeated_windows, self.out, self.processes)
            with closing(work):
                for done in work:
                    yield from self._progress(phase.number, done / max(1.0, size or 0.0))
        yield from self._progress(phase.number, 1)
        if before is not None:
            self.out.discard(*(path.name for path in before.texts))
        phase_result = PhaseResult(
            phase,
            self.recipe,
            *(
                [self.out.path / shard_file_names(phase, shard)[side] for shard in range(len(sources))]
                for side in (0, 1)
            ),
        )
        with closing(iterate_in_thread(mark_duplicates(phase_result))) as pauses:
            for _ in pauses:
                yield from self.meter.advance(0)
        return phase_result

    def _progress(self, number: int, share: float) -> tuple[Event, ...]:
        """Progress when `share` of phase `number`, of which writing the outputs is the last, is done."""
        done = sum(self.shares[:number]) + self.shares[number] * min(1.0, share)
        return self.meter.advance_to(done * (self.meter.total or 0.0))

    def _write_splits(
        self, phase_result: PhaseResult, chosen: Split, report: CleaningReport
    ) -> Generator[Event, None, CleaningReport]:
        """Write the two splits, and complete the report with their statistics."""
        samples = LineStatistics()
        sides = {"train": TextSize(), "validation": TextSize()}
        meter = self.out.path / ".outputs-meter.tmp"
        meter.write_bytes(b"")
        budget = max(2**16, BUDGET * SHARD_BYTES // max(SHARD_BYTES, report.after.bytes))

        def outputs() -> Iterator[OutputShard]:
            for number, output in enumerate(plan_outputs(phase_result, chosen, SHARD_BYTES)):
                output.meter, output.number = str(meter), number
                name = shard_name(output.side, output.index, "parquet")
                output.written = name in self.out.published
                output.path = str(self.out.path / (name if output.written else f".{name}.{os.getpid()}.tmp"))
                output.seed, output.budget, output.rarity = self.recipe.seed, budget, rarity_of(report.after.bytes)
                yield output

        for item in self.processes.map_ordered(write_output, outputs(), POLL_SECONDS):
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
            yield from self._progress(len(self.phases), written / max(1, report.after.bytes))
        meter.unlink()
        held_out, leaked = samples.leaked_lines()
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
