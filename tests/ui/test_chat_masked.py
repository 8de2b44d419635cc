"""Chat with a masked model: the reply is shown while it is unmasked."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from core.sample.protocol import Loaded, Span
from core.storage.workspace import Workspace
from llmtui.clients.inference_client import InferenceClient
from llmtui.tui.app import Workbench
from llmtui.tui.widgets.transcript import Transcript
from llmtui.view.lines import wrapped
from llmtui.view.unmask import mask_width, styled
from tests.ui.chatting import ask
from tests.ui.fake_runs import (
    FakeWorker,
    events_before_training,
    make_checkpoint,
    make_run,
    training_events,
    write_launch,
)
from tests.ui.pilot import screen_text

pytestmark = pytest.mark.heavy

FAKE_INFERENCE_PROCESS = """
import os, sys, time
from core.sample.protocol import *

def send(*replies):
    for reply in replies:
        sys.stdout.buffer.write(encode(reply) + b"\\n")
    sys.stdout.buffer.flush()

def until(name):
    while not os.path.exists(os.path.join(sys.argv[1], name)):
        time.sleep(0.01)

for line in sys.stdin.buffer:
    request = decode_request(line)
    if isinstance(request, Cancel):
        send(Finished(id=request.id, cancelled=True))
        continue
    assert request.denoising_states and request.order == "random"
    send(Loaded(id=request.id, checkpoint=request.checkpoint, step=200, prompt_tokens=2))
    send(DenoisingState(id=request.id, tokens=2, spans=[Span(masked=3), Span("[bold]one", new=True), Span(masked=1)]))
    if request.prompt == "hold":
        continue
    until("second")
    send(DenoisingState(id=request.id, tokens=4, spans=[Span("now ", new=True), Span("[bold]one"), Span(masked=2)]))
    until("last")
    send(DenoisingState(id=request.id, tokens=6, spans=[Span("now [bold]one"), Span("\\x1b[2J", new=True)]))
    send(TextDelta(id=request.id, text="now [bold]one\\x1b[2J"))
    send(TextEnded(id=request.id, reason="length", tokens=6), Finished(id=request.id, tokens=6, seconds=0.1))
"""


@pytest.fixture
def workbench(workspace: Workspace, tmp_path: Path) -> Workbench:
    run = make_run(workspace, "live", "model.objective=masked")
    write_launch(run)
    FakeWorker(run).write_events(*events_before_training(), *training_events(1, 230, 400))
    make_checkpoint(run, 200)
    script = tmp_path / "speaker.py"
    script.write_text(FAKE_INFERENCE_PROCESS)
    command = [sys.executable, str(script), str(tmp_path)]
    return Workbench(workspace, open_run=run.id, inference_client=InferenceClient(workspace, command))


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_masked_positions_are_replaced_by_text(
    workbench: Workbench, size: tuple[int, int], tmp_path: Path
) -> None:
    async with workbench.run_test(size=size) as pilot:
        seen = await ask(pilot, "once")
        await seen("once░░░░░░[bold]one░░")
        await seen("2 of 100 tokens unmasked")
        (turn,) = workbench.screen.query_one(Transcript).turns
        roles = dict(line for line in workbench.screen.query_one(Transcript).content(60)[0])
        assert roles == {"once": "dim", "░░░░░░": "dim", "[bold]one": "accent", "░░": "dim"}
        (tmp_path / "second").touch()
        await seen("oncenow [bold]one░░░░")
        roles = dict(line for line in workbench.screen.query_one(Transcript).content(60)[0])
        assert (roles["now "], roles["[bold]one"]) == ("accent", "")
        (tmp_path / "last").touch()
        await seen("oncenow [bold]one␛[2J")
        await seen("6 tokens, 60 tok/s")
        assert (turn.text, turn.masked_spans) == ("now [bold]one\x1b[2J", ())
        assert "░" not in screen_text(workbench)


async def test_unmasked_text_stays_when_generating_is_stopped(workbench: Workbench) -> None:
    async with workbench.run_test(size=(100, 30)) as pilot:
        seen = await ask(pilot, "hold")
        await seen("hold░░░░░░[bold]one░░")
        assert "stop" in screen_text(workbench)
        await pilot.press("escape")
        await seen("stopped")
        assert "hold░░░░░░[bold]one░░" in screen_text(workbench)
        (turn,) = workbench.screen.query_one(Transcript).turns
        assert not any(span.new for span in turn.masked_spans)


async def test_a_gap_in_the_prompt_is_filled(workbench: Workbench) -> None:
    async with workbench.run_test(size=(80, 24)) as pilot:
        seen = await ask(pilot, "hold___the end")
        await seen("hold░░░░░░[bold]one░░the end")
        await pilot.press("escape")
        await seen("stopped")


def test_a_masked_position_is_as_wide_as_the_mean_token_of_the_prompt() -> None:
    def loaded(tokens: int) -> Loaded:
        return Loaded(id=1, checkpoint="", step=1, prompt_tokens=tokens)

    assert [mask_width("p" * 12, loaded(tokens)) for tokens in (12, 6, 4, 1)] == [1, 2, 3, 6]
    assert mask_width("", loaded(1)) == 1
    assert list(styled([Span(masked=2), Span("x")], 3)) == [("░░░░░░", "dim"), ("x", "")]


def test_spans_are_wrapped_together_and_keep_their_roles() -> None:
    spans = [("one tw", "dim"), ("o th", ""), ("ree\n", "accent"), ("", "bad"), ("four", "good")]
    assert wrapped(spans, 8) == [
        [("one tw", "dim"), ("o", "")],
        [("th", ""), ("ree", "accent")],
        [("four", "good")],
    ]
