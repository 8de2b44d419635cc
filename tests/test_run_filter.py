"""Filtering, sorting and columns of the list of runs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import pytest

from core.events import Evaluation, Metric, ModelInfo
from core.recipe.file import load
from core.runs.annotations import Annotations
from core.runs.directory import Run, RunState
from core.runs.run_file import RunFile
from core.runs.summary import Summary
from core.storage.workspace import Workspace
from llmtui.view.run_columns import COLUMNS, DEFAULT, age_text, column_names, find_column, sorted_runs
from llmtui.view.run_filter import RunFilterError, checked_filter, parse_filter
from llmtui.view.run_snapshot import RunSnapshot

Make = Callable[..., RunSnapshot]


@pytest.fixture
def make(workspace: Workspace) -> Make:
    """Snapshots of runs that have no directory."""

    def snapshot(
        name: str = "bard",
        *overrides: str,
        val: float | None = None,
        state: RunState = RunState.DONE,
        tags: tuple[str, ...] = (),
        age: float = 3600.0,
        size: int | None = None,
        note: str = "",
    ) -> RunSnapshot:
        recipe = load(preset="demo", overrides=[f"name={name}", *overrides])
        run = Run(workspace.runs / f"20200101-000000-{name}-0000", RunFile(recipe=recipe, made_at=time.time() - age))
        summary = Summary()
        summary.absorb(ModelInfo(parameters=1_440_000, flops_per_token=1, vocabulary=1, tokens=1))
        summary.absorb(Metric(step=5, loss=2.0, lr=1e-3, grad_norm=1, tokens=10, seconds=1.0, progress=0.5, tick=1.0))
        if val is not None:
            summary.absorb(Evaluation(step=5, loss=val, train_loss=val, bits_per_byte=val, best=True))
        annotations = Annotations(tags=tags, note=note)
        return RunSnapshot(run, state, summary, None, 0.0, None, annotations=annotations, size=size)

    return snapshot


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("bard", True),
        ("BAR rd", True),
        ("stories", False),
        ("-stories", True),
        ("-bard", False),
        ("val<1.6", True),
        ("val<1.4", False),
        ("bpb<=1.412 bpb>1.4", True),
        ("-val<1.4", True),
        ("loss<5", False),
        ("loss!=5", False),
        ("lr>=1e-3", True),
        ("train.lr=4e-3", True),
        ("n_layer=3", True),
        ("n_layer!=3", False),
        ("tag:base", True),
        ("tag=base", False),
        ("tag=Baseline", True),
        ("-tag:other", True),
        ("state:failed", False),
        ("state:done", True),
        ("state!=done", False),
        ("params>1M params<2m", True),
        ("size>12MB", True),
        ("size>12GB", False),
        ("age<2h age>59m", True),
        ("age<1h", False),
        ("step=5", True),
        ("corpus:std", True),
        ('note:"with warm-up"', True),
        ('note:"warm-up with"', False),
        ("tie_embeddings=true -tie_embeddings=false", True),
        ("minutes>1", True),
    ],
)
def test_a_filter_selects_by_names_figures_recipe_fields_and_annotations(make: Make, text: str, matches: bool) -> None:
    overrides = ("train.lr=4e-3", "model.n_layer=3", "model.tie_embeddings=true", "train.minutes=2")
    run = make("bard-2l", *overrides, val=1.412, tags=("baseline", "x"), size=12_500_000, note="again, with warm-up")
    found = checked_filter(text)
    assert found.matches(run) == matches


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("vall<1.6", "did you mean 'val'"),
        ("val<", "lacks a value"),
        ("val<abc", "'abc' is not a number that val can have"),
        ("age<5x", "such as 2h"),
        ("tag<3", "tag is text"),
        ("steps=3", "preprocess.steps or train.steps"),
        ("model.n_layers=4", "did you mean 'model.n_layer'"),
        ("val<\x1b[2J", "is not a number"),
    ],
)
def test_an_invalid_term_is_explained_and_the_valid_ones_apply(make: Make, text: str, problem: str) -> None:
    found = parse_filter(f"bard {text}")
    assert problem in found.problems[0]
    assert found.matches(make("bard")) and not found.matches(make("other"))
    with pytest.raises(RunFilterError):
        checked_filter(text)


def test_runs_are_sorted_by_a_column_those_without_a_value_last(make: Make) -> None:
    runs = [make("a", val=1.5), make("b"), make("c", val=1.2), make("d", val=1.9)]

    def names(column: str, reverse: bool = False) -> str:
        return "".join(snapshot.run.name for snapshot in sorted_runs(runs, column, reverse))

    assert names("val") == "cadb"
    assert names("val", reverse=True) == "dacb"
    assert names("") == "abcd"
    assert names("", reverse=True) == "dcba"
    assert names("name", reverse=True) == "dcba"
    assert names("no such column") == "abcd"
    assert names("train.steps") == "abcd"  # of which none has a value


def test_every_column_has_a_text_for_every_run(make: Make) -> None:
    hostile = make("x", val=math.nan, state=RunState.FAILED, note="\x1b[2J\nowned", tags=("a", "b"))
    for name in column_names():
        column = find_column(name)
        assert column and column.description
        for snapshot in (make("y"), hostile):
            text = column.text(snapshot)
            assert text.isprintable()
            column.value(snapshot)
        assert len(column.heading) < column.cells or column.heading == "age"
    assert set(DEFAULT) <= set(COLUMNS)


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "<1m"), (65, "1m"), (7200, "2h"), (86400 * 12.2, "12d"), (1e12, "–")]
)
def test_ages_have_one_unit(seconds: float, text: str) -> None:
    assert age_text(seconds) == text
