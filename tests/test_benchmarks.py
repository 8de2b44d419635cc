"""The harness measures fairly and says when a target is missed."""

from __future__ import annotations

import json

import pytest

from benchmarks.harness import Figure, Options, interleaved, report


def test_contenders_take_turns_and_medians_come_back() -> None:
    order: list[str] = []
    readings = {"a": iter([5.0, 1.0, 3.0]), "b": iter([9.0, 7.0, 8.0])}

    def contender(name: str) -> dict[str, float]:
        order.append(name)
        return {"seconds": next(readings[name])}

    found = interleaved({"a": lambda: contender("a"), "b": lambda: contender("b")}, rounds=3)
    assert order == ["a", "b"] * 3
    assert found == {"a": {"seconds": 3.0}, "b": {"seconds": 8.0}}


@pytest.mark.parametrize(("value", "code"), [(0.5, 0), (0.51, 1)])
def test_report_ends_with_one_when_a_figure_falls_short(
    value: float, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = [Figure(name="start", value=value, unit="s", at_most=0.5), Figure(name="told", value=1e9, unit="B")]
    assert report(figures, Options(as_json=True, quick=True, text=None)) == code
    told = json.loads(capsys.readouterr().out)
    assert [figure["met"] for figure in told["figures"]] == [code == 0, True]
    assert told["machine"]["float32 matmul GFLOP/s"] > 0.1
    assert told["machine"]["memory copy GB/s"] > 0.1
