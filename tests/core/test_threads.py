"""How many threads a training takes: decided from what others use and what was measured, whatever the machine does."""

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


class Played:
    """A machine in which steps take what is told, and others take so many cores."""

    def __init__(self, most: int, seconds: Callable[[int, float], float]) -> None:
        """seconds: of a step, by the number of threads and what others want."""
        self._seconds = seconds
        self.wall = self.busy = self.own = 0.0
        self.tuner = ThreadTuner(most, self.at)
        self.said: list[tuple[float, int]] = []
        self.steps: list[int] = []

    @property
    def at(self) -> CpuTimes:
        return CpuTimes(self.wall, self.busy, self.own)

    def go_on(self, seconds: float, others: float) -> None:
        end = self.wall + seconds
        while self.wall < end:
            took = self._seconds(self.tuner.threads, others)
            self.steps.append(self.tuner.threads)
            self.wall += took
            self.own += took * self.tuner.threads
            self.busy += took * (self.tuner.threads + others)
            if self.tuner.record_step(took, self.at):
                self.said.append((self.wall, self.tuner.threads))


def beside(threads: int, others: float) -> float:
    """As measured on two cores: two threads are 1.5 times as fast as one, and beside a neighbour 1.5 times as slow."""
    return {(1, False): 0.15, (2, False): 0.1, (1, True): 0.17, (2, True): 0.25}[threads, others > 0.5]


def test_beside_a_neighbour_one_thread_is_taken_and_when_it_has_gone_all_are_again() -> None:
    machine = Played(2, beside)
    machine.go_on(10, 0.05)
    assert (machine.tuner.threads, machine.said) == (2, [])
    machine.go_on(10, 1.0)
    assert machine.tuner.threads == 1 and len(machine.said) == 1
    assert "1 thread of 2" in machine.tuner.message()
    machine.go_on(10, 0.05)
    assert machine.tuner.threads == 2 and len(machine.said) == 2
    assert "2 threads" in machine.tuner.message() and "free again" in machine.tuner.message()


def test_a_number_that_is_not_faster_is_given_up_and_tried_more_and_more_rarely() -> None:
    machine = Played(2, lambda threads, others: 0.2 / threads)  # whatever others do
    machine.go_on(1000, 1.0)
    assert machine.said == [] and machine.tuner.threads == 2
    tried = machine.steps.count(1) / len(machine.steps)
    assert 0 < tried < 0.02
    assert RETRY_SECONDS < MAX_RETRY_SECONDS < 1000


def test_where_nobody_else_is_at_work_nothing_is_tried() -> None:
    machine = Played(8, lambda threads, others: 0.2)
    machine.go_on(300, 0.2)
    assert set(machine.steps) == {8}


def test_of_many_cores_as_many_are_left_as_others_take() -> None:
    machine = Played(16, lambda threads, others: 1 / threads if threads + others <= 16.5 else 3 / threads)
    machine.go_on(20, 3.0)
    assert machine.tuner.threads == 13
    machine.go_on(20, 5.0)
    assert machine.tuner.threads == 11
    machine.go_on(40, 0.0)
    assert machine.tuner.threads == 16


@pytest.mark.parametrize("step", [0.001, 20.0])
def test_short_steps_and_long_ones_are_counted_until_there_are_enough(step: float) -> None:
    machine = Played(2, lambda threads, others: step * (1 if threads == 1 else 2))
    machine.go_on(max(10.0, 30 * step), 1.0)
    assert machine.tuner.threads == 1


def test_the_clocks_see_what_this_process_takes_and_what_others_do() -> None:
    before = cpu_times()
    while cpu_times().own < before.own + 0.2:
        pass
    after = cpu_times()
    assert after.wall > before.wall and after.busy > before.busy
    assert 0 <= after.cores_used_by_others(before) < 1024


class Reversed(ThreadTuner):
    """Takes another number after each step."""

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
    assert left == 2  # as it was before the training


@pytest.mark.usefixtures("two_threads")
def test_a_training_with_a_limit_of_minutes_takes_as_many_as_is_decided_and_says_so(
    tiny: Make, tokens: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.train.threads.ThreadTuner", Reversed)
    taken: list[int] = []
    recipe = tiny("train.minutes=60", "train.steps=4")
    said = train(Trainer(recipe, tokens, tmp_path, CPU), lambda _: taken.append(torch.get_num_threads()))
    assert taken == [2, 1, 2, 1]
    assert len([note for note in of_type(Note, said) if "1 thread of 2" in note.text]) == 2


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(("limits", "count"), [(("train.steps=3",), 2), (("train.minutes=60", "train.threads=1"), 1)])
def test_where_it_repeats_to_the_bit_or_is_told_the_number_it_stays(
    tiny: Make, tokens: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: tuple[str, ...], count: int
) -> None:
    monkeypatch.setattr("core.train.threads.ThreadTuner", Reversed)
    taken: list[int] = []
    train(
        Trainer(tiny("train.steps=3", *limits), tokens, tmp_path, CPU), lambda _: taken.append(torch.get_num_threads())
    )
    assert taken == [count] * 3
