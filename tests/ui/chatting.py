"""A run to chat with, a fake inference process, and how a test writes a prompt."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from core.runs.directory import Run
from core.storage.workspace import Workspace
from llmtui.clients.inference_client import InferenceClient
from llmtui.tui.app import Workbench
from llmtui.tui.widgets.prompt import PromptInput
from tests.ui.fake_runs import (
    FakeWorker,
    events_before_training,
    make_checkpoint,
    make_run,
    training_events,
    write_launch,
)
from tests.ui.pilot import screen_text, until

FAKE_INFERENCE_PROCESS = '''
"""Speaks core.sample.protocol; what it writes depends on the prompt."""
import os, sys, threading
from core.sample.protocol import (
    Cancel, Finished, Generate, Loaded, Refused, TextDelta, TextEnded, decode_request, encode
)

cancelled = threading.Event()
asked = []

def send(reply):
    sys.stdout.buffer.write(encode(reply) + b"\\n")
    sys.stdout.buffer.flush()

def reply_to(request):
    if request.prompt == "die":
        os._exit(3)
    if request.prompt == "refuse":
        send(Refused(id=request.id, what="the checkpoint is gone", todo="choose another one"))
        return
    step = int(request.checkpoint[-8:])
    send(Loaded(id=request.id, checkpoint=request.checkpoint, step=step, prompt_tokens=3))
    if request.prompt == "endless":
        send(TextDelta(id=request.id, text="on and on"))
        cancelled.wait()
        send(Finished(id=request.id, cancelled=True, tokens=3, seconds=0.1))
        return
    sampling = request.sampling
    logprobs = (-8.0,) if request.logprobs else ()
    send(TextDelta(id=request.id, text=f" went T={sampling.temperature:g} k={sampling.top_k}", logprobs=logprobs))
    send(TextDelta(id=request.id, text=f" p={sampling.top_p:g} seed={sampling.seed} step={step}"))
    send(TextEnded(id=request.id, reason="length", tokens=20))
    send(Finished(id=request.id, tokens=20, seconds=0.1))

for line in sys.stdin.buffer:
    request = decode_request(line)
    if isinstance(request, Cancel):
        cancelled.set()
    else:
        cancelled.clear()
        threading.Thread(target=reply_to, args=(request,)).start()
'''


def prepared_run(workspace: Workspace, *overrides: str) -> Run:
    run = make_run(workspace, "live", *overrides)
    write_launch(run)
    FakeWorker(run).write_events(*events_before_training(), *training_events(1, 230, 400))
    make_checkpoint(run, 200)
    return run


def workbench_of(workspace: Workspace, run: Run, tmp_path: Path) -> Workbench:
    script = tmp_path / "speaker.py"
    script.write_text(FAKE_INFERENCE_PROCESS)
    client = InferenceClient(workspace, [sys.executable, str(script)])
    return Workbench(workspace, open_run=run.id, inference_client=client)


async def ask(pilot: Pilot[Any], prompt: str) -> Callable[[str], Any]:
    """Type `prompt` on the chat screen and send it; returns how to wait for a text."""
    app = pilot.app
    if not isinstance(app.focused, PromptInput):
        await until(pilot, lambda: (app.screen.is_current and "runs" in screen_text(app)) or "loss" in screen_text(app))
        await pilot.press("5")
        await until(pilot, lambda: isinstance(app.focused, PromptInput))
        await until(pilot, lambda: "step 200" in screen_text(app))
    await pilot.press(*prompt, "enter")
    return lambda text: until(pilot, lambda: text in " ".join(screen_text(app).split()))
