"""Chat: text streams from the inference process; stopping, retrying and failures."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from core import ROOT
from core.runs.directory import Run
from core.runs.transcript import earlier_messages
from core.storage.workspace import Workspace
from llmtui.clients.inference_client import InferenceClient
from llmtui.tui.app import Workbench
from llmtui.tui.widgets.prompt import PromptInput
from llmtui.tui.widgets.sampler_pane import SamplerPane
from tests.ui.chatting import FAKE_INFERENCE_PROCESS, ask, prepared_run, workbench_of
from tests.ui.fake_runs import (
    FakeWorker,
    events_before_training,
    hold_locks,
    make_checkpoint,
    make_run,
    training_events,
    write_launch,
)
from tests.ui.pilot import screen_text, until

pytestmark = pytest.mark.heavy


@pytest.fixture
def run(workspace: Workspace) -> Run:
    return prepared_run(workspace)


@pytest.fixture
def workbench(workspace: Workspace, run: Run, tmp_path: Path) -> Workbench:
    return workbench_of(workspace, run, tmp_path)


async def test_text_streams_after_the_prompt_with_the_settings_of_the_recipe(workbench: Workbench) -> None:
    async with workbench.run_test(size=(100, 30)) as pilot:
        seen = await ask(pilot, "once")
        await seen("once went T=0.8 k=50 p=1 seed=1 step=200")
        await seen("20 tokens, 200 tok/s")
        assert workbench.screen.query_one(PromptInput).text == ""


@pytest.mark.parametrize("key", ["alt+enter", "ctrl+j"])
async def test_a_new_line_in_the_prompt_does_not_send_it(workbench: Workbench, key: str) -> None:
    async with workbench.run_test(size=(100, 30)) as pilot:
        await pilot.press("5")
        await until(pilot, lambda: isinstance(workbench.focused, PromptInput))
        await pilot.press("a", key, "b")
        assert workbench.screen.query_one(PromptInput).text == "a\nb"


async def test_arrow_keys_change_the_sampling_settings(workbench: Workbench) -> None:
    async with workbench.run_test(size=(100, 30)) as pilot:
        seen = await ask(pilot, "once")
        await seen("20 tokens")
        await pilot.press("tab")
        assert isinstance(workbench.focused, SamplerPane)
        await pilot.press("right", "plus", "down", "left", "down", "minus", "down", *"1357", "enter")
        assert "recipe 50" in screen_text(workbench)
        await pilot.press("down", "enter", *"bogus", "enter")
        await until(pilot, lambda: "bogus is no value of tokens; type a number" in screen_text(workbench))
        await pilot.press("escape", "i")
        seen = await ask(pilot, "then")
        await seen("then went T=1 k=20 p=0.95 seed=1357")
        assert "T 1.0*" in screen_text(workbench)
        await pilot.press("escape", "R")
        await until(pilot, lambda: "T 0.8   k 50" in screen_text(workbench))


async def test_tab_goes_from_the_prompt_to_the_settings_and_back(workbench: Workbench) -> None:
    async with workbench.run_test(size=(80, 24)) as pilot:
        await ask(pilot, "once")
        await pilot.press("tab")
        assert isinstance(workbench.focused, SamplerPane)
        await pilot.press("tab")
        assert isinstance(workbench.focused, PromptInput)


async def test_escape_stops_the_text_and_the_next_prompt_is_answered(workbench: Workbench) -> None:
    async with workbench.run_test(size=(100, 30)) as pilot:
        seen = await ask(pilot, "endless")
        await seen("on and on")
        await pilot.press("escape")
        await seen("stopped")
        seen = await ask(pilot, "once")
        await seen("once went")


async def test_the_footer_offers_stop_only_while_text_is_generated(workbench: Workbench) -> None:
    async with workbench.run_test(size=(100, 30)) as pilot:
        seen = await ask(pilot, "once")
        await seen("20 tokens")
        assert screen_text(workbench).splitlines()[-1].split()[:2] == ["enter", "send"]


async def test_retry_asks_again_with_the_next_seed(workbench: Workbench) -> None:
    async with workbench.run_test(size=(100, 30)) as pilot:
        seen = await ask(pilot, "once")
        await seen("20 tokens")
        await pilot.press("escape", "r")
        await seen("seed=2")


async def test_a_refusal_is_shown_and_the_inference_process_keeps_running(workbench: Workbench) -> None:
    async with workbench.run_test(size=(100, 30)) as pilot:
        seen = await ask(pilot, "refuse")
        await seen("the checkpoint is gone; choose another one")
        seen = await ask(pilot, "once")
        await seen("once went")


async def test_an_inference_process_that_died_is_reported_and_restarted(workbench: Workbench) -> None:
    async with workbench.run_test(size=(100, 30)) as pilot:
        seen = await ask(pilot, "die")
        await seen("the inference process exited with code 3")
        seen = await ask(pilot, "once")
        await seen("once went")


async def test_the_turns_stay_when_the_checkpoints_are_deleted(workbench: Workbench, run: Run) -> None:
    async with workbench.run_test(size=(100, 30)) as pilot:
        seen = await ask(pilot, "once")
        await seen("20 tokens")
        shutil.rmtree(run.checkpoints / "step-00000200")
        await until(pilot, lambda: "(newest" not in screen_text(workbench))
        assert "once went" in screen_text(workbench)
        await pilot.press("escape", "r")
        await seen("This run has no checkpoint")
        assert "once went" in screen_text(workbench)


async def test_a_newer_checkpoint_replies_while_training_continues(workbench: Workbench, run: Run) -> None:
    with hold_locks(run):
        async with workbench.run_test(size=(100, 30)) as pilot:
            seen = await ask(pilot, "once")
            await seen("step=200")
            make_checkpoint(run, 400)
            worker = FakeWorker(run)
            worker.write_events(*events_before_training(), *training_events(1, 400, 400))
            await seen("step 400 (newest")
            seen = await ask(pilot, "then")
            await seen("step=400")


async def test_transcripts_belong_to_their_run(workbench: Workbench, workspace: Workspace) -> None:
    other = make_run(workspace, "other")
    make_checkpoint(other, 200)
    async with workbench.run_test(size=(100, 30)) as pilot:
        seen = await ask(pilot, "once")
        await seen("once went")
        workbench.session.select(other)
        await until(pilot, lambda: "once went" not in screen_text(workbench))


async def test_the_transcript_is_shown_when_the_workbench_is_reopened(
    workbench: Workbench, workspace: Workspace, run: Run, tmp_path: Path
) -> None:
    async with workbench.run_test(size=(100, 40)) as pilot:
        for prompt in ("once", "then"):
            await (await ask(pilot, prompt))(f"{prompt} went")
            await until(pilot, lambda: screen_text(workbench).count("20 tokens") == 1 + (prompt == "then"))  # noqa: B023
    again = Workbench(
        workspace,
        open_run=run.id,
        inference_client=InferenceClient(workspace, [sys.executable, str(tmp_path / "speaker.py")]),
    )
    async with again.run_test(size=(100, 40)) as pilot:
        await pilot.press("5")
        await until(pilot, lambda: "once went" in screen_text(again) and "then went" in screen_text(again))
        await (await ask(pilot, "now"))("now went")
        assert "continuing" not in screen_text(again)  # each prompt stands alone


async def test_with_chat_templates_a_conversation_is_continued(workspace: Workspace, tmp_path: Path) -> None:
    received = tmp_path / "received"
    script = tmp_path / "speaker.py"
    log = f"open({str(received)!r}, 'a').write(repr((request.prompt, request.sampling.stop)) + chr(10))"
    note = f"    {log}\n    sampling ="
    script.write_text(FAKE_INFERENCE_PROCESS.replace("    sampling =", note))
    run = make_run(workspace, "talker", 'chat.user="U: {text}|A:"', 'chat.assistant=" {text}|"')
    write_launch(run)
    FakeWorker(run).write_events(*events_before_training(), *training_events(1, 230, 400))
    make_checkpoint(run, 200)
    workbench = Workbench(
        workspace, open_run=run.id, inference_client=InferenceClient(workspace, [sys.executable, str(script)])
    )
    async with workbench.run_test(size=(120, 40)) as pilot:
        await (await ask(pilot, "hello"))("hello │")  # the answer stands below
        for number, prompt in enumerate(("more", "and"), 1):
            await until(pilot, lambda: screen_text(workbench).count("20 tokens") == number)  # noqa: B023
            await ask(pilot, prompt)
        await until(pilot, lambda: screen_text(workbench).count("20 tokens") == 3)
    answer = "went T=0.8 k=50 p=1 seed=1 step=200"
    prompts = ["U: hello|A:", f"U: hello|A: {answer}|U: more|A:"]
    prompts.append(f"{prompts[1]} {answer}|U: and|A:")
    assert received.read_text().splitlines() == [repr((prompt, ("|U:",))) for prompt in prompts]


async def test_two_chats_with_one_run_do_not_write_into_one_transcript(workbench: Workbench, run: Run) -> None:
    code = "import sys; from pathlib import Path; from core.runs.transcript import Transcripts\n"
    code += "kept = Transcripts(Path(sys.argv[1])); print(kept.kept, flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(run.path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        async with workbench.run_test(size=(100, 30)) as pilot:
            seen = await ask(pilot, "once")
            await seen("is not saved")
            await seen("once went")


async def test_retry_with_another_checkpoint_keeps_the_replies_of_the_first(workbench: Workbench, run: Run) -> None:
    make_checkpoint(run, 400)
    async with workbench.run_test(size=(100, 40)) as pilot:
        await pilot.press("5")
        await until(pilot, lambda: isinstance(workbench.focused, PromptInput) and "step 400" in screen_text(workbench))
        await pilot.press("escape", "c")
        await until(pilot, lambda: "Checkpoints of" in screen_text(workbench))
        await pilot.press("down", "down", "enter")
        await until(pilot, lambda: "step 200" in screen_text(workbench).splitlines()[0])
        await pilot.press("i", *"bee", "enter")
        await until(pilot, lambda: "bee went" in screen_text(workbench) and "20 tokens" in screen_text(workbench))
        await pilot.press("escape", "c")
        await until(pilot, lambda: "Checkpoints of" in screen_text(workbench))
        await pilot.press("up", "enter")  # of the list: newest, step 400, step 200
        await until(pilot, lambda: "step 400" in screen_text(workbench).splitlines()[0])
        await pilot.press("r")
        await until(pilot, lambda: screen_text(workbench).count("bee went") == 2)
        await until(pilot, lambda: screen_text(workbench).count("20 tokens") == 2)
    assert [message.text for message in earlier_messages(run.path, "step-00000200")][:1] == ["bee"]
    assert len(earlier_messages(run.path, "step-00000200")) == 2
    assert len(earlier_messages(run.path, "step-00000400")) == 2


async def test_text_generated_before_leaving_is_saved(workbench: Workbench, run: Run) -> None:
    async with workbench.run_test(size=(100, 30)) as pilot:
        await (await ask(pilot, "endless"))("on and on")
    assert [message.text for message in earlier_messages(run.path, "step-00000200")] == ["endless", "on and on"]


async def test_a_new_conversation_clears_the_screen_and_what_is_sent(
    workspace: Workspace, workbench: Workbench
) -> None:
    async with workbench.run_test(size=(100, 30)) as pilot:
        await (await ask(pilot, "once"))("20 tokens")
        await until(pilot, lambda: workbench.screen.is_available("chat.new"))  # type: ignore[attr-defined]
        await pilot.press("escape", "N")
        await until(pilot, lambda: "once went" not in screen_text(workbench))
        assert "the model continues it" in screen_text(workbench)
        await pilot.press("i")
        await (await ask(pilot, "then"))("then went")
