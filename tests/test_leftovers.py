"""What tests start ends with them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests import leftovers
from tests.waiting import wait_for

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("scope", ["function", "module"])
def test_a_process_that_outlives_its_test_is_ended_and_named(tmp_path: Path, scope: str) -> None:
    (tmp_path / "conftest.py").write_text(
        "import pytest\nfrom tests import leftovers\nfrom tests.conftest import home, nothing_is_left\n"
        "leftovers.GRACE = 0.1\n"
    )
    (tmp_path / "test_it.py").write_text(
        "import subprocess, sys, pytest\n"
        f"@pytest.fixture(scope={scope!r})\n"
        "def started():\n"
        "    return subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        "def test_nothing(started): open('pid', 'w').write(str(started.pid))\n"
    )
    inner = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", str(tmp_path)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert "1 passed, 1 error" in inner.stdout, inner.stdout
    assert "time.sleep(600)" in inner.stdout
    pid = int((tmp_path / "pid").read_text())
    wait_for(lambda: not psutil.pid_exists(pid), what="the end of the process")


def test_ctrl_c_is_heard_where_the_suite_was_started_deaf_to_it() -> None:
    sleeper = "import sys, time; print('up', flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", sleeper], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.read(2) == b"up"
        process.send_signal(2)
        assert process.wait() == -2


def test_what_lives_on_is_found_by_its_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = f"{os.environ[leftovers.MARK]}/mine"
    monkeypatch.setenv(leftovers.MARK, mine)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        wait_for(lambda: [found.pid for found in leftovers.marked(mine)] == [process.pid], what="it is found")
        assert leftovers.end(mine, grace=0) == [f"{sys.executable} -c input()"]
        assert list(leftovers.marked(mine)) == []
