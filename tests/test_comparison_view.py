"""The table and the sentences of a comparison."""

from __future__ import annotations

import json

import pytest

from core.events import AttemptStarted, Evaluation, Metric
from core.runs.directory import RunState
from core.runs.origin import origin_of
from core.runs.summary import Summary
from core.storage.workspace import Workspace
from llmtui.view.comparison import ComparedRun, Comparison
from llmtui.view.comparison_table import BEST, WITHIN, CursorColumn, comparison_table, sort_columns
from llmtui.view.comparison_text import difference_lines, other_differences, verdict
from llmtui.view.data_table import DataTable, TableColumn, TableRow, table_csv, table_json
from llmtui.view.run_snapshot import RunSnapshot
from tests.ui.fake_runs import make_run

HOSTILE = "\x1b]0;owned\x07"


def compared(workspace: Workspace, *runs: tuple[str, float, str], device: str = "cpu") -> list[ComparedRun]:
    """Runs of a name, a validation loss in bits per byte, and overrides separated by spaces."""
    found = []
    for number, (name, bits, overrides) in enumerate(runs, 1):
        run, summary = make_run(workspace, name, *overrides.split()), Summary()
        where = device if number == 1 else "cpu"
        events = (
            AttemptStarted(attempt=1, pid=1, host="here", device=where),
            Metric(step=number, loss=1.0, lr=1e-3, grad_norm=1.0, tokens=100, seconds=10.0, progress=0.5),
            Evaluation(step=number, loss=bits, train_loss=None, bits_per_byte=bits, best=True),
        )
        for event in events:
            summary.absorb(event)
        snapshot = RunSnapshot(run, RunState.DONE, summary, None, 0.0, None)
        found.append(ComparedRun(number, snapshot, origin_of(run, summary, events)))
    return found


def texts(table: DataTable, column: str) -> list[str]:
    index = [each.name for each in table.columns].index(column)
    return [row.cells[index][0] for row in table.rows]


SEEDS = (("base", 1.40, "train.seed=1"), ("base", 1.44, "train.seed=2"), ("base", 1.42, "train.seed=3"))


def test_runs_that_differ_only_in_the_seed_are_one_row_with_their_mean(workspace: Workspace) -> None:
    runs = compared(workspace, *SEEDS, ("lower", 1.41, "train.lr=1e-4"), ("wide", 1.30, "model.n_embd=512"))
    comparison = Comparison(runs)
    table = comparison_table(comparison)
    assert [column.name for column in table.columns][:5] == ["number", "name", "best", "difference", "spread"]
    assert {"train.lr", "model.n_embd", "train.seed"} <= {column.name for column in table.columns}
    assert texts(table, "name") == ["wide", "lower", "▸ base ×3"]
    assert texts(table, "best") == [f"{BEST}1.300", "1.410", "1.420"]
    assert texts(table, "difference") == ["-0.120", f"-0.010 {WITHIN}", "baseline"]
    assert texts(table, "spread")[2] == "0.040 of 3" and texts(table, "train.seed")[2] == "1 2 3"
    wide, lower, base = comparison.groups
    assert verdict(comparison, lower) == (
        "4 lower: best bpb 0.010 below 1 base, within the spread of 3 seeds (0.040 from lowest to highest)."
    )
    assert "more than the spread of 3 seeds" in verdict(comparison, wide)
    assert "3 seeds from 1.400 to 1.440" in verdict(comparison, base)


def test_an_expanded_group_shows_its_runs_and_the_values_at_the_cursor(workspace: Workspace) -> None:
    comparison = Comparison(compared(workspace, *SEEDS))
    group = comparison.groups[0]
    cursor = CursorColumn("at 100", {run.snapshot.run.id: f"v{run.number}" for run in group.runs})
    table = comparison_table(comparison, frozenset([group.key]), cursor)
    assert texts(table, "number") == ["1", "1", "2", "3"] and texts(table, "cursor") == ["", "v1", "v2", "v3"]
    assert texts(table, "name")[0] == "▾ base ×3"
    assert len(set(texts(table, "name"))) == 4, "runs of one name have the end of their ids"
    alone = comparison.found(table.rows[2].key)
    assert alone is not None and alone.runs == (group.runs[1],)


