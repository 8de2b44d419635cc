"""Artifacts: complete or absent, and checked for damage."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from core.storage.artifact import Artifact, DamagedError, InUseError, Staging, fingerprint, write_directory
from core.storage.files import replacing, sweep, write_atomic
from core.storage.locks import Lock, holder


def stage(final: Path) -> Staging:
    return Staging(final, "test", "f" * 16)


def test_only_published_files_survive_an_interruption(tmp_path: Path) -> None:
    final = tmp_path / "artifact"
    with pytest.raises(KeyboardInterrupt), stage(final).open() as out:
        out.publish("one", lambda path: path.write_text("1"))
        (out.path / "stray").write_text("half")
        raise KeyboardInterrupt
    assert not final.exists()
    with stage(final).open() as out:
        assert list(out.published) == ["one"]
        assert not (out.path / "stray").exists()
        out.publish("two", lambda path: path.write_text("22"))
        made = out.finish({"answer": 42})
    assert Artifact.open(final, verify=True).facts == {"answer": 42}
    assert [path.name for path in made.files()] == ["one", "two"]
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["artifact"]


def test_a_failed_write_publishes_nothing(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.write_text("half")
        raise OSError("disk full")

    with stage(tmp_path / "artifact").open() as out:
        with pytest.raises(OSError, match="disk full"):
            out.publish("one", fail)
        assert not out.published
        assert [path.name for path in out.path.iterdir()] == []


@pytest.mark.parametrize("harm", ["truncate", "flip", "delete", "manifest"])
def test_the_error_names_the_damaged_file(tmp_path: Path, harm: str) -> None:
    final = tmp_path / "artifact"
    write_directory(final, "test", "f" * 16, lambda path: (path / "data").write_bytes(bytes(1000)))
    data = final / "data"
    if harm == "truncate":
        os.truncate(data, 999)
    elif harm == "flip":
        data.write_bytes(bytes(500) + b"\x01" + bytes(499))
    elif harm == "delete":
        data.unlink()
    else:
        os.truncate(final / "manifest.json", 20)
    with pytest.raises(DamagedError) as caught:
        Artifact.open(final, verify=True)
    assert ("manifest" if harm == "manifest" else "data") in caught.value.what


def test_an_interrupted_write_keeps_the_old_directory(tmp_path: Path) -> None:
    final = tmp_path / "artifact"
    write_directory(final, "test", "a" * 16, lambda path: (path / "data").write_text("old"))

    def fail(path: Path) -> None:
        (path / "data").write_text("new")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_directory(final, "test", "b" * 16, fail)
    assert (Artifact.open(final, verify=True).path / "data").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["artifact"]


def test_two_processes_never_make_the_same_artifact_at_once(tmp_path: Path) -> None:
    final = tmp_path / "artifact"
    code = (
        "import sys; from pathlib import Path; from core.storage.artifact import Staging\n"
        "with Staging(Path(sys.argv[1]), 'test', 'f').open(): print('in', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(final)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "in\n"
    with pytest.raises(InUseError), stage(final).open():
        pass
    other.send_signal(signal.SIGKILL)
    other.wait()
    with stage(final).open():
        pass


def test_a_fingerprint_depends_on_content_not_on_order() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def test_an_atomic_write_keeps_the_old_content_when_it_fails(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_atomic(file, b"old")
    with pytest.raises(ValueError, match="no"), replacing(file) as staged:
        staged.write_bytes(b"ne")
        raise ValueError("no")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_lock_is_released_when_its_owner_ends_even_if_a_forked_child_lives(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = (
        "import os, sys, time; from pathlib import Path; from core.storage.locks import Lock\n"
        "lock = Lock.acquire(Path(sys.argv[1])); child = os.fork()\n"
        "if child == 0: time.sleep(60); os._exit(0)\n"
        "print(child, flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    child = int(owner.stdout.readline())
    assert holder(path) == owner.pid
    assert Lock.acquire(path) is None
    owner.kill()
    owner.wait()
    assert holder(path) is None
    os.kill(child, signal.SIGKILL)


def test_manifests_of_schema_1_are_read_without_a_seal_and_later_ones_need_it(tmp_path: Path) -> None:
    final = tmp_path / "artifact"
    write_directory(final, "test", "f" * 16, lambda path: (path / "data").write_bytes(bytes(1000)))
    manifest = json.loads((final / "manifest.json").read_bytes())
    for change, readable in (
        ({}, True),
        ({"schema": 1}, False),
        ({"schema": 1, "seal": ""}, True),
        ({"seal": ""}, False),
    ):
        (final / "manifest.json").write_text(json.dumps(manifest | change, separators=(",", ":")))
        if readable:
            assert Artifact.open(final).manifest.stage == "test"
        else:
            with pytest.raises(DamagedError, match="its manifest has changed"):
                Artifact.open(final)


CALLS = "?rename,?renameat,?renameat2,fsync,?mkdir,mkdirat,?unlink,unlinkat,?rmdir"
"""System calls that change a directory; which of them exist depends on the architecture."""

MAKE = """
import sys
from pathlib import Path
from core.storage.artifact import write_directory

def fill(path):
    for name in ("one", "two"):
        (path / name).write_text(sys.argv[2])

write_directory(Path(sys.argv[1]), "test", "0", fill)
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
@pytest.mark.parametrize("harm", ["signal=KILL", "error=ENOSPC"])
def test_if_any_system_call_fails_or_kills_the_old_or_the_new_directory_is_complete(tmp_path: Path, harm: str) -> None:
    final = tmp_path / "artifact"

    def make(text: str, *tracer: str) -> int:
        command = [*tracer, sys.executable, "-c", MAKE, str(final), text]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(command, env=environment, stderr=subprocess.DEVNULL, check=False).returncode

    assert make("old") == 0
    trace = tmp_path / "trace"
    if make("old", "strace", "-f", "-o", str(trace), "-e", f"trace={CALLS}") != 0:
        pytest.skip("tracing is forbidden here")
    calls = Counter(re.findall(r"^\d+ +(\w+)\(", trace.read_text(), re.MULTILINE))
    assert calls.total() > 10
    found = set()
    for call, nth in [(call, nth) for call, times in calls.items() for nth in range(1, times + 1)]:
        inject = f"inject={call}:{harm}:when={nth}"
        unharmed = make("new", "strace", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject) == 0
        assert not (unharmed and harm == "signal=KILL"), f"no {call} number {nth}"
        if harm == "signal=KILL":
            sweep(
                tmp_path
            )  # as the next attempt does; after an error the writer must have restored the directory itself
        content = (Artifact.open(final, verify=True).path / "two").read_text()
        assert content == "new" or not unharmed, f"{harm} at {call} number {nth}"
        found.add(content)
        sweep(tmp_path)
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
        assert content == "old" or make("old") == 0
    assert found == {"old", "new"}
