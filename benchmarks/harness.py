"""Shared code of the benchmarks: interleaved rounds, medians, targets, and the limits of the machine."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct, structs

LLMTUI = (sys.executable, "-P", "-c", "from llmtui.cli.main import main; main()")
"""The program, as its script starts it."""

Measurement = Mapping[str, float]
"""The measurements of one round of one contender, by name."""


class Figure(Struct, frozen=True, kw_only=True):
    """One number that the project claims something about."""

    name: str
    value: float
    unit: str
    at_most: float | None = None
    """The target, as `at_least` is one; neither: a reference for others, without a target."""
    at_least: float | None = None
    ratio: float | None = None
    """To the reference measured in the same run."""

    @property
    def met(self) -> bool:
        low_enough = self.at_most is None or self.value <= self.at_most
        return low_enough and (self.at_least is None or self.value >= self.at_least)

    @property
    def target(self) -> str:
        bounds = {"≥": self.at_least, "≤": self.at_most}
        return " ".join(f"{sign} {_number(bound)}" for sign, bound in bounds.items() if bound is not None)


class Options(Struct, frozen=True, kw_only=True):
    as_json: bool
    quick: bool
    """Fewer or shorter rounds: does it still work, rather than how fast is it."""
    text: Path | None
    """A file that some benchmarks need and the project does not include."""


def options(about: str | None) -> Options:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--quick", action="store_true", help="fewer or shorter rounds")
    parser.add_argument("--text", type=Path, help="tiny Shakespeare (input.txt of char-rnn), where it is measured")
    chosen = parser.parse_args()
    return Options(as_json=chosen.json, quick=chosen.quick, text=chosen.text)


def interleaved(contenders: Mapping[str, Callable[[], Measurement]], rounds: int) -> dict[str, dict[str, float]]:
    """Median of each thing each contender measures. They take turns, so that a slow minute hurts all alike.

    A contender is a call that starts a process of its own and measures it.
    """
    measurements: dict[str, list[Measurement]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, measure in contenders.items():
            measurements[name].append(measure())
    return {
        name: {key: statistics.median(one[key] for one in measured) for key in measured[0]}
        for name, measured in measurements.items()
    }


def limits() -> dict[str, float]:
    """What the machine can do, measured in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.limits"]
    answer: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return answer


@contextlib.contextmanager
def home() -> Iterator[Path]:
    """An empty LLMTUI_HOME for this process and those it starts; deleted afterwards."""
    before = os.environ.get("LLMTUI_HOME")
    with tempfile.TemporaryDirectory(prefix="llmtui-benchmark-") as directory:
        os.environ["LLMTUI_HOME"] = directory
        try:
            yield Path(directory)
        finally:
            if before is None:
                del os.environ["LLMTUI_HOME"]
            else:
                os.environ["LLMTUI_HOME"] = before


def report(figures: Sequence[Figure], chosen: Options, table: Mapping[str, Measurement] | None = None) -> int:
    """Print the figures beside the machine's limits; the exit code: 1 when one falls short of its target.

    table: what the figures come from, to be shown above them: of each row's name its values by column, the same in all.
    """
    machine = limits()
    if chosen.as_json:
        rows_of_figures = [structs.asdict(figure) | {"met": figure.met} for figure in figures]
        rows = {"table": table} if table else {}
        print(json.dumps({"schema": 1, "quick": chosen.quick, "machine": machine, "figures": rows_of_figures} | rows))
    else:
        if table:
            columns = list(next(iter(table.values())))
            _print([("", *columns), *((name, *(_number(row[key]) for key in columns)) for name, row in table.items())])
            print()
        _print([("", "measured", "target", "ratio", ""), *map(_row, figures)])
        print("\nthis machine: " + ", ".join(f"{_number(value)} {name}" for name, value in machine.items()))
    return int(not all(figure.met for figure in figures))


def _print(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *cells in rows:
        aligned = [name.ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells, widths[1:], strict=True))]
        print("  ".join(aligned).rstrip())


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _row(figure: Figure) -> tuple[str, ...]:
    return (
        figure.name,
        f"{_number(figure.value)} {figure.unit}",
        figure.target,
        f"{figure.ratio:.2f}" if figure.ratio is not None else "",
        "" if not figure.target else "met" if figure.met else "SHORT",
    )
