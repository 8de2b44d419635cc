"""Data stages killed at random times: the next attempt resumes, and the artifacts are bit-identical."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import psutil
import pytest

from core.download.stories import story
from core.recipe.file import load
from core.recipe.schema import Recipe
from core.runs.launch import child_environment
from core.storage.artifact import Artifact
from core.storage.workspace import Workspace
from tests.core.stages import file_digests
from tests.waiting import wait_for

KILLS = 8


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """60 MB of JSON lines, plain and compressed, with duplicates; every stage makes several shards of it."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    numbers = [*range(40_000), *range(0, 10_000, 10)]
    lines = [json.dumps({"text": story(1, number) + "trailing  \n"}) for number in numbers]
    (folder / "a.jsonl").write_text("\n".join(lines[::2]) + "\n")
    with gzip.open(folder / "b.jsonl.gz", "wt", compresslevel=1) as file:
        file.write("\n".join(lines[1::2]) + "\n")
    steps = '["unicode_nfc", "trailing_space", "empty", "duplicates", "near_duplicates"]'
    return load(
        base={"name": "k", "source": {"corpus": str(folder)}},
        overrides=[f"preprocess.steps={steps}", "tokenize.size=600"],
    )


def prepare(workspace: Workspace, recipe: Recipe, kill_after: float | None = None) -> bool:
    """Run the data stages in a child process, killed after `kill_after` seconds; returns whether they finished."""
    command = [
        sys.executable,
        "-P",
        "-m",
        "core.jobs.data_commands",
        "prepare",
        msgspec.json.encode(recipe).decode(),
        "1",
        "1",
    ]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=child_environment(workspace), **pipes) as process:  # type: ignore[call-overload]
        if kill_after is None:
            return bool(process.wait() == 0)
        time.sleep(kill_after)
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        process.kill()
        ended = process.wait() == 0
    wait_for(
        lambda: not any(one.is_running() and one.status() != "zombie" for one in family),
        what="the end of all processes",
    )
    return ended


def made(workspace: Workspace) -> dict[str, dict[str, str]]:
    """The digest of every file of every artifact."""
    return {
        str(path.relative_to(workspace.artifacts)): file_digests(Artifact.open(path, verify=True))
        for path in sorted(workspace.artifacts.glob("*/*"))
        if path.is_dir()
    }


@pytest.mark.slow
def test_resuming_after_kills_at_random_times_gives_the_same_artifacts(tmp_path: Path, recipe: Recipe) -> None:
    undisturbed, killed = (Workspace(tmp_path / name).prepare() for name in ("undisturbed", "killed"))
    began = time.monotonic()
    assert prepare(undisturbed, recipe)
    took = time.monotonic() - began
    dice = random.Random(os.environ.get("LLMTUI_TEST_SEED", "1"))
    for _ in range(KILLS):
        prepare(killed, recipe, dice.uniform(0.1, 0.9) * took)
    assert prepare(killed, recipe)
    whole = made(undisturbed)
    assert len(whole) == 3 and made(killed) == whole
    assert not list(killed.artifacts.rglob("*.partial"))
