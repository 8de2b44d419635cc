"""Scaling: the frontier, the law through it, and the size that it suggests."""

from __future__ import annotations

import numpy as np
import pytest

from core.tune.scaling import scaling
from core.tune.trials import Trial, TrialEnded


def trial(number: int, flops: float, size: float, bits: float) -> Trial:
    ended = TrialEnded(
        number=number,
        outcome="done",
        bits_per_byte=bits,
        flops=flops,
        parameters=round(size),
        tokens=round(flops / (6 * size)),
    )
    return Trial(number=number, run_id="run", values={}, seed=1, origin="sampled", ended=ended)


def chinchilla(size: float, flops: float) -> float:
    """E + A/N^0.34 + B/D^0.28, with constants such that the best size is near 1e6 at 1e15 FLOPs."""
    tokens = flops / (6 * size)
    return 0.8 + 60 / size**0.34 + 40 / tokens**0.28


def test_the_frontier_follows_the_best_size_of_each_compute_and_suggests_one_for_more() -> None:
    sizes = np.geomspace(1e4, 1e8, 33)
    trials = [
        trial(number, flops, size, chinchilla(size, flops))
        for number, (flops, size) in enumerate((flops, size) for flops in np.geomspace(1e12, 1e16, 9) for size in sizes)
    ]
    found = scaling([("study", trials)])
    assert len(found.points) == 9 * 33 and len(found.frontier) == 9
    suggestion = found.suggest(1e17)
    assert suggestion is not None and suggestion.parameters is not None and suggestion.tokens is not None
    many = np.geomspace(1e4, 1e9, 2001)
    best = many[np.argmin([chinchilla(size, 1e17) for size in many])]
    assert suggestion.parameters.value == pytest.approx(best, rel=0.3)
    assert suggestion.parameters.low < best < suggestion.parameters.high
    assert suggestion.bits_per_byte.value == pytest.approx(chinchilla(best, 1e17), abs=0.02)
    assert 6 * suggestion.parameters.value * suggestion.tokens.value == pytest.approx(1e17, rel=1e-3)


def test_too_few_points_or_sizes_suggest_nothing() -> None:
    few = scaling([("study", [trial(n, 10.0**n, 1e5, 3 - n / 10) for n in range(12, 15)])])
    assert few.fit is None and few.suggest(1e16) is None
    one_size = scaling([("study", [trial(n, 10.0**n, 1e5, 1 + 3 / n) for n in range(10, 20)])])
    suggestion = one_size.suggest(1e20)
    assert suggestion is not None and suggestion.parameters is None and suggestion.tokens is None


def test_trials_without_compute_or_a_result_are_left_out_and_studies_are_joined() -> None:
    failed = Trial(number=1, run_id="run", values={}, seed=1, origin="sampled")
    known = trial(2, 1e12, 1e5, 2.0)
    found = scaling([("a", [failed, known]), ("b", [trial(1, 1e11, 1e4, 1.5)])])
    assert [(point.study, point.number) for point in found.points] == [("b", 1), ("a", 2)]
    assert [point.study for point in found.frontier] == ["b"]
