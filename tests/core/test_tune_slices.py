"""What the results of a study say about each field, and its best result over time."""

from __future__ import annotations

import math
from typing import Any

from core.recipe.file import load
from core.tune.slices import arrivals, improvements, slices
from core.tune.space import read_space
from core.tune.trials import Trial, TrialEnded, TrialPaused

RECIPE = load(base={"name": "study", "source": {"corpus": "stdlib"}, "train": {"optimizer": "adamw"}})


def trial(number: int, values: dict[str, Any], bits: float | None, seconds: float = 10.0) -> Trial:
    outcome: Any = "failed" if bits is None else "done"
    ended = TrialEnded(number=number, outcome=outcome, bits_per_byte=bits, seconds=seconds, at=100.0 * number)
    return Trial(number=number, run_id=f"run-{number}", values=values, seed=1, origin="sampled", ended=ended)


def test_a_range_is_divided_into_parts_of_equal_width_of_its_scale() -> None:
    space = read_space({"train.lr": {"low": 1e-5, "high": 1.0, "log": True}}, RECIPE)
    rates = [10 ** (-5 + 0.25 * index) for index in range(21)]
    found = slices(space, RECIPE, [trial(n, {"train.lr": rate}, 2 + n / 100) for n, rate in enumerate(rates)])
    assert [each.key for each in found] == ["train.lr"] and found[0].log and found[0].is_numeric
    assert [group.n for group in found[0].groups] == [4, 4, 4, 4, 5]  # a decade each, and the upper end
    assert found[0].groups[0].low == 1e-5 and found[0].groups[-1].high == 1.0
    assert found[0].groups[1].best == 2.04 and math.isclose(found[0].groups[1].median, 2.055)
    assert [point.value for point in found[0].points] == sorted(rates)


def test_values_of_a_list_keep_its_order_and_trials_without_the_field_are_left_out() -> None:
    muon = {"low": 0.01, "high": 0.02, "when": {"train.optimizer": "muon"}}
    space = read_space({"train.optimizer": ["muon", "adamw"], "train.muon_lr": muon}, RECIPE)
    trials = [
        trial(1, {"train.optimizer": "adamw"}, 1.5),
        trial(2, {"train.optimizer": "muon", "train.muon_lr": 0.01}, 1.25),
        trial(3, {"train.optimizer": "muon", "train.muon_lr": 0.015}, None),
        trial(4, {}, 1.75),  # inserted by hand: the recipe's adamw
    ]
    optimizer, rate = slices(space, RECIPE, trials)
    assert [(group.low, group.n, group.best) for group in optimizer.groups] == [("muon", 1, 1.25), ("adamw", 2, 1.5)]
    assert not optimizer.is_numeric
    assert [(point.number, point.value) for point in rate.points] == [(2, 0.01)]


def test_a_few_whole_numbers_are_a_group_each_and_values_outside_the_range_too() -> None:
    space = read_space({"model.n_layer": {"low": 2, "high": 5}, "train.weight_decay": {"low": 0.01, "high": 1}}, RECIPE)
    trials = [
        trial(n, {"model.n_layer": layers, "train.weight_decay": decay}, 2.0)
        for n, (layers, decay) in enumerate([(2, 0.0), (3, 0.01), (5, 1.0), (9, 2.0)])
    ]
    layers, decay = slices(space, RECIPE, trials)
    assert [group.low for group in layers.groups] == [2, 3, 5, 9]
    assert [(group.low, group.high) for group in decay.groups] == [(0.0, 0.0), (0.01, 0.01), (1.0, 1.0), (2.0, 2.0)]


def test_improvements_are_counted_over_all_trials_that_ended() -> None:
    trials = [trial(1, {}, 2.0), trial(2, {}, None, 5.0), trial(3, {}, 2.5), trial(4, {}, 1.5)]
    running = Trial(number=5, run_id="run-5", values={}, seed=1, origin="sampled")
    assert [tuple(each) for each in improvements([running, *reversed(trials)])] == [
        (1, 2.0, 1, 10.0, 100.0),
        (4, 1.5, 4, 35.0, 400.0),
    ]
    assert improvements([running]) == []


def at_rung(number: int, values: dict[str, Any], bits: float, ended: TrialEnded | None = None) -> Trial:
    rung = TrialPaused(number=number, share=1 / 9, bits_per_byte=bits, seconds=1.0, at=10.0 * number)
    rungs = [rung]
    return Trial(
        number=number, run_id=f"run-{number}", values=values, seed=1, origin="sampled", rungs=rungs, ended=ended
    )


def test_results_at_a_rung_count_where_more_trials_have_one_than_are_done() -> None:
    space = read_space({"model.n_layer": [2, 4]}, RECIPE)
    done = TrialEnded(number=2, outcome="done", bits_per_byte=1.5, seconds=9.0, at=500.0)
    trials = [
        at_rung(1, {"model.n_layer": 2}, 3.0),
        at_rung(2, {"model.n_layer": 4}, 2.5, done),
        at_rung(3, {"model.n_layer": 4}, 2.75),
        trial(4, {"model.n_layer": 2}, None),
    ]
    (layers,) = slices(space, RECIPE, trials)
    assert layers.share == 1 / 9
    assert [(group.low, group.n, group.best) for group in layers.groups] == [(2, 1, 3.0), (4, 2, 2.5)]
    assert [tuple(each) for each in improvements(trials, 1 / 9)] == [(1, 3.0, 1, 1.0, 10.0), (2, 2.5, 2, 2.0, 20.0)]
    assert arrivals(trials, 1 / 9) == [1, 2, 3, 4]
    assert [tuple(each) for each in improvements(trials)] == [(2, 1.5, 2, 21.0, 500.0)], "with those that wait"
