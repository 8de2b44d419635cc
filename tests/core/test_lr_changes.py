"""The learning rate is changed while a run trains: a pure function of the step, recorded, resumed, undone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import DiskError
from core.events import LearningRateChanged, Metric
from core.recipe.schema import Recipe, Train
from core.runs.control import ControlRequests, request_learning_rate
from core.runs.directory import Run
from core.storage.artifact import Artifact
from core.storage.workspace import Workspace
from core.train.async_checkpoint import AsyncCheckpointer
from core.train.commands import ChangeLearningRate, Commands, Stop
from core.train.lr_changes import (
    LearningRateError,
    LearningRateFileError,
    LrChange,
    changes_before,
    lr_change_factor,
    parse_lr,
    read_lr_changes,
    with_lr_change,
    write_lr_changes,
)
from core.train.trainer import Trainer
from tests.core.stages import remarks
from tests.core.training import CPU, checkpoint_steps, newest_tensors, of_type, tensors_equal, train

Make = Callable[..., Recipe]


def test_the_factor_is_that_of_the_last_change_up_to_a_step() -> None:
    changes = with_lr_change(with_lr_change((), LrChange(step=10, factor=0.5)), LrChange(step=20, factor=2.0))
    assert [lr_change_factor(changes, step) for step in (0, 9, 10, 19, 20, 99)] == [1, 1, 0.5, 0.5, 2, 2]
    assert with_lr_change(changes, LrChange(step=15, factor=3.0)) == (changes[0], LrChange(step=15, factor=3.0))
    assert changes_before(changes, 20) == changes[:1], "branching from its checkpoint undoes a change"


def test_a_rate_is_a_peak_or_a_multiple_of_the_present_one(tmp_path: Path) -> None:
    train = Train(lr=8e-3)
    assert parse_lr("4e-3", train, 0.1) == 0.5
    assert parse_lr(" x0.5", train, 0.5) == parse_lr("×0,5", train, 0.5) == 0.25
    for wrong in ("", "fast", "0", "-1", "nan", "inf", "x0", "1.5", "x1000"):
        with pytest.raises(LearningRateError):
            parse_lr(wrong, train, 1.0)
    assert read_lr_changes(tmp_path) == ()
    (tmp_path / "learning-rate.json").write_text("[{")
    with pytest.raises(LearningRateFileError):
        read_lr_changes(tmp_path)


def test_of_several_requests_the_newest_counts_once(workspace: Workspace, tiny: Make) -> None:
    run = Run.create(workspace, tiny())
    requests = ControlRequests(run)
    for factor in (0.5, 0.25):
        request_learning_rate(run, factor)
    assert requests.take_learning_rate() == ChangeLearningRate(0.25)
    assert requests.take_learning_rate() is None
    (run.control / "learning-rate.json").write_text('{"factor": -1}')
    assert requests.take_learning_rate() is None and not requests.pending()


@pytest.mark.heavy
def test_a_change_takes_effect_at_the_next_step_and_survives_a_crash_to_the_bit(
    make_recipe: Make, tokens: Artifact, tmp_path: Path
) -> None:
    recipe = make_recipe("train.steps=40", "train.checkpoint_every=5", "train.keep_checkpoints=2")

    def halve_at(step: int, *then: tuple[int, Commands]) -> Callable[[Metric], Commands | None]:
        commands = {step: (ChangeLearningRate(0.5),), **dict(then)}
        return lambda metric: commands.get(metric.step)

    def trainer(name: str, recipe: Recipe = recipe) -> Trainer:
        (tmp_path / name).mkdir(exist_ok=True)
        return Trainer(recipe, tokens, tmp_path / name, CPU)

    plain = {metric.step: metric.lr for metric in of_type(Metric, train(trainer("plain")))}
    events = train(trainer("whole"), halve_at(15))
    rates = {metric.step: metric.lr for metric in of_type(Metric, events)}
    assert all(rates[step] == plain[step] * (1 if step <= 15 else 0.5) for step in plain)
    assert [(event.step, event.before, event.lr) for event in of_type(LearningRateChanged, events)] == [
        (15, 8e-3, 4e-3)
    ]
    kept = checkpoint_steps(tmp_path / "whole")
    assert 15 in kept and len(kept) <= 4, "with the newest two and the best"

    stream, commands = trainer("crashed").run(), None
    while True:  # until shortly after the change, and no further
        event = stream.send(commands)
        commands = halve_at(15)(event) if isinstance(event, Metric) else None
        if isinstance(event, Metric) and event.step == 18:
            break
    stream.close()
    assert checkpoint_steps(tmp_path / "crashed")[-1] == 15
    train(trainer("crashed"))
    assert tensors_equal(newest_tensors(tmp_path / "crashed"), newest_tensors(tmp_path / "whole"))

    train(trainer("changed"), halve_at(15, (25, (Stop(),))))
    slower = make_recipe("train.steps=30", "train.lr=0.002")
    events = train(trainer("changed", slower))
    assert [event.factor for event in of_type(LearningRateChanged, events)] == [1.0], "the newer setting counts"
    assert read_lr_changes(tmp_path / "changed")[-1] == LrChange(step=25, factor=1.0)
    assert max(metric.lr for metric in of_type(Metric, events)) <= 0.002


@pytest.mark.heavy
def test_without_room_for_the_checkpoint_the_rate_stays(
    make_recipe: Make, tokens: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(make_recipe("train.steps=8", "train.schedule=constant"), tokens, tmp_path, CPU)
    require = AsyncCheckpointer.require_room

    def at_step_5(self: AsyncCheckpointer, size: int) -> None:
        if trainer.state.step == 5:
            raise DiskError("the disk is full")
        require(self, size)

    monkeypatch.setattr(AsyncCheckpointer, "require_room", at_step_5)
    events = train(trainer, lambda metric: (ChangeLearningRate(0.5),) if metric.step == 5 else None)
    assert "the learning rate stays as it is: the disk is full" in remarks(events)
    assert len({metric.lr for metric in of_type(Metric, events) if metric.step > 2}) == 1
    assert not read_lr_changes(tmp_path)


def test_a_file_of_changes_is_read_as_it_was_written(tmp_path: Path) -> None:
    changes = (LrChange(step=3, factor=0.1), LrChange(step=9, factor=1.0))
    write_lr_changes(tmp_path, changes)
    assert read_lr_changes(tmp_path) == changes
