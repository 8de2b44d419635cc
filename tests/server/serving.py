"""A server process."""

from __future__ import annotations

import http.client
import os
import queue
import signal
import subprocess
import threading
from typing import TYPE_CHECKING

from core.storage.workspace import Workspace
from tests.cli_runs import LLMTUI, ROOT
from tests.waiting import PATIENCE

if TYPE_CHECKING:
    import openai

TOKEN = "a-token-for-tests"
ENDLESS = 1_000_000


class Served:
    """A server process and the lines of its standard error."""

    def __init__(self, workspace: Workspace, *arguments: str, token: str | None = TOKEN) -> None:
        self.process = subprocess.Popen(
            [*LLMTUI, "serve", "--port", "0", *(("--token", token) if token else ()), *arguments],
            env=os.environ | {"PYTHONPATH": str(ROOT), "LLMTUI_HOME": str(workspace.home)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip().removeprefix("export OPENAI_BASE_URL=")
        self.port = int(self.url.rpartition(":")[2].partition("/")[0])
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read_lines, daemon=True).start()

    def _read_lines(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.put(line)

    def wait_for_line(self, text: str) -> str:
        """Wait for a line of standard error that contains `text`."""
        while text not in (line := self._lines.get(timeout=PATIENCE)):
            pass
        return line

    def client(self, token: str = TOKEN) -> openai.OpenAI:
        import openai

        return openai.OpenAI(base_url=self.url, api_key=token, max_retries=0, timeout=PATIENCE)

    def request(self, method: str, path: str, body: str | bytes = "", **headers: str) -> tuple[int, str]:
        """Send a raw request; returns status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        extra_headers = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, {"authorization": f"Bearer {TOKEN}"} | extra_headers)
        response = connection.getresponse()
        status, text = response.status, response.read().decode()
        connection.close()
        return status, text

    def end(self, sig: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(sig)
        return self.process.wait(timeout=PATIENCE)
