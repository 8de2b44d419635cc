"""What every test gets: a home of its own, and quick tiny runs of the real pipeline."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from core import recipe_file as recipes
from core.recipe import Recipe
from core.runs.directory import Run, State
from core.runs.launch import kill, start, wait_until_dead
from core.workspace import Workspace

# the suite gives one answer on one commit; `pytest --hypothesis-profile=search` looks for new counterexamples
settings.register_profile("steady", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=2000)
settings.load_profile("steady")

WORDS = "the cat sat on a mat and the dog ran to the old red barn while rain fell on a quiet green hill".split()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A private LLMTUI_HOME: no test sees or touches the developer's own runs."""
    place = tmp_path / "home"
    monkeypatch.setenv("LLMTUI_HOME", str(place))
    return place


@pytest.fixture
def workspace(home: Path) -> Workspace:
    return Workspace(home).prepare()


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Forty small documents, no two alike: 100 kB of text that a tiny model learns at once."""
    return write_corpus(tmp_path / "corpus")


def write_corpus(folder: Path) -> Path:
    folder.mkdir()
    for number in range(40):
        lines = [" ".join(WORDS[(number * 7 + line * k) % len(WORDS)] for k in range(1, 11)) for line in range(50)]
        (folder / f"{number:02d}.txt").write_text("\n".join(lines) + "\n")
    return folder


TINY = (
    "tokenize.size=300",
    "model.n_layer=1",
    "model.n_head=2",
    "model.n_embd=32",
    "model.block_size=32",
    "model.dropout=0.1",
    "train.batch_size=4",
    "train.evaluate_every=20",
    "train.evaluate_tokens=512",
    "train.sample_every=20",
    "train.checkpoint_every=20",
    "train.device=cpu",
    "sample.tokens=10",
)


@pytest.fixture
def tiny(corpus: Path) -> Callable[..., Recipe]:
    """A recipe that is done in a second or two of work: `tiny("train.steps=60")`."""

    return functools.partial(tiny_recipe, corpus)


def tiny_recipe(corpus: Path, *overrides: str) -> Recipe:
    return recipes.load(base={"name": "tiny", "source": {"corpus": str(corpus)}}, overrides=(*TINY, *overrides))


@pytest.fixture
def launched(workspace: Workspace) -> Iterator[Callable[[Recipe], Run]]:
    """Start real detached runs; whatever still lives afterwards is killed."""
    import signal

    runs: list[Run] = []

    def launch(recipe: Recipe) -> Run:
        run = Run.create(workspace, recipe)
        runs.append(run)
        start(run, workspace)
        return run

    yield launch
    for run in runs:
        if (pid := run.supervisor()) is not None:
            os.kill(pid, signal.SIGKILL)
        kill(run, sig=signal.SIGKILL)
        wait_until_dead(run, 10)


def wait_for(condition: Callable[[], object], seconds: float = 120.0, what: str = "") -> None:
    """Return once `condition` holds; fail the test when it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:.0f} s: {what or condition}")
        time.sleep(0.02)


def wait_for_state(run: Run, *states: State, seconds: float = 120.0) -> None:
    """Return once the run is in one of `states`; on failure say what it is in instead, and show its log."""
    deadline = time.monotonic() + seconds
    while (now := run.state()) not in states:
        if time.monotonic() > deadline:
            log = run.log.read_text(errors="replace")[-2000:] if run.log.exists() else ""
            pytest.fail(f"{run.id} is {now.value}, not {[s.value for s in states]}, after {seconds:.0f} s\n{log}")
        time.sleep(0.02)
