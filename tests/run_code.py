"""`start_code` runs code in a process that is forked from one that has imported torch, see `tests.preloaded`.

Not for code that looks at its memory or at which modules are imported.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from core.runs.launch import child_environment, python_command
from core.storage.workspace import Workspace


def start_code(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Run `code`, with `arguments` from `sys.argv[1]` on; its output and errors can be read as text."""
    command = python_command("tests.run_code", code, *map(str, arguments))
    pipe: Any = subprocess.PIPE
    return subprocess.Popen(command, env=child_environment(Workspace()), stdout=pipe, stderr=pipe, text=True)


def run_code(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `code` to its end."""
    with start_code(code, *arguments) as process:
        output, errors = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


if __name__ == "__main__":
    exec(compile(sys.argv.pop(1), "<code of a test>", "exec"), {"__name__": "__main__"})
