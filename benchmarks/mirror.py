"""What following a run of another machine costs: `python -m benchmarks.mirror`.

An sshd of this benchmark's own on loopback, and on its side a data directory with twenty finished runs and one that
takes ten steps a second. Measured are bytes and processor time while that run is mirrored, and the time from connecting
until its state and summary are here.
"""

from __future__ import annotations

import contextlib
import getpass
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks.harness import LLMTUI, Figure, home, options, report
from benchmarks.steady import make_runs
from core.recipe.file import load
from core.remote.hosts import SSH, HostFile, MirroredHost
from core.runs.directory import Run, RunState
from core.storage.locks import holder
from core.storage.workspace import Workspace

FINISHED = 20
SETTLE = 5.0
"""Seconds after the first picture, until what the host had before has been sent."""

BYTES_TARGET, PERCENT_TARGET, FIRST_TARGET = 2_000, 1.0, 1.0


@contextlib.contextmanager
def sshd(folder: Path) -> Iterator[tuple[str, ...]]:
    """An sshd on loopback; the command that connects to it."""
    program = shutil.which("sshd") or "/usr/sbin/sshd"
    if not Path(program).exists():
        raise SystemExit("this benchmark needs sshd: install openssh-server")
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    shutil.copy(folder / "user.pub", folder / "authorized")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = shlex.split(f"-o AuthorizedKeysFile={folder}/authorized -o StrictModes=no -o ListenAddress=127.0.0.1")
    Path("/run/sshd").mkdir(exist_ok=True)
    server = subprocess.Popen(
        [program, "-D", "-e", "-f", "/dev/null", "-p", str(port), "-h", folder / "host", *settings],
        stderr=(folder / "sshd.log").open("wb"),
    )
    try:
        time.sleep(1.0)
        options = ("-p", str(port), "-i", str(folder / "user"), "-o", "StrictHostKeyChecking=no", "-v")
        yield (*SSH, "-o", f"UserKnownHostsFile={folder / 'known'}", *options)
    finally:
        server.kill()
        server.wait()


def processor_seconds(process: psutil.Process) -> float:
    """Of a process and those it has started."""
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return float(sum(one.user + one.system for one in times))


def transferred(log: str) -> int:
    """Bytes that ssh says it has sent and received in all."""
    total = 0
    for line in log.splitlines():
        if "Transferred: sent" in line:
            total += sum(int(word.rstrip(",")) for word in line.split() if word.rstrip(",").isdecimal())
    return total


def main() -> int:
    chosen = options(__doc__)
    seconds = 5.0 if chosen.quick else 30.0
    with home() as near, sshd(near) as ssh:
        far = Workspace(near / "far").prepare()
        make_runs(far, FINISHED)
        run = Run.create(far, load(preset="demo", overrides=["name=steady"]))
        worker = subprocess.Popen([sys.executable, "-m", "benchmarks.steady", str(run.path)])
        workspace = Workspace().prepare()
        command = f"LLMTUI_HOME={shlex.quote(str(far.home))} {shlex.join(LLMTUI)}"
        host = MirroredHost.create(
            workspace, "loopback", HostFile(address=f"{getpass.getuser()}@127.0.0.1", command=command, ssh=ssh)
        )
        try:
            time.sleep(SETTLE)
            rounds = []
            for lasts in (0.0, 0.0, seconds):  # the first time the finished runs are sent, too
                began = time.perf_counter()
                host.start(workspace)
                mirror = Run(workspace.runs / run.id, run.file)
                while not mirror.path.is_dir() or mirror.state() is not RunState.RUNNING or not mirror.summary().metric:
                    time.sleep(0.005)
                    if why := host.connection().why.replace("connecting", ""):
                        raise SystemExit(f"{why}\n{host.log.read_text()[-2000:]}")
                first = time.perf_counter() - began
                time.sleep(SETTLE)
                process = psutil.Process(holder(host.lock))
                before = processor_seconds(process)
                time.sleep(lasts)
                spent = processor_seconds(process) - before
                host.stop()
                rounds.append((first, transferred(host.log.read_text()), spent))
                shutil.rmtree(mirror.path)
                (host.path / "host.json").write_text((host.path / "host.json").read_text().replace(run.id, "x"))
                host = MirroredHost.find(workspace, "loopback")
                host.log.unlink()
        finally:
            worker.kill()
            worker.wait()
            if host.is_mirrored:
                host.stop()
    _, (_, short, _), (first, long, spent) = rounds
    return report(
        [
            Figure(name="first picture of an active run", value=first, unit="s", at_most=FIRST_TARGET),
            Figure(
                name="both directions, at ten steps a second",
                value=(long - short) / seconds,
                unit="B/s",
                at_most=BYTES_TARGET,
            ),
            Figure(name="mirror and ssh, of one core", value=100 * spent / seconds, unit="%", at_most=PERCENT_TARGET),
        ],
        chosen,
    )


if __name__ == "__main__":
    sys.exit(main())
