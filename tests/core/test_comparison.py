"""Comparing runs: fields, seeds, spreads, and the mean of curves."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import pytest

from core.events import AttemptStarted
from core.git_commit import code_commit
from core.recipe.file import load
from core.recipe.schema import Recipe
from core.runs.comparison import Spread, difference, differing_fields, mean_series, seed_groups, spread_of
from core.runs.origin import NOT_RECORDED, origin_differences, origin_of
from core.runs.series import CAPACITY, Series
from core.runs.summary import Summary
from core.storage.workspace import Workspace
from tests.ui.fake_runs import make_run


def recipe(*overrides: str) -> Recipe:
    return load(preset="demo", overrides=overrides)


def series(*values: float, start: int = 0) -> Series:
    made = Series()
    for step, value in enumerate(values, start):
        made.add(step, value)
    return made


def test_only_fields_that_differ_are_compared() -> None:
    recipes = [recipe("name=a"), recipe("name=b", "train.lr=1e-4"), recipe("name=c", "model.n_embd=64")]
    assert [field.key for field in differing_fields(recipes)] == ["model.n_embd", "train.lr"]
    assert differing_fields(recipes[:1]) == []


def test_runs_that_differ_only_in_the_seed_are_a_group() -> None:
    recipes = [recipe("train.seed=1"), recipe("train.lr=1e-4"), recipe("train.seed=2", "name=other"), recipe()]
    assert seed_groups(recipes, ["x"] * 4) == [[0, 2, 3], [1]]
    assert seed_groups(recipes, ["x", "x", "y", "x"]) == [[0, 3], [1], [2]], "trained on other data"


def test_a_difference_smaller_than_the_spread_says_nothing() -> None:
    three, one = spread_of([1.40, 1.42, None, 1.41, math.nan]), spread_of([1.425])
    assert three and one
    assert (three.n, three.low, three.high) == (3, 1.40, 1.42)
    assert three.mean == pytest.approx(1.41) and three.width == pytest.approx(0.02)
    found = difference(one, three)
    assert found.value == pytest.approx(0.015) and found.within and found.spread == three
    assert not difference(Spread(1, 1.44, 1.44, 1.44), three).within
    single = difference(one, Spread(1, 1.0, 1.0, 1.0))
    assert single.spread is None and not single.within, "without seeds nothing is known"
    assert spread_of([None]) is None


def test_the_mean_of_curves_has_their_lowest_and_highest_as_its_range() -> None:
    mean = mean_series([series(1.0, 2.0, 3.0), series(3.0, 4.0, 5.0, 6.0), Series()])
    assert mean.means() == [(0, 2.0), (1, 3.0), (2, 4.0)], "only steps that all have"
    assert (mean.low, mean.high, mean.last, mean.end) == ([1.0, 2.0, 3.0], [3.0, 4.0, 5.0], 4.0, 2)
    assert not len(mean_series([])) and not len(mean_series([Series()]))


def test_curves_of_different_lengths_are_averaged_in_the_buckets_of_the_longest() -> None:
    long, short = series(*[1.0] * (CAPACITY + 10)), series(*[3.0] * 10)
    assert (long.span, short.span) == (2, 1)
    mean = mean_series([long, short])
    assert mean.span == 2 and mean.index == [0, 1, 2, 3, 4]
    assert {value for _, value in mean.means()} == {2.0}


def test_the_range_is_that_of_smoothed_runs_not_of_their_noise() -> None:
    noise = [2.0 + (-1) ** step for step in range(400)]
    mean = mean_series([series(*noise), series(*[value + 0.1 for value in noise])], smoothing=0.98)
    assert mean.high[-1] - mean.low[-1] == pytest.approx(0.1)


def test_the_commit_is_read_from_the_files_of_git(tmp_path: Path) -> None:
    commit, git = "0123456789" * 4, tmp_path / ".git"
    assert code_commit(tmp_path) == ""
    git.mkdir()
    (git / "HEAD").write_text(commit + "\n")
    assert code_commit(tmp_path) == commit
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    assert code_commit(tmp_path) == "", "a branch without a commit"
    (git / "packed-refs").write_text(f"# pack-refs with: peeled\n{commit[::-1]} refs/heads/main\n")
    assert code_commit(tmp_path) == commit[::-1]
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "refs" / "heads" / "main").write_text(commit)
    assert code_commit(tmp_path) == commit
    (git / "refs" / "heads" / "main").write_bytes(b"\xff")
    assert code_commit(tmp_path) == ""


def test_the_commit_of_a_worktree_is_its_own(tmp_path: Path) -> None:
    own, inner, commit = tmp_path / "worktree", tmp_path / "main" / ".git" / "worktrees" / "one", "a" * 40
    own.mkdir()
    (inner.parent.parent / "refs" / "heads").mkdir(parents=True)
    inner.mkdir(parents=True)
    (own / ".git").write_text(f"gitdir: {inner}\n")
    (inner / "HEAD").write_text("ref: refs/heads/topic\n")
    (inner / "commondir").write_text("../..\n")
    (inner.parent.parent / "refs" / "heads" / "topic").write_text(commit)
    assert code_commit(own) == commit


def test_the_origin_of_a_run_names_the_code_of_each_attempt(workspace: Workspace) -> None:
    run, summary = make_run(workspace, "bard"), Summary()
    summary.stages["tokenize"].artifact = "/elsewhere/tokens/bard-0123"
    first = AttemptStarted(attempt=1, pid=1, host="here", device="cpu", version="1", commit="a" * 40, torch="2.9")
    again = msgspec.structs.replace(first, attempt=2, commit="b" * 40)
    origin = origin_of(run, summary, [first, again, first])
    assert origin.commit == "aaaaaaaaaaaa, then bbbbbbbbbbbb"
    assert (origin.version, origin.torch, origin.data) == ("1", "2.9", ("", "", "bard-0123"))
    older = origin_of(run, summary, [AttemptStarted(attempt=1, pid=1, host="here", device="cpu")])
    assert older.version == run.file.version, "journals of older versions do not name it"
    found = {row.what: row.values for row in origin_differences([origin, older])}
    assert found.keys() == {"version", "commit", "torch"}
    assert found["torch"] == ("2.9", NOT_RECORDED)
