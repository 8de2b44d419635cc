"""Files written by version 0.1 before its recipe fields and events were renamed: they open, verify, and continue.

`tests/data/home_of_0_1.tar.gz` is the data directory of two runs of 12 steps, causal and masked, on 'stories', and the
recipe files they were started with.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import msgspec
import pytest

from core.checkpoints import select_checkpoint
from core.events import CompressionBaseline, Evaluation, GeneratedSample, Resumed, StageSkipped, StageStarted
from core.init.resolve import Resolver
from core.jobs.export import export
from core.jobs.prepare import prepare
from core.model.weights import load_model
from core.pipeline import pipeline
from core.recipe.file import load
from core.recipe.schema import Model, Recipe
from core.runs.directory import Run, RunState
from core.runs.lookup import all_runs
from core.sources.catalog import source_name
from core.storage.artifact import Artifact
from core.storage.journal import JournalReader
from core.storage.workspace import Workspace
from core.train.distributed import ProcessGroup
from core.train.fingerprint import training_fingerprint
from tests.core.training import CPU

FINGERPRINTS = {
    "documents": "b97ae38928fa57fb",
    "clean": "85fd57507dbf64bc",
    "tokens": "5bf6f4142ffc1a77",
    "causal": "6f4518df8c896fe3",
    "masked": "9375e878b1953a07",
}
"""As version 0.1 computed them."""
NAMES = ("causal", "masked")


@pytest.fixture
def older(workspace: Workspace) -> Workspace:
    """A workspace with the files of version 0.1."""
    with tarfile.open(Path(__file__).parents[1] / "data" / "home_of_0_1.tar.gz") as archive:
        archive.extractall(workspace.data.parent, filter="data")
    return workspace


def run_named(older: Workspace, name: str) -> Run:
    return next(run for run in all_runs(older) if run.recipe.name == name)


def recipe_file(older: Workspace, name: str) -> Path:
    return older.data.parent / f"{name}.toml"


def test_every_artifact_opens_and_verifies(older: Workspace) -> None:
    manifests = sorted(older.data.rglob("manifest.json"))
    for manifest in manifests:
        Artifact.open(manifest.parent, verify=True)
    assert len(manifests) == 3 + 3 + 2  # data, checkpoints, samples


def test_recipe_files_have_their_former_fingerprints(older: Workspace) -> None:
    notes: list[str] = []
    for name in NAMES:
        recipe = load(file=recipe_file(older, name), note=notes.append)
        stages = list(prepare(recipe, older))
        assert not [event for event in stages if isinstance(event, StageStarted)]
        skipped = [Path(event.artifact).name for event in stages if isinstance(event, StageSkipped)]
        corpus = source_name(recipe.source.corpus)
        assert skipped == [f"{corpus}-{FINGERPRINTS[kind]}" for kind in ("documents", "clean", "tokens")]
        tokens = Artifact.open(older.artifacts / "tokens" / skipped[-1])
        assert training_fingerprint(recipe, tokens) == FINGERPRINTS[name]
    assert any(note.startswith("preprocess.shortest is now called preprocess.min_characters") for note in notes)
    assert any(note.startswith("train.step_back is now called train.rollback_on_nan") for note in notes)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_is_listed_with_its_recipe_and_journal(older: Workspace, name: str) -> None:
    run = run_named(older, name)
    assert run.state() is RunState.DONE
    assert run.recipe == load(file=recipe_file(older, name))
    assert (run.recipe.train.grad_clip, run.recipe.preprocess.min_characters) == (0.5, 50)
    events = JournalReader(run.journal).events()
    assert any(isinstance(event, CompressionBaseline) for event in events)
    evaluations = [event for event in events if isinstance(event, Evaluation)]
    assert [event.step for event in evaluations][-1] == 12
    summary = run.summary()
    assert summary.metric is not None
    assert summary.metric.step == 12


@pytest.mark.parametrize("name", NAMES)
def test_a_run_resumes_and_generates(older: Workspace, name: str) -> None:
    run = run_named(older, name)
    base = msgspec.to_builtins(run.recipe, str_keys=True)
    recipe = load(base=base, overrides=["train.steps=16"], init=Resolver(older))
    events = list(pipeline(recipe, older, run.path, CPU, ProcessGroup()))
    assert [event.step for event in events if isinstance(event, Resumed)] == [12]
    skipped = [event.stage for event in events if isinstance(event, StageSkipped)]
    assert skipped == ["download", "preprocess", "tokenize"]
    samples = [event for event in events if isinstance(event, GeneratedSample)]
    assert samples
    assert samples[-1].step == 16
    newest, damaged = select_checkpoint(run.checkpoints, "last")
    assert newest is not None
    assert newest.facts["step"] == 16
    assert not damaged


def test_a_checkpoint_loads_and_initialises_another_run(older: Workspace) -> None:
    for name in NAMES:
        run = run_named(older, name)
        checkpoint, _ = select_checkpoint(run.checkpoints, "best")
        assert checkpoint is not None
        model = load_model(checkpoint.path)
        assert model.config == run.recipe.model
        assert model.config.tie_embeddings
        recipe = load(overrides=[f"model.init=run:{name}"], init=Resolver(older))
        assert msgspec.structs.replace(recipe.model, init="") == model.config


def test_tokens_are_exported_as_text(older: Workspace, tmp_path: Path) -> None:
    tokens = next((older.artifacts / "tokens").glob("stories-*[0-9a-f]"))
    clean = next((older.artifacts / "clean").glob("stories-*[0-9a-f]"))
    for artifact, stage in ((clean, "clean"), (tokens, "tokens")):
        for _ in export(Artifact.open(artifact), stage, tmp_path / f"{stage}.txt"):  # type: ignore[arg-type]
            pass
        assert (tmp_path / f"{stage}.txt").stat().st_size > 10_000


def test_an_older_program_reads_recipes_of_this_version() -> None:
    stored = msgspec.to_builtins(Recipe(model=Model(tie_embeddings=True)))
    assert stored["model"]["tied_head"] is True
    assert "clip" in stored["train"]
