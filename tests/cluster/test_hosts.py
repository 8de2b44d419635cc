"""A run of another machine through a real sshd on loopback: `make cluster`."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil
import pytest

from core.recipe.schema import Recipe
from core.remote.hosts import SSH
from core.runs.directory import Run
from core.runs.remote_state import inference_paths
from core.sample.protocol import TextDelta
from core.storage.workspace import Workspace
from llmtui.cli.main import run as command_line
from llmtui.clients.inference_client import InferenceClient
from llmtui.clients.remote_inference import RemoteInferenceError
from tests.core.inference_process import endless, saved
from tests.waiting import wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]

CLUSTER = Path(os.environ.get("LLMTUI_CLUSTER", "/tmp/llmtui-cluster"))


def inference_processes(far: Workspace) -> list[psutil.Process]:
    """Those that work in the directory of runs of `far`, as `llmtui hosts infer` starts them."""
    found = []
    for process in psutil.process_iter():
        try:
            if "core.sample.serve" in process.cmdline() and process.cwd() == str(far.runs):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_text_is_generated_on_the_host_and_a_lost_connection_is_made_again(
    workspace: Workspace, tmp_path: Path, tiny: Callable[..., Recipe], capsys: pytest.CaptureFixture[str]
) -> None:
    if not (CLUSTER / "ssh_config").exists():
        pytest.skip("tests/cluster/setup.sh has not been run")
    far = Workspace(tmp_path / "far").prepare()
    original = Run.create(far, tiny())
    saved(original.checkpoints, 20)
    llmtui = shlex.join([sys.executable, "-P", "-c", "from llmtui.cli.main import main; main()"])
    there, ssh = f"LLMTUI_HOME={tmp_path}/far {llmtui}", shlex.join([*SSH, "-F", f"{CLUSTER}/ssh_config"])
    assert command_line(["hosts", "add", "one", "--ssh", ssh, "--command", there]) == 0
    run = Run.open(workspace.runs / original.id)
    wait_for(lambda: bool(inference_paths(run)), what="the list of checkpoints")

    capsys.readouterr()
    assert command_line(["sample", run.id, "once", "--tokens", "8", "--json"]) == 0
    assert msgspec.json.decode(capsys.readouterr().out)["step"] == 20
    assert not list(run.checkpoints.iterdir()), "no weights are copied"

    async def test() -> None:
        client, request = InferenceClient(workspace), endless(0, inference_paths(run)[0])
        before = set(psutil.Process().children())
        with pytest.raises(RemoteInferenceError, match="ended with signal 9"):
            async for reply in client.stream(request):
                if isinstance(reply, TextDelta):
                    for connection in set(psutil.Process().children()) - before:
                        connection.kill()
        wait_for(lambda: not inference_processes(far), what="the end of the process on the host")
        async for reply in client.stream(request):
            if isinstance(reply, TextDelta):
                break
        assert len(inference_processes(far)) == 1
        await client.close()

    asyncio.run(test())
    wait_for(lambda: not inference_processes(far), what="the end of the process on the host")
    assert command_line(["hosts", "rm", "one"]) == 0
