"""Runs a phase over all shards, in this process or in several; finished shards are skipped on resume."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from core.preprocess.phase_result import PhaseResult
from core.preprocess.phases import Phase
from core.preprocess.shard import ShardTask, clean_shard, iter_clean_shard, text_bytes
from core.processes.pool import WorkerPool
from core.processes.progress import ProgressMeter
from core.processes.threads import run_in_thread
from core.recipe.schema import Preprocess
from core.storage.artifact import Staging

POLL_SECONDS = 0.3
"""Seconds between two reads of the progress of the processes."""


def shard_file_names(phase: Phase, shard: int) -> tuple[str, str]:
    """Names of the two files that a phase writes for a shard: text and keys."""
    return f"{phase.number}-text-{shard:05d}", f"{phase.number}-keys-{shard:05d}"


def run_phase(
    phase: Phase,
    recipe: Preprocess,
    sources: Sequence[Path],
    before: PhaseResult | None,
    repeated_windows: Sequence[Path],
    out: Staging,
    processes: WorkerPool,
) -> Generator[float, None, None]:
    """Run a phase on the shards `sources`, except those that are published already.

    before: result of the phase before, which wrote the sources. repeated_windows: files of
    `dedup.find_repeated_lines`. Yields the bytes of the sources that are done, from time to time.
    """
    meter = out.path / f".{phase.number}-meter.tmp"
    meter.write_bytes(bytes(8 * len(sources)))

    def tasks() -> Iterator[ShardTask]:
        for shard, source in enumerate(sources):
            if shard_file_names(phase, shard)[1] in out.published:
                continue
            marks = np.zeros(0, np.uint16) if before is None else before.removed_in_shard(shard)
            # with our pid: a process of a killed attempt may still be running
            text, keys = (out.path / f".{name}.{os.getpid()}.tmp" for name in shard_file_names(phase, shard))
            yield ShardTask(
                shard=shard,
                phase=phase,
                recipe=recipe,
                source=str(source),
                continues=continues(sources, shard),
                removed=np.packbits(marks != 0).tobytes(),
                before="" if before is None else str(before.keys[shard]),
                repeated_windows=tuple(map(str, repeated_windows)),
                text=str(text),
                keys=str(keys),
                meter=str(meter),
            )

    def publish(task: ShardTask) -> None:
        # the keys last: their presence means that the shard is complete
        for name, written in zip(shard_file_names(phase, task.shard), (task.text, task.keys), strict=True):
            out.publish(name, partial(Path.replace, Path(written)))

    skipped = [
        Path(source) for shard, source in enumerate(sources) if shard_file_names(phase, shard)[1] in out.published
    ]
    done = float(sum(map(text_bytes, skipped)))
    yield done
    if processes.count == 1:
        for task in tasks():
            here = 0
            for here in iter_clean_shard(task):
                yield done + here
            done += here
            for _ in run_in_thread(partial(publish, task), ProgressMeter(None), join=True):
                yield done
    else:
        for finished in processes.map_ordered(clean_shard, tasks(), POLL_SECONDS):
            if finished is not None:
                # the disk may be busy with earlier writes for seconds
                for _ in run_in_thread(partial(publish, finished[0]), ProgressMeter(None), join=True):
                    yield done + float(np.fromfile(meter, "<f8").sum())
            yield done + float(np.fromfile(meter, "<f8").sum())
    meter.unlink()


def continues(sources: Sequence[Path], shard: int) -> bool:
    """Whether the first row after a shard is another part of its last document."""
    for path in sources[shard + 1 :]:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1, columns=["part"]):
                return bool(batch.column(0)[0].as_py() > 0)
    return False
