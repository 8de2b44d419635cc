"""How fast, in how much memory and with how accurate a progress a corpus is read, cleaned and tokenized.

64 MB of English from this machine's documentation, in documents of about 4 kB; each contender in a process of its
own, in turns, medians of three rounds; then once the same eight times as large. Memory is that of all processes
together (PSS). Time left: how far the stage's own estimate was from the truth, as a share of all its time, in the
worst of nine of ten moments after the first fifth. The hub is a stand-in on loopback. Needs GPT-2's vocabulary.

Two cores of an AMD EPYC (Zen 5), November 2026; a row a stage, the targets in brackets:

                                MB/s        memory in MiB       time left off by   longest silence
                                            64 MB, 512 MB (1,024)  (10 %)           (1 s)
    read JSON lines             133         266, 302               3.1 %            0.30 s
    read Parquet from the hub   112 (100)   320, 420               4.1 %            0.31 s
    clean by default            32.6 (25)   605, 608               7.3 %            0.45 s
    clean, near-duplicates too  20.3 (5)    642, 655               6.0 %            0.45 s
    tokenize, gpt2              29.0        242, 268               6.9 %            0.29 s

Tokenizing is 3.9 times as fast as `datasets.map` in two processes (3), 1.6 times as fast as two processes of plain
tiktoken (1), in 254 MB (400). On 512 MB, where starting processes does not count, the default cleaning does 80 MB/s.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import psutil

from benchmarks.english import varied
from benchmarks.harness import Figure, Measurement, home, interleaved, options, report
from tests.core.hub_standin import environment

MEGABYTES = 64
OURS = ("read_jsonl", "read_hub", "clean", "clean_near", "tokenize_ours")
OTHERS = ("tokenize_pool", "tokenize_datasets")


def run(name: str, directory: Path, more: Mapping[str, str]) -> Measurement:
    """What the contender found, and the most memory its processes had together, in bytes."""
    command = [sys.executable, "-m", "benchmarks.data_work", name, str(directory)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **more})
    peak = 0
    while process.poll() is None:
        peak = max(peak, _memory(process.pid))
        time.sleep(0.05)
    assert process.stdout is not None
    if process.returncode:
        raise SystemExit(f"{name} failed with exit code {process.returncode}")
    return {**json.loads(process.stdout.read()), "peak": float(peak)}


def _memory(pid: int) -> int:
    """Memory of a process and its descendants; shared pages count once."""
    total = 0
    try:
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            total += process.memory_full_info().pss
    except psutil.Error:
        pass  # one ended between two questions
    return total


def write_parquet(text: Path, repository: Path, shards: int = 4) -> None:
    """The documents of a JSON lines file as a hub data set of several Parquet files."""
    import pyarrow as pa
    import pyarrow.json
    import pyarrow.parquet as pq

    table = pyarrow.json.read_json(text)
    rows = -(-len(table) // shards)
    (repository / "data").mkdir(parents=True)
    for number in range(shards):
        shard: pa.Table = table.slice(number * rows, rows)
        pq.write_table(shard, repository / "data" / f"train-{number:05d}-of-{shards:05d}.parquet", row_group_size=1000)


def measured(size: int, names: Sequence[str], rounds: int) -> tuple[float, dict[str, dict[str, float]]]:
    """Megabytes of a corpus of about `size` of them, and what each contender found on it."""
    with home() as directory:
        bytes_ = 0
        with (directory / "text.jsonl").open("w") as file:
            for text in varied(size * 1_000_000):
                file.write(json.dumps({"text": text}) + "\n")
                bytes_ += len(text.encode())
        write_parquet(directory / "text.jsonl", directory / "hub")
        server = [sys.executable, "-m", "tests.core.hub_standin", "bench/text", str(directory / "hub")]
        with subprocess.Popen(server, stdout=subprocess.PIPE, text=True) as hub:
            assert hub.stdout is not None
            try:
                endpoint = environment(hub.stdout.readline().strip(), directory / "hf")
                contenders = {name: partial(run, name, directory, endpoint) for name in names}
                return bytes_ / 1e6, interleaved(contenders, rounds)
            finally:
                hub.terminate()


def main() -> int:
    chosen = options(__doc__)
    size = MEGABYTES // 8 if chosen.quick else MEGABYTES
    megabytes, medians = measured(size, (*OURS, *OTHERS), 1 if chosen.quick else 3)
    speed = {name: megabytes / one["seconds"] for name, one in medians.items()}
    _, large = measured(8 * size, OURS, 1)
    return report(
        [
            Figure(name="read JSON lines", value=speed["read_jsonl"], unit="MB/s"),
            Figure(name="read Parquet from the hub", value=speed["read_hub"], unit="MB/s", at_least=100),
            Figure(name="clean by default", value=speed["clean"], unit="MB/s", at_least=25),
            Figure(name="clean, near-duplicates too", value=speed["clean_near"], unit="MB/s", at_least=5),
            Figure(name="datasets.map in two processes", value=speed["tokenize_datasets"], unit="MB/s"),
            Figure(name="two processes of tiktoken", value=speed["tokenize_pool"], unit="MB/s"),
            Figure(name="tokenize, gpt2", value=speed["tokenize_ours"], unit="MB/s"),
            *(
                Figure(name=f"… of {words}", value=speed["tokenize_ours"] / speed[other], unit="x", at_least=least)
                for words, other, least in (
                    ("datasets.map", "tokenize_datasets", 3.0),
                    ("two processes of tiktoken", "tokenize_pool", 1.0),
                )
            ),
            Figure(name="… in memory", value=medians["tokenize_ours"]["peak"] / 1e6, unit="MB", at_most=400),
            *(figure for name in OURS for figure in _about(name, medians[name], large[name])),
        ],
        chosen,
    )


def _about(name: str, small: Mapping[str, float], large: Mapping[str, float]) -> Iterator[Figure]:
    """How a stage keeps within bounds, at both sizes, and how accurate its progress is at the larger."""
    for size, one in ((1, small), (8, large)):
        yield Figure(name=f"{name}, memory at {size}x", value=one["peak"] / 2**20, unit="MiB", at_most=1024)
    yield Figure(name=f"{name}, time left off by", value=100 * large["eta_error"], unit="%", at_most=10)
    yield Figure(name=f"{name}, longest silence", value=large["silence"], unit="s", at_most=1)


if __name__ == "__main__":
    sys.exit(main())
