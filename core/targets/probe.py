"""What a host has, as one line of JSON: `python -P -m core.targets.probe DATA_DIRECTORY TOKEN`, started by ssh."""

from __future__ import annotations

import shutil
import socket
import sys
import time
from pathlib import Path

import msgspec
import psutil
from msgspec import Struct

from core import __version__
from core.hardware import available_memory, cores, machine


class HostFacts(Struct, frozen=True, kw_only=True):
    """A host, as seen from there."""

    hostname: str
    version: str
    """Of llmtui."""
    machine: str
    cores: int
    free_memory: int
    """Bytes of main memory."""
    gpus: list[str]
    """By name; those of a GPU that is not visible are left out."""
    load: float
    """Processes that are running or could run, of each core, on average over a minute."""
    clock: float
    """Seconds since the epoch."""
    shares_data: bool
    """Whether it sees the file that the asking machine has written into the data directory."""
    free_disk: int
    """Bytes where the data directory is; 0 if it is not there."""


def facts(data: Path, token: str) -> HostFacts:
    there = data.is_dir()
    return HostFacts(
        hostname=socket.gethostname(),
        version=__version__,
        machine=machine().words(),
        cores=cores(),
        free_memory=available_memory(),
        gpus=[gpu.name for gpu in machine().gpus],
        load=psutil.getloadavg()[0] / cores(),
        clock=time.time(),
        shares_data=(data / token).exists(),
        free_disk=shutil.disk_usage(data).free if there else 0,
    )


if __name__ == "__main__":
    sys.stdout.write(msgspec.json.encode(facts(Path(sys.argv[1]), sys.argv[2])).decode() + "\n")