def test_the_baseline_and_the_order_are_chosen(workspace: Workspace) -> None:
    runs = compared(workspace, ("a", 1.3, "train.lr=1e-3"), ("b", 1.2, "train.lr=1e-4"), ("c", 1.1, "train.lr=1e-2"))
    second = runs[1].snapshot.run.id
    comparison = Comparison(runs, baseline=second, sort="train.lr")
    table = comparison_table(comparison)
    assert texts(table, "name") == ["b", "a", "c"] and texts(table, "difference") == ["baseline", "+0.100", "-0.100"]
    assert [group.name for group in Comparison(runs, sort="train.lr", reverse=True).groups] == ["c", "a", "b"]
    assert Comparison(runs, sort="nonsense", baseline="gone").baseline.name == "a"
    assert Comparison(runs, sort="speed").measure.name == "speed"
    assert "One run of each" in verdict(comparison, comparison.groups[1])
    assert ("train.lr", "lr") in [column[:2] for column in sort_columns(comparison)]


def test_runs_without_a_result_are_last_and_said_to_have_none(workspace: Workspace) -> None:
    runs = compared(workspace, ("a", 1.3, ""), ("b", 1.2, "train.lr=1e-4"))
    empty = RunSnapshot(make_run(workspace, "c", "train.lr=1e-5"), RunState.CREATED, Summary(), None, 0.0, None)
    runs.append(ComparedRun(3, empty, origin_of(empty.run, empty.summary, ())))
    for reverse in (False, True):
        comparison = Comparison(runs, reverse=reverse)
        assert comparison.groups[-1].name == "c"
    assert verdict(comparison, comparison.groups[-1]) == "3 c has no best bpb yet."
    with pytest.raises(ValueError, match="nothing to compare"):
        Comparison([])


def test_losses_on_other_held_out_texts_are_not_said_to_be_better(workspace: Workspace) -> None:
    first, second = compared(workspace, ("a", 1.3, ""), ("b", 1.2, "train.lr=1e-4"))
    second = second._replace(origin=second.origin._replace(data=("text", "other", "tokens")))
    comparison = Comparison([first, second])
    assert verdict(comparison, comparison.groups[0]) == (
        "2 b: best bpb 0.100 below 1 a, on another held-out text, which may account for it."
    )


def test_what_holds_for_all_differences_is_said_once(workspace: Workspace) -> None:
    comparison = Comparison(compared(workspace, *((name, bits, f"train.lr={bits}e-4") for name, bits in RESULTS)))
    text = "\n".join("".join(part for part, _ in line) for line in difference_lines(comparison, 100))
    assert "2 b: best bpb 0.100 above 1 a.\n" in text and "3 c: best bpb 0.200 above 1 a.\n" in text
    assert text.count("One run of each") == 1 and "baseline" not in text


RESULTS = (("a", 1.2), ("b", 1.3), ("c", 1.4))


def test_differences_besides_the_recipe_are_said_in_words(workspace: Workspace) -> None:
    runs = compared(workspace, ("a", 1.3, ""), ("b", 1.2, "train.lr=1e-4"), device=f"gpu{HOSTILE}")
    comparison = Comparison(runs)
    [(what, text)] = other_differences(comparison)
    assert what == "device" and "(1); cpu (2)." in text and "\x1b" not in text and "\x07" not in text
    lines = ["".join(part for part, _ in line) for line in difference_lines(comparison, 40)]
    assert any("device" in line for line in lines) and all(len(line) <= 40 for line in lines)
    same = Comparison(compared(workspace, ("a", 1.3, ""), ("b", 1.2, "train.lr=1e-4")))
    assert any("are the same" in "".join(t for t, _ in line) for line in difference_lines(same, 200))


def test_a_wide_table_is_scrolled_sideways_beside_its_first_columns() -> None:
    columns = [TableColumn(name, name) for name in ("run", "one", "two", "three")]
    table = DataTable(columns, [TableRow("a", (("alpha", ""), ("1", ""), ("22", ""), ("333", "")))], frozen=1)
    assert table.widths == [5, 3, 3, 5]
    assert table.shown(0, 100) == [0, 1, 2, 3] and table.last_scroll(100) == 0
    assert table.shown(0, 15) == [0, 1, 2] and table.shown(1, 15) == [0, 2] and table.shown(2, 15) == [0, 3]
    assert table.last_scroll(15) == 2
    assert "".join(text for text, _ in table.line(table.rows[0], [0, 2])) == "alpha   22"
    assert table_csv(table) == "run,one,two,three\nalpha,1,22,333\n"
    assert json.loads(table_json(table)) == [{"run": "alpha", "one": "1", "two": "22", "three": "333"}]
