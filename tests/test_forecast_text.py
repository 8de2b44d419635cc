"""What a recipe will take, as text."""

from __future__ import annotations

from core.recipe.file import load
from core.runs.measured_speed import MeasuredSpeed
from llmtui.view.forecast_text import about, forecast, rough_time

SPEED = MeasuredSpeed("bard\x1b[31m", "2 cores, bfloat16", 28_000_000, 5e11)


def test_a_forecast_has_parameters_memory_tokens_and_time_and_says_whose_speed_it_takes() -> None:
    recipe = load(preset="gpt2", overrides=["train.steps=10", "train.tokens=none", "train.batch_size=8"])
    rows = dict(forecast(recipe, [SPEED]).rows)
    assert rows["parameters"].startswith("124M: 12 layers, 12 heads, 768 wide")
    assert rows["tokens"] == "81.9k tokens in 10 steps of 8,192"
    assert "bard␛[31m on 2 cores, bfloat16" in rows["time"] and rows["time"].startswith("about ")
    assert rough_time(recipe, [SPEED]) and rows["time"].startswith(rough_time(recipe, [SPEED]))


def test_without_an_earlier_run_no_time_is_made_up() -> None:
    recipe = load(preset="gpt2")
    assert "no run here has measured a speed" in dict(forecast(recipe, []).rows)["time"]
    assert rough_time(recipe, []) == ""


def test_what_does_not_fit_is_named_with_changes_that_would() -> None:
    recipe = load(overrides=["model.n_layer=900", "model.n_embd=8000", "train.precision=float32"])
    predicted = forecast(recipe, [])
    assert len(predicted.problems) == 1 and "does not fit; this would: model." in predicted.problems[0]
    assert "does not fit" in predicted.short and "not one fits" in dict(predicted.rows)["batch"]


def test_times_of_years_are_said_in_years() -> None:
    assert about(120) == "about 2m00s" and about(3.15e8) == "about 10 years"
