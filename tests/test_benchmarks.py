"""The harness measures fairly and says when a target is missed; what is timed part by part adds up."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks import growth, harness, overhead, rungs
from benchmarks.harness import Figure, Options, interleaved, report

LIMITS = {"float32 matmul GFLOP/s": 100.0, "memory copy GB/s": 10.0}


def test_contenders_take_turns_and_medians_come_back() -> None:
    order: list[str] = []
    readings = {"a": iter([5.0, 1.0, 3.0]), "b": iter([9.0, 7.0, 8.0])}

    def contender(name: str) -> dict[str, float]:
        order.append(name)
        return {"seconds": next(readings[name])}

    medians = interleaved({"a": lambda: contender("a"), "b": lambda: contender("b")}, rounds=3)
    assert order == ["a", "b"] * 3
    assert medians == {"a": {"seconds": 3.0}, "b": {"seconds": 8.0}}


@pytest.mark.parametrize(("value", "code"), [(0.5, 0), (0.51, 1)])
def test_report_ends_with_one_when_a_figure_falls_short(
    value: float, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if code:  # it takes seconds; once is enough
        monkeypatch.setattr(harness, "limits", lambda: LIMITS)
    figures = [Figure(name="start", value=value, unit="s", at_most=0.5), Figure(name="told", value=1e9, unit="B")]
    assert report(figures, Options(as_json=True, quick=True, text=None)) == code
    report_json = json.loads(capsys.readouterr().out)
    assert [figure["met"] for figure in report_json["figures"]] == [code == 0, True]
    assert report_json["machine"]["float32 matmul GFLOP/s"] > 0.1
    assert report_json["machine"]["memory copy GB/s"] > 0.1


def test_a_table_stands_above_its_figures(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "limits", lambda: {"cores": 2.0})  # which takes seconds, and is tested above
    table = {"layers 2": {"tokens/s": 52_345.0, "head %": 12.3}, "layers 4": {"tokens/s": 26_001.0, "head %": 6.0}}
    figure = Figure(name="growth", value=2.01, unit="times", at_least=1.5, at_most=2.2)
    assert report([figure], Options(as_json=False, quick=True, text=None), table) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split() for line in shown[:3]] == [
        ["tokens/s", "head", "%"],
        ["layers", "2", "52,345", "12.3"],
        ["layers", "4", "26,001", "6"],
    ]
    assert "growth  2.01 times  ≥ 1.5 ≤ 2.2         met" in shown


def test_halving_loses_the_best_trial_only_if_a_rung_ranks_it_low() -> None:
    end = [1.0, 1.2, 1.5, 1.9, 2.0, 2.1, 2.2, 2.3, 2.4]
    assert rungs.rank_correlation(end, end) == 1
    assert rungs.rank_correlation(end, end[::-1]) == -1
    fair = [dict.fromkeys(rungs.RUNGS, loss) for loss in end]
    assert rungs.regret(fair, end) == 0
    unfair = [dict.fromkeys(rungs.RUNGS, 9.0), *fair[1:]]
    assert rungs.regret(unfair, end) == pytest.approx(0.2)


@pytest.mark.heavy
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_part_of_a_step_has_its_turn_and_they_add_up(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "cores", lambda: 1)  # this process keeps its number of threads
    medians = growth.one(growth.Shape(layers=2, width=64, length=32, sequences=2, vocabulary=65), precision, 0.0)
    assert all(medians[part] > 0 for part in growth.PARTS)
    assert sum(medians[part] for part in growth.PARTS) == pytest.approx(1)
    assert 0 < medians["back"] < 1 - medians[growth.OPTIMISER]


@pytest.mark.heavy
def test_parts_of_forward_and_backward_come_in_the_order_of_the_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, turns = growth.Clock(), list[tuple[str, bool]]()
    steps = growth.Steps(growth.Shape(layers=2, width=64, length=8, sequences=1, vocabulary=65), torch.float32)
    monkeypatch.setattr(clock, "start", lambda part, back=False: turns.append((part, back)))
    steps.timed(clock)
    rest, attention, feed_forward = growth.REST, growth.ATTENTION, growth.FEED_FORWARD
    layer = [rest, attention, rest, rest, feed_forward, rest]
    assert turns == [
        *((part, False) for part in [rest, *layer, *layer, growth.OUTPUT]),
        *((part, True) for part in [growth.OUTPUT, rest, *2 * [feed_forward, rest, attention, rest]]),
        (growth.OPTIMISER, False),
        (rest, False),
    ]
    before = len(turns)
    steps.plain()
    assert len(turns) == before  # the hooks are removed


@pytest.mark.heavy
def test_timing_a_step_by_part_changes_nothing_in_it() -> None:
    shape = growth.Shape(layers=1, width=64, length=16, sequences=2, vocabulary=65)
    weights = []
    for by_part in (False, True):
        torch.manual_seed(1)
        steps = growth.Steps(shape, torch.float32)
        for _ in range(2):
            steps.timed(growth.Clock()) if by_part else steps.plain()
        weights.append(steps.model.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_call_within_another_counts_with_the_outer_one() -> None:
    timer = overhead.CallTimer()
    inner = timer.timed("meter", lambda: None)
    timer.timed("live sampling", inner)()
    assert [part for part, seconds in timer.seconds.items() if seconds] == ["live sampling"]
    inner()
    assert [part for part, seconds in timer.seconds.items() if seconds] == ["meter", "live sampling"]
