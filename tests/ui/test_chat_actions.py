"""Chat: two checkpoints beside each other, editing, sessions, surprise, history, copying and saving."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.runs.chat_sessions import saved_sessions
from core.storage.workspace import Workspace
from llmtui.tui.screens.picker import Picker
from llmtui.tui.screens.xray import Xray
from llmtui.tui.widgets.prompt import PromptInput
from llmtui.tui.widgets.transcript import Transcript
from tests.ui.chatting import ask, prepared_run, workbench_of
from tests.ui.fake_runs import (
    hold_locks,
    make_checkpoint,
)
from tests.ui.pilot import screen_text, until

pytestmark = pytest.mark.heavy


async def test_two_checkpoints_answer_side_by_side_until_the_key_is_pressed_again(
    workspace: Workspace, tmp_path: Path
) -> None:
    run = prepared_run(workspace)
    make_checkpoint(run, 100)
    app = workbench_of(workspace, run, tmp_path)
    async with app.run_test(size=(100, 30)) as pilot:
        await (await ask(pilot, "once"))("20 tokens")
        await pilot.press("escape", "b")
        await until(pilot, lambda: isinstance(app.screen, Picker))
        await pilot.press("down", "down", "enter")
        await until(pilot, lambda: "beside step 100" in screen_text(app).splitlines()[0])
        await pilot.press("r")
        await until(pilot, lambda: screen_text(app).count("seed=2") == 2)
        lines = screen_text(app).splitlines()
        assert any("A  step 200" in line and "│ B  step 100" in line for line in lines)
        assert any("step=200" in line and "step=100" in line for line in lines)
        await until(pilot, lambda: not app.screen.busy)  # type: ignore[attr-defined]
        (session,) = saved_sessions(run.path)
        compared = session.messages[-1].compared
        assert compared is not None and compared.answer_info.checkpoint == "step-00000100"
        await pilot.press("ctrl+g")
        await until(pilot, lambda: "X-ray of which reply?" in screen_text(app))
        await pilot.press("down", "enter")
        await until(pilot, lambda: isinstance(app.screen, Xray))
        (request,) = app.session.inspections
        assert b"step-00000100" in request and b"step-00000200" not in request
    again = workbench_of(workspace, run, tmp_path)
    async with again.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "loss" in screen_text(again))
        await pilot.press("5")
        await until(pilot, lambda: "beside step 100" in screen_text(again))
        await until(pilot, lambda: "B  step 100" in screen_text(again))
        await pilot.press("escape", "b")
        await until(pilot, lambda: "beside" not in screen_text(again).splitlines()[0])


async def test_an_edited_prompt_branches_the_conversation_and_the_old_one_can_be_opened(
    workspace: Workspace, tmp_path: Path
) -> None:
    run = prepared_run(workspace, 'chat.user="U: {text}|A:"', 'chat.assistant=" {text}|"')
    app = workbench_of(workspace, run, tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await (await ask(pilot, "hello"))("20 tokens")
        await pilot.press("escape", "e")
        await until(pilot, lambda: app.screen.query_one(PromptInput).text == "hello")
        await pilot.press("2", "enter")
        await until(pilot, lambda: screen_text(app).count("20 tokens") == 2)
        assert [session.prompts for session in saved_sessions(run.path)] == [["hello2"], ["hello"]]
        await pilot.press("escape", "o")
        await until(pilot, lambda: isinstance(app.screen, Picker))
        await pilot.press("down", "enter")
        await until(pilot, lambda: not isinstance(app.screen, Picker) and "hello2" not in screen_text(app))
        await (await ask(pilot, "more"))("more")
        await until(pilot, lambda: screen_text(app).count("20 tokens") == 2)
    assert [session.prompts for session in saved_sessions(run.path)] == [["hello", "more"], ["hello2"]]


async def test_history_surprise_choosing_copying_and_saving(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = workbench_of(workspace, prepared_run(workspace), tmp_path)
    async with app.run_test(size=(100, 30)) as pilot:
        await (await ask(pilot, "one"))("one went")
        await until(pilot, lambda: screen_text(app).count("20 tokens") == 1)
        await (await ask(pilot, "two"))("two went")
        await until(pilot, lambda: screen_text(app).count("20 tokens") == 2)
        prompt = app.screen.query_one(PromptInput)
        await pilot.press("x", "up", "up")
        assert prompt.text == "one"
        await pilot.press("down", "down")
        assert prompt.text == "x"
        await pilot.press("escape", "s")
        await until(pilot, lambda: "bits of surprise <1" in screen_text(app))
        roles = {role for line in app.screen.query_one(Transcript).content(90) for _, role in line}
        assert "surprise-5" in roles  # 8 nats are 11.5 bits
        await pilot.press("left_square_bracket", "left_square_bracket", "y")
        await until(pilot, lambda: "characters of the text" in screen_text(app))
        assert "▌ one went" in screen_text(app)
        assert app.clipboard == " went T=0.8 k=50 p=1 seed=1 step=200"
        await pilot.press("w")
        await until(pilot, lambda: list(tmp_path.glob("chat-*.md")))
    (file,) = tmp_path.glob("chat-*.md")
    assert file.read_text().count("## Prompt") == 2


async def test_the_transcript_scrolls_from_the_prompt(workspace: Workspace, tmp_path: Path) -> None:
    app = workbench_of(workspace, prepared_run(workspace), tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await (await ask(pilot, "first" + "x" * 30))("20 tokens")
        for number in range(5):
            await pilot.press(*f"p{number}", "enter")
            await until(pilot, lambda: not app.screen.busy)  # type: ignore[attr-defined]
        await until(pilot, lambda: "firstx" not in screen_text(app))
        await pilot.press("pageup", "ctrl+up")
        await until(pilot, lambda: "firstx" in screen_text(app) and "more lines below" in screen_text(app))
        assert isinstance(app.focused, PromptInput)
        await pilot.press("pagedown", "ctrl+down")
        await until(pilot, lambda: "firstx" not in screen_text(app))


async def test_the_list_of_checkpoints_follows_the_training(workspace: Workspace, tmp_path: Path) -> None:
    run = prepared_run(workspace)
    app = workbench_of(workspace, run, tmp_path)
    with hold_locks(run):
        async with app.run_test(size=(80, 24)) as pilot:
            await (await ask(pilot, "once"))("20 tokens")
            await pilot.press("escape", "c")
            await until(pilot, lambda: isinstance(app.screen, Picker))
            make_checkpoint(run, 400)
            app.session.watcher.wake()
            await until(pilot, lambda: "step 400 (newest" in screen_text(app))
            await pilot.press("enter")  # still newest
            await until(pilot, lambda: "step 400 (newest" in screen_text(app).splitlines()[0])
