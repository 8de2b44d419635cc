"""The number of threads of a training: chosen from the load of other processes and measured step times."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from core.events import Note
from core.recipe.schema import Recipe
from core.storage.artifact import Artifact
from core.train.threads import MAX_RETRY_SECONDS, RETRY_SECONDS, CpuTimes, ThreadTuner, cpu_times
from core.train.trainer import Trainer
from tests.core.training import CPU, of_type, train

Make = Callable[..., Recipe]


class SimulatedMachine:
    """A machine with given step times, on which other processes occupy a number of cores."""

    def __init__(self, most: int, seconds: Callable[[int, float], float]) -> None:
        """seconds: of a step, by the number of threads and the cores that others occupy."""
        self._seconds = seconds
        self.wall = self.busy = self.own = 0.0
        self.tuner = ThreadTuner(most, self.at)
        self.changes: list[tuple[float, int]] = []
        self.steps: list[int] = []

    @property
    def at(self) -> CpuTimes:
        return CpuTimes(self.wall, self.busy, self.own)

    def run(self, seconds: float, others: float) -> None:
        end = self.wall + seconds
        while self.wall < end:
            took = self._seconds(self.tuner.threads, others)
            self.steps.append(self.tuner.threads)
            self.wall += took
            self.own += took * self.tuner.threads
            self.busy += took * (self.tuner.threads + others)
            if self.tuner.record_step(took, self.at):
                self.changes.append((self.wall, self.tuner.threads))


def two_cores(threads: int, others: float) -> float:
    """Seconds per step measured on two cores: two threads are 1.5 times faster than one; under load, slower."""
    return {(1, False): 0.15, (2, False): 0.1, (1, True): 0.17, (2, True): 0.25}[threads, others > 0.5]


def test_one_thread_is_used_under_load_and_all_when_it_ends() -> None:
    machine = SimulatedMachine(2, two_cores)
    machine.run(10, 0.05)
    assert (machine.tuner.threads, machine.changes) == (2, [])
    machine.run(10, 1.0)
    assert machine.tuner.threads == 1 and len(machine.changes) == 1
    assert "1 thread of 2" in machine.tuner.message()
    machine.run(10, 0.05)
    assert machine.tuner.threads == 2 and len(machine.changes) == 2
    assert "2 threads" in machine.tuner.message() and "free again" in machine.tuner.message()


def test_a_number_that_is_not_faster_is_dropped_and_retried_less_and_less_often() -> None:
    machine = SimulatedMachine(2, lambda threads, others: 0.2 / threads)  # independent of others
    machine.run(1000, 1.0)
    assert machine.changes == [] and machine.tuner.threads == 2
    tried = machine.steps.count(1) / len(machine.steps)
    assert 0 < tried < 0.02
    assert RETRY_SECONDS < MAX_RETRY_SECONDS < 1000


def test_without_other_load_nothing_is_tried() -> None:
    machine = SimulatedMachine(8, lambda threads, others: 0.2)
    machine.run(300, 0.2)
    assert set(machine.steps) == {8}


def test_as_many_cores_are_left_free_as_others_use() -> None:
    machine = SimulatedMachine(16, lambda threads, others: 1 / threads if threads + others <= 16.5 else 3 / threads)
    machine.run(20, 3.0)
    assert machine.tuner.threads == 13
    machine.run(20, 5.0)
    assert machine.tuner.threads == 11
    machine.run(40, 0.0)
    assert machine.tuner.threads == 16


@pytest.mark.parametrize("step", [0.001, 20.0])
def test_short_and_long_steps_are_measured_until_there_are_enough(step: float) -> None:
    machine = SimulatedMachine(2, lambda threads, others: step * (1 if threads == 1 else 2))
    machine.run(max(10.0, 30 * step), 1.0)
    assert machine.tuner.threads == 1


def test_cpu_times_measure_this_process_and_others() -> None:
    before = cpu_times()
    while cpu_times().own < before.own + 0.2:
        pass
    after = cpu_times()
    assert after.wall > before.wall and after.busy > before.busy
    assert 0 <= after.cores_used_by_others(before) < 1024


class AlternatingTuner(ThreadTuner):
    """Alternates between one and two threads."""

    def record_step(self, seconds: float, now: CpuTimes) -> bool:
        assert seconds > 0
        self.threads = 3 - self.threads
        return True


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    left = torch.get_num_threads()
    torch.set_num_threads(before)
    assert left == 2  # restored after the training


@pytest.mark.heavy
@pytest.mark.usefixtures("two_threads")
def test_a_training_limited_in_minutes_follows_the_tuner_and_notes_it(
    tiny: Make, tokens: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.train.threads.ThreadTuner", AlternatingTuner)
    used: list[int] = []
    recipe = tiny("train.minutes=60", "train.steps=4")
    events = train(Trainer(recipe, tokens, tmp_path, CPU), lambda _: used.append(torch.get_num_threads()))
    assert used == [2, 1, 2, 1]
    assert len([note for note in of_type(Note, events) if "1 thread of 2" in note.text]) == 2


@pytest.mark.heavy
@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(("limits", "count"), [(("train.steps=3",), 2), (("train.minutes=60", "train.threads=1"), 1)])
def test_the_number_stays_fixed_if_steps_are_limited_or_it_is_set(
    tiny: Make, tokens: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: tuple[str, ...], count: int
) -> None:
    monkeypatch.setattr("core.train.threads.ThreadTuner", AlternatingTuner)
    used: list[int] = []
    train(
        Trainer(tiny("train.steps=3", *limits), tokens, tmp_path, CPU), lambda _: used.append(torch.get_num_threads())
    )
    assert used == [count] * 3
