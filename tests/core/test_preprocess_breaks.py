"""Cleaning by several processes: after a kill, on a full disk, and its memory."""

from __future__ import annotations

import contextlib
import random
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

import core.preprocess
from core.errors import LlmtuiError
from core.recipe.schema import Preprocess
from core.storage.artifact import Artifact
from core.storage.documents import DocumentPart
from tests.core.stages import file_digests, preprocessing, run_stage
from tests.core.test_corpus_steps import corpus, prose
from tests.run_code import start_code
from tests.waiting import PATIENCE

pytestmark = pytest.mark.heavy

STEPS: tuple[Any, ...] = ("control_characters", "trailing_space", "duplicates", "duplicate_lines", "near_duplicates")


def run(final: Path, source: Path, processes: int, limit: int = 0) -> None:
    """Clean `source` into `final`. limit: the largest size of a file in bytes, to simulate a full disk."""
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    recipe, documents = Preprocess(steps=STEPS), Artifact.open(source)
    try:
        run_stage(final, lambda out: core.preprocess.preprocess(recipe, documents, out, processes=processes))
    except (OSError, LlmtuiError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


def start(*arguments: object) -> subprocess.Popen[str]:
    code = (
        "import sys; from pathlib import Path; from tests.core.test_preprocess_breaks import run\n"
        "if __name__ == '__main__': run(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))"
    )
    return start_code(code, *arguments)


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Eight shards of 0.6 MB each."""
    dice = random.Random(4)
    shards = [[DocumentPart(f"{n}-{k}", 0, prose(dice, 800)) for k in range(120)] for n in range(8)]
    shards[5] += shards[2][:20]
    return corpus(tmp_path_factory.mktemp("breaks") / "documents", shards)


@pytest.fixture(scope="module")
def undisturbed(documents: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return run_stage(tmp_path_factory.mktemp("whole") / "clean", preprocessing(documents, Preprocess(steps=STEPS)))


def test_resuming_after_kills_at_random_times_gives_the_same_result(
    documents: Artifact, undisturbed: Artifact, tmp_path: Path
) -> None:
    dice = random.Random(9)
    final = tmp_path / "clean"
    for _ in range(3):
        process = start(final, documents.path, 2)
        published = final.with_name("clean.partial") / ".published.json"
        deadline = time.monotonic() + 60
        before = published.stat().st_mtime_ns if published.exists() else 0
        while process.poll() is None and time.monotonic() < deadline:
            if published.exists() and published.stat().st_mtime_ns != before:
                break
            time.sleep(0.01)
        time.sleep(0.6 * dice.random())
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.kill()
        process.communicate()
        _, running = psutil.wait_procs(children, PATIENCE)
        assert not running
    assert not final.exists()
    again = run_stage(final, preprocessing(documents, Preprocess(steps=STEPS)))
    assert file_digests(again) == file_digests(undisturbed) and again.facts == undisturbed.facts


# shard 5 has the largest file of keys, of 0.24 MB; the shards of documents have 0.16 MB, the clean one 1.1 MB
@pytest.mark.parametrize(
    ("processes", "limit", "complete"), [(2, 230_000, "0-keys-00004"), (1, 500_000, "1-keys-00007")]
)
def test_a_full_disk_is_an_error_and_complete_files_are_kept(
    documents: Artifact, undisturbed: Artifact, tmp_path: Path, processes: int, limit: int, complete: str
) -> None:
    final = tmp_path / "clean"
    process = start(final, documents.path, processes, limit)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1 and "Traceback" not in stderr and "File too large" in stderr
    assert (final.with_name("clean.partial") / complete).exists()
    again = run_stage(final, preprocessing(documents, Preprocess(steps=STEPS)))
    assert file_digests(again) == file_digests(undisturbed)
    assert sorted(path.name for path in final.iterdir()) == sorted([*again.manifest.files, "manifest.json"])


@pytest.mark.slow
def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    """All processes together use less than 1 GiB, and for eight times the text at most a quarter more."""
    peaks = []
    for shards in (2, 16):
        dice = random.Random(shards)
        parts = [[DocumentPart(f"{n}-{k}", 0, prose(dice, 700)) for k in range(7500)] for n in range(shards)]
        made = corpus(tmp_path / f"documents-{shards}", parts)
        process = start(tmp_path / f"clean-{shards}", made.path, 2)
        peak = 0
        while process.poll() is None:
            total = 0
            for one in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    total += one.memory_full_info().pss
            peak = max(peak, total)
            time.sleep(0.1)
        assert process.returncode == 0
        peaks.append(peak)
    assert max(peaks) < 2**30
    assert peaks[1] < 1.25 * peaks[0] + 32 * 2**20
