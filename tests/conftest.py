"""Fixtures of all tests: a private LLMTUI_HOME, whose processes end with the test, and tiny runs of the pipeline."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

# set before torch is imported, and inherited by all processes that tests start: with one thread per core in each,
# as many processes as cores took six times as long on two cores
os.environ.setdefault("OMP_NUM_THREADS", "1")

import psutil
import pytest
from hypothesis import settings

from core.recipe import file as recipes
from core.recipe.schema import Recipe
from core.runs.directory import Run, RunState
from core.runs.launch import kill, start, wait_until_ended
from core.storage.workspace import Workspace
from tests import leftovers, waiting
from tests.cli_fixtures import alive, in_temporary_directory  # noqa: F401
from tests.preloaded import preloaded
from tests.waiting import PATIENCE, wait_for

# the suite is deterministic; `pytest --hypothesis-profile=search` searches for new counterexamples
settings.register_profile("steady", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=2000)
settings.load_profile("steady")

# a shell without job control starts background processes with SIGINT ignored, which their children inherit
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.default_int_handler)  # a terminated suite runs its fixtures' clean-up


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="leave out heavy tests, and those that start a process")
    parser.addoption("--fresh", action="store_true", help="start each process in an interpreter of its own")
    parser.addoption("--update-snapshots", action="store_true", help="write tests/ui/snapshots anew")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """`--quick` leaves out what is marked as heavy."""
    if config.getoption("quick"):
        heavy = [item for item in items if item.get_closest_marker("heavy")]
        items[:] = [item for item in items if not item.get_closest_marker("heavy")]
        config.hook.pytest_deselected(items=heavy)


def pytest_collection() -> None:
    """What tests and torch consist of is no garbage."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Collect the garbage of tests, but not among the million objects that torch and the tests consist of.

    Looking through them, and often, took a third of the processor time of the tests of the screen.
    """
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)
    gc.enable()


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """No ids made of packed bytes, which hold the time: the ids of all xdist workers have to be equal."""
    return argname if isinstance(val, bytes) and len(val) > 20 else None


# set by pytest-xdist to those of its terminal; programs prefer them to the terminal's own size
for name in ("COLUMNS", "LINES"):
    os.environ.pop(name, None)

SESSION = uuid.uuid4().hex
"""Marks the processes that this process and its tests start."""

WORDS = "the cat sat on a mat and the dog ran to the old red barn while rain fell on a quiet green hill".split()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A private LLMTUI_HOME, apart from the developer's own runs; processes that the test leaves behind are killed."""
    place, mark = tmp_path / "home", f"{SESSION}/{request.node.nodeid}"
    monkeypatch.setenv("LLMTUI_HOME", str(place))
    monkeypatch.setenv(leftovers.MARK, mark)
    waiting.refused.clear()
    before = frozenset(psutil.pids())
    yield place
    if lived_on := leftovers.end(mark, before):
        pytest.fail("it has left processes behind:\n" + "\n".join(lived_on), pytrace=False)


@pytest.fixture(autouse=True, scope="session")
def processes(request: pytest.FixtureRequest) -> Iterator[None]:
    """With `--quick` a test is skipped as soon as it starts one; without `--fresh`, what imports torch is forked."""
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        if request.config.getoption("quick"):
            for module, name in leftovers.STARTERS:
                patch.setattr(f"{module}.{name}", waiting.refuse)
        elif not request.config.getoption("fresh"):
            stack.enter_context(preloaded())
        yield


@pytest.fixture(autouse=True, scope="session")
def nothing_is_left() -> Iterator[None]:
    """Processes of shared fixtures have ended at the end of the session."""
    os.environ[leftovers.MARK] = SESSION
    yield
    if lived_on := leftovers.end(SESSION):
        pytest.fail("tests have left processes behind:\n" + "\n".join(lived_on), pytrace=False)


@pytest.fixture
def workspace(home: Path) -> Workspace:
    return Workspace(home).prepare()


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Forty different small documents: 100 kB of text that a tiny model learns within a few steps."""
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
    "train.precision=float32",  # with auto each training begins with half a second of measuring products
    "sample.tokens=10",
)


@pytest.fixture
def tiny(corpus: Path) -> Callable[..., Recipe]:
    """A recipe that trains for a second or two: `tiny("train.steps=60")`."""

    return functools.partial(tiny_recipe, corpus)


def tiny_recipe(corpus: Path, *overrides: str) -> Recipe:
    return recipes.load(base={"name": "tiny", "source": {"corpus": str(corpus)}}, overrides=(*TINY, *overrides))


@pytest.fixture
def launched(workspace: Workspace) -> Iterator[Callable[[Recipe], Run]]:
    """Starts real detached runs; those that are still running at the end are killed."""
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
        assert wait_until_ended(run, PATIENCE)


def wait_for_state(run: Run, *states: RunState) -> None:
    """Return once the run is in one of `states`; a failure shows its state and its log."""
    wanted = [state.value for state in states]
    wait_for(lambda: run.state() in states, what=f"{run.id} is {wanted}", shows=lambda: f"{run.state()}\n{log_of(run)}")


def log_of(run: Run) -> str:
    """The end of the run's log."""
    return run.log.read_text(errors="replace")[-2000:] if run.log.exists() else "there is no log"
