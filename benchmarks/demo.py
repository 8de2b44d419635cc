"""The demo as a stranger sees it: seconds from the command to the final sample, memory, how well the model does.

--quick trains for ten seconds, which shows that it works; the model's figure then has no target.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

from benchmarks.harness import LLMTUI, Figure, home, options, report
from benchmarks.quality import XZ


def peak_memory(process: psutil.Process) -> int:
    """Most bytes the process ever had in memory; where the system does not say, those it has now."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, IndexError):
        return int(process.memory_info().rss)


def ours(home_directory: Path) -> list[psutil.Process]:
    """The processes of this benchmark's runs: detached ones are nobody's children, but they work in its home."""
    processes = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(home_directory):
                processes.append(process)
        except psutil.Error:
            continue
    return processes


def main() -> int:
    chosen = options(__doc__)
    shorter = ["--set", "train.minutes=0.17"] if chosen.quick else []
    with home() as directory:
        began, peak = time.perf_counter(), 0
        demo = subprocess.Popen([*LLMTUI, "demo", "--plain", *shorter], cwd=directory, stdout=subprocess.DEVNULL)
        while demo.poll() is None:
            for process in ours(directory):
                try:
                    peak = max(peak, peak_memory(process))
                except psutil.Error:
                    continue  # it ended between the two questions
            time.sleep(0.2)
        seconds = time.perf_counter() - began
        if demo.returncode:
            print(f"the demo failed with exit code {demo.returncode}", file=sys.stderr)
            return 1
        shown = subprocess.run([*LLMTUI, "show", "--json"], env=os.environ, capture_output=True, check=True)
    run = json.loads(shown.stdout)
    compression_baselines = run["summary"]["compression_baselines"]
    bits, metric = run["bits_per_byte"], run["summary"]["metric"]
    return report(
        [
            Figure(name="from command to final sample", value=seconds, unit="s", at_most=240),
            Figure(name="memory of the largest process", value=peak / 2**30, unit="GiB", at_most=2),
            Figure(name="gzip -9", value=compression_baselines["gzip -9"], unit="bits/byte"),
            Figure(name="xz -9", value=compression_baselines["xz -9"], unit="bits/byte"),
            Figure(
                name="the demo's model",
                value=bits,
                unit="bits/byte",
                at_most=None if chosen.quick else XZ * compression_baselines["xz -9"],
                ratio=bits / compression_baselines["xz -9"],
            ),
            Figure(name="training", value=metric["tokens"] / metric["seconds"], unit="tokens/s"),
        ],
        chosen,
    )


if __name__ == "__main__":
    sys.exit(main())
