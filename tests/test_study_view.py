"""The trials of a study as a table and as plots."""

from __future__ import annotations

from msgspec import structs

from core.recipe.file import load
from core.tune.slices import slices
from core.tune.space import read_space
from core.tune.trials import Trial, TrialEnded, TrialPaused
from llmtui.view.study_plots import front_plot, progress_plot, slice_plot
from llmtui.view.study_table import Order, explanation, is_active, sort_columns, sorted_rows, trials_table
from llmtui.view.study_text import row_of


def trial(number: int, bits: float | None, lr: float, parameters: int = 100) -> Trial:
    """One that ended `number` seconds after the study began; without a result it failed."""
    ended = TrialEnded(
        number=number,
        outcome="done" if bits else "failed",
        bits_per_byte=bits,
        seconds=30.0,
        parameters=parameters,
        reason="" if bits else "out of memory \x1b[2J",
        at=float(number),
    )
    run_id = f"run-{number}"
    return Trial(number=number, run_id=run_id, values={"train.lr": lr}, seed=1, origin="sampled", ended=ended)


TRIALS = [
    trial(1, 2.0, 1e-4, 400),
    trial(2, None, 1e-1, 400),
    trial(3, 1.5, 1e-3, 800),
    trial(4, 1.8, 1e-2, 100),
    trial(5, 1.9, 1e-3, 100),
]
WAITING = Trial(
    number=6,
    run_id="run-6",
    values={"train.lr": 2e-3},
    seed=1,
    origin="inserted",
    stop_at=1 / 9,
    rungs=[TrialPaused(number=6, share=1 / 9, bits_per_byte=2.5, seconds=4.0)],
)


def test_the_best_trial_is_the_first_row_and_one_at_a_rung_comes_after_the_results() -> None:
    rows = [row_of(each, None, None) for each in (*TRIALS, WAITING)]
    table = trials_table(rows, {}, {})
    assert [row.key for row in table.rows] == ["3", "4", "5", "1", "6", "2"]
    assert [column.heading for column in table.columns][:4] == ["#", "state", "bpb", "lr"]
    assert table.rows[0].cells[2] == ("★1.500", "good") and table.rows[4].cells[1] == ("‖ paused", "dim")
    assert not is_active(rows[5], None)
    by_rate = sorted_rows(rows, Order("train.lr", reverse=True))
    assert [row.trial.number for row in by_rate] == [2, 4, 6, 3, 5, 1]
    assert {"bpb", "number", "train.lr"} <= {name for name, _, _ in sort_columns(rows)}


def test_a_sentence_says_what_became_of_a_trial() -> None:
    rows = [row_of(each, None, None) for each in (*TRIALS, WAITING)]
    assert explanation(rows[2], rows, None).startswith("Trial 3 is the best so far: train.lr 0.001")
    assert "0.300 bits per byte worse than the best" in explanation(rows[3], rows, None)
    assert "waits after 11 % of its training" in explanation(rows[5], rows, None)
    failed = explanation(rows[1], rows, None)
    assert "failed: out of memory" in failed and "\x1b" not in failed


def test_the_plots_show_each_result_once_and_the_best_over_the_others() -> None:
    progress = progress_plot(TRIALS, highlighted=4)
    assert progress.steps == [(1.0, 2.0), (3.0, 1.5)], "the second one failed"
    assert [(point.x, point.glyph) for point in progress.points] == [(1, "•"), (5, "•"), (4, "◇"), (3, "★")]
    recipe = load(preset="demo")
    space = read_space({"train.lr": {"low": 1e-4, "high": 1e-1, "log": True}}, recipe)
    sliced = slice_plot(slices(space, recipe, TRIALS)[0], TRIALS, highlighted=0)
    assert sliced.x_log and sorted(point.x for point in sliced.points) == [1e-4, 1e-3, 1e-3, 1e-2]
    assert front_plot(TRIALS, "parameters", 0).steps == [(100.0, 1.8), (800.0, 1.5)], "the others are beaten"


def test_the_plots_of_trials_that_wait_show_their_results_at_the_rung() -> None:
    trials = [trial(1, 2.0, 1e-3)]
    for number in (2, 3, 4):
        rung = TrialPaused(number=number, share=1 / 9, bits_per_byte=3.0 - number / 10, at=float(number))
        trials.append(structs.replace(WAITING, number=number, run_id=f"run-{number}", rungs=[rung]))
    progress = progress_plot(trials, highlighted=0)
    assert ("bits per byte at 11 %" in progress.title[1][0]) and len(progress.points) == 3
    assert progress.note == "trial 4 at 11 %; better 3 times; ★ trial 1 at the end"


def test_names_of_a_choice_have_places_on_the_axis() -> None:
    recipe = load(preset="demo")
    space = read_space({"train.optimizer": ["adamw", "muon"]}, recipe)
    trials = [trial(1, 2.0, 1e-3), trial(2, 3.0, 1e-3)]
    for each, name in zip(trials, ("muon", "adamw"), strict=True):
        each.values["train.optimizer"] = name
    plot = slice_plot(slices(space, recipe, trials)[0], trials, highlighted=0)
    assert list(plot.names) == ["adamw", "muon"] and {(point.x, point.y) for point in plot.points} == {(0, 3), (1, 2)}
