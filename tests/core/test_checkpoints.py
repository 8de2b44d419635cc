"""Which checkpoint is meant: the newest, the best, the one of a step; and what is skipped on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.checkpoints import (
    Which,
    best_checkpoint,
    checkpoint_name,
    checkpoint_paths,
    readable_checkpoints,
    select_checkpoint,
    step_of,
)
from core.storage.artifact import write_directory


def save(directory: Path, step: int, loss: float | None) -> Path:
    facts: dict[str, Any] = {"step": step} | ({} if loss is None else {"slice_loss": loss})

    def fill(path: Path) -> None:
        (path / "model.safetensors").write_bytes(b"weights")

    return write_directory(directory / checkpoint_name(step), "train", "0", fill, facts=facts).path


def selected(directory: Path, which: Which, *, verify: bool = False) -> int | None:
    checkpoint = select_checkpoint(directory, which, verify=verify).checkpoint
    return None if checkpoint is None else step_of(checkpoint.path)


@pytest.mark.parametrize(
    ("losses", "last", "best"),
    [
        ({}, None, None),
        ({10: 3.0, 20: 1.0, 30: 2.0}, 30, 20),
        ({10: 1.0, 20: 1.0, 30: 2.0}, 30, 20),
        ({10: 3.0, 20: None}, 20, 10),
        ({10: None, 20: None}, 20, 20),
        ({99_999_999: 1.0, 100_000_000: 2.0}, 100_000_000, 99_999_999),
    ],
    ids=["none", "usual", "equal", "one evaluated", "none evaluated", "nine digits"],
)
def test_the_last_is_of_the_highest_step_and_the_best_of_the_lowest_loss(
    tmp_path: Path, losses: dict[int, float | None], last: int | None, best: int | None
) -> None:
    for step, loss in losses.items():
        save(tmp_path, step, loss)
    assert (selected(tmp_path, "last"), selected(tmp_path, "best")) == (last, best)
    assert all(selected(tmp_path, step) == step for step in losses)
    assert selected(tmp_path, 7) is None


def test_damaged_checkpoints_are_skipped_and_reported(tmp_path: Path) -> None:
    for step, loss in ((10, 2.0), (20, 1.0), (30, 3.0)):
        save(tmp_path, step, loss)
    (tmp_path / checkpoint_name(30) / "model.safetensors").unlink()
    (tmp_path / checkpoint_name(20) / "model.safetensors").write_bytes(b"WEIGHTS")
    assert (selected(tmp_path, "last"), selected(tmp_path, "best"), selected(tmp_path, 30)) == (20, 20, None)
    checkpoint, skipped = select_checkpoint(tmp_path, "best", verify=True)
    assert checkpoint is not None and step_of(checkpoint.path) == 10
    assert [str(damaged) for damaged in skipped] == [
        "step-00000030: model.safetensors is missing",
        "step-00000020: model.safetensors has changed since it was written",
    ]
    assert [step_of(found.path) for found in readable_checkpoints(tmp_path)] == [10, 20]


def test_the_best_of_checkpoints_without_an_evaluation_is_none(tmp_path: Path) -> None:
    save(tmp_path, 10, None)
    assert best_checkpoint(readable_checkpoints(tmp_path)) is None


def test_only_directories_named_after_a_step_are_checkpoints(tmp_path: Path) -> None:
    save(tmp_path, 10, None)
    (tmp_path / "step-00000020").write_text("a file")
    for name in ("step-", "step-x", ".step-00000030.7.tmp", "step-²"):
        (tmp_path / name).mkdir()
    assert [path.name for path in checkpoint_paths(tmp_path)] == ["step-00000010"]
    assert checkpoint_paths(tmp_path / "missing") == []
