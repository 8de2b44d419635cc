"""Which trials of a study train further: asynchronous successive halving (Li et al. 2018, arXiv:1810.05934).

A trial stops at rungs: shares of its training, each `eta` times the one before. There it is evaluated and saved, and
waits. The best one in `eta` of those that have reached a rung are promoted: they continue from their checkpoints, bit
for bit as if they had not stopped. So no trial is given up, and none waits for others to reach its rung.

Trials are compared at the same share of the same schedule, without a decay of their own: see docs/decisions.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from core.tune.study_file import Scheduler
from core.tune.trials import Trial


def rungs(scheduler: Scheduler) -> tuple[float, ...]:
    """The shares of a training at which trials wait, the first one first; its end is not among them."""
    shares: list[float] = []
    while scheduler.kind == "asha" and (share := scheduler.eta ** -(len(shares) + 1)) >= scheduler.minimum:
        shares.append(share)
    return tuple(reversed(shares))


def next_stop(scheduler: Scheduler, share: float = 0.0) -> float:
    """The share at which a trial stops next that has done `share` of its training; 1: its end."""
    return next((rung for rung in rungs(scheduler) if rung > share), 1.0)


def mean_share(scheduler: Scheduler) -> float:
    """The share of a training that a trial does on average: one in `eta` of those at a rung trains to the next."""
    shares = (0.0, *rungs(scheduler), 1.0)
    return sum((end - start) / float(scheduler.eta) ** index for index, (start, end) in enumerate(pairwise(shares)))


def promotable(scheduler: Scheduler, trials: Sequence[Trial]) -> Trial | None:
    """The trial to promote now, of the highest rung where one is among the best; None if there is none."""
    if scheduler.kind == "none":
        return None
    results = [(rung, trial) for trial in trials for rung in trial.rungs]
    for share in sorted({rung.share for rung, _ in results}, reverse=True):
        ranked = sorted(
            ((rung, trial) for rung, trial in results if rung.share == share),
            key=lambda pair: (pair[0].bits_per_byte, pair[1].number),
        )
        for rung, trial in ranked[: len(ranked) // scheduler.eta]:
            if trial.paused is rung:
                return trial
    return None


def finalist(trials: Sequence[Trial]) -> Trial | None:
    """The best of the waiting trials that have trained furthest, which is to give the study a result; None if a trial
    is done."""
    if any(trial.bits_per_byte is not None for trial in trials):
        return None
    return min((trial for trial in trials if trial.paused), key=_order, default=None)


def _order(trial: Trial) -> tuple[float, float, int]:
    assert trial.paused is not None
    return -trial.paused.share, trial.paused.bits_per_byte, trial.number


def comparable(trials: Sequence[Trial]) -> tuple[float, dict[int, float]]:
    """The share of their training that most trials have done, the furthest of several; their results there by number.

    1: the results of the trials that are done. Results further on are of the best alone, and say less of the fields
    that made them so.
    """
    results: dict[float, dict[int, float]] = {1.0: {}}
    for trial in trials:
        if trial.bits_per_byte is not None:
            results[1.0][trial.number] = trial.bits_per_byte
        for rung in trial.rungs:
            results.setdefault(rung.share, {})[trial.number] = rung.bits_per_byte
    share = max(results, key=lambda share: (len(results[share]), share))
    return share, results[share]
