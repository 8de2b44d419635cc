"""How often forecasts of the final loss hold: `python -m benchmarks.forecast [--text input.txt]`.

A small model is trained on generated stories (with --text: on that text by characters) with each schedule and learning
rate, one after the other. The journals are then read again up to shares of the training, and the forecast made from
each beginning is compared with the final evaluation: by the run alone, and corrected by the ends of the others with its
schedule, as the earlier trials of a study correct it.

--quick: a tenth of the steps; it shows that all of it works.
"""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.harness import LLMTUI, Figure, home, options, report
from core.events import AnyEvent, Evaluation, Metric
from core.runs.curves import Curves
from core.runs.directory import Run
from core.runs.lookup import all_runs
from core.storage.journal import JournalReader
from core.storage.workspace import Workspace
from core.tune.forecast import forecast_final

STEPS = 500
LRS = (4e-3, 2e-3, 1e-3)
SCHEDULES = ("cosine", "wsd", "constant")
SHARES = (0.3, 0.5, 0.7, 0.9)
MODEL = (
    *("model.n_layer=2", "model.n_head=2", "model.n_embd=64", "model.block_size=64", "train.batch_size=8"),
    *("train.evaluate_every=20", "train.evaluate_tokens=8192", "train.sample_every=100000", "sample.tokens=10"),
)


class Outcome(NamedTuple):
    """A forecast beside what came of it."""

    share: float
    """Of the training at which it was made."""
    error: float
    """Forecast less final loss, in bits per byte."""
    present_error: float
    """The last evaluation at that point less the final loss: what a person would go by otherwise."""
    width: float
    held: bool


def train(text: Path | None, steps: int, schedule: str, lr: float) -> None:
    what = [str(text), "--preset", "shakespeare"] if text else ["stories", "--set", "source.max_bytes=2_000_000"]
    settings = (*MODEL, f"train.steps={steps}", "train.minutes=1000", f"train.lr={lr}", f"train.schedule={schedule}")
    command = [*LLMTUI, "run", *what, *(part for setting in settings for part in ("--set", setting))]
    subprocess.run(command, check=True, capture_output=True)


def recorded(run: Run) -> list[AnyEvent]:
    return list(JournalReader(run.journal).iter_events())


def curves_of(events: Sequence[AnyEvent]) -> Curves:
    curves = Curves()
    for event in events:
        curves.absorb(event)
    return curves


def outcomes(events: Sequence[AnyEvent], evaluate_tokens: int, earlier: Sequence[Curves] = ()) -> Iterator[Outcome]:
    """The forecasts from the beginnings of a run that is done. earlier: see `forecast_final`."""
    final = next(event.bits_per_byte for event in events if isinstance(event, Evaluation) and event.final)
    curves, shares = Curves(), list(SHARES)
    for event in events:
        curves.absorb(event)
        if not (isinstance(event, Metric) and shares and event.progress >= shares[0]):
            continue
        share, found = shares.pop(0), forecast_final(curves, evaluate_tokens, earlier)
        if found is not None and curves.val_bits.last is not None:
            low, high = found.final.low, found.final.high
            present = curves.val_bits.last - final
            yield Outcome(share, found.final.value - final, present, high - low, low <= final <= high)


def compared(groups: Sequence[Sequence[tuple[Sequence[AnyEvent], int]]]) -> dict[str, list[Outcome]]:
    """The forecasts of all runs by themselves, and corrected by the others of their group.

    groups: runs with the same data and schedule: the events of each, and its train.evaluate_tokens.
    """
    found: dict[str, list[Outcome]] = {"alone": [], "corrected": []}
    for group in groups:
        curves = [curves_of(events) for events, _ in group]
        for index, (events, tokens) in enumerate(group):
            others = [*curves[:index], *curves[index + 1 :]]
            found["alone"] += outcomes(events, tokens)
            found["corrected"] += outcomes(events, tokens, others)
    return found


def table_of(found: Mapping[str, Sequence[Outcome]]) -> dict[str, dict[str, float]]:
    return {
        f"{way}, at {share:.0%}": {
            "forecasts": float(len(mine)),
            "error": statistics.fmean(abs(one.error) for one in mine),
            "bias": statistics.fmean(one.error for one in mine),
            "last evaluation": statistics.fmean(abs(one.present_error) for one in mine),
            "interval": statistics.fmean(one.width for one in mine),
            "held %": 100 * statistics.fmean(one.held for one in mine),
        }
        for way, all_of_them in found.items()
        for share in SHARES
        if (mine := [one for one in all_of_them if one.share == share])
    }


def main() -> int:
    chosen = options(__doc__)
    steps = STEPS // 10 if chosen.quick else STEPS
    with home():
        for schedule in SCHEDULES:
            for lr in LRS:
                train(chosen.text and chosen.text.resolve(), steps, schedule, lr)
        runs = all_runs(Workspace())
        groups = [
            [(recorded(run), run.recipe.train.evaluate_tokens) for run in runs if run.recipe.train.schedule == schedule]
            for schedule in SCHEDULES
        ]
        found = compared(groups)
    figures = [
        Figure(
            name=f"90 % intervals that hold, {way}",
            value=statistics.fmean(one.held for one in mine),
            unit="",
            at_least=None if chosen.quick else 0.8,
        )
        for way, mine in found.items()
    ]
    return report(figures, chosen, table_of(found))


if __name__ == "__main__":
    raise SystemExit(main())
