"""What a screen shows is of the run it names, of now, and readable; nothing hides the keys."""

from __future__ import annotations

import itertools
import re

import pytest
from textual.app import App
from textual.geometry import Offset
from textual.selection import SELECT_ALL, Selection
from textual.widgets import OptionList

from core.errors import LlmtuiError
from core.events import AttemptEnded, AttemptStarted, Note, Progress, StageStarted
from core.recipe.sampling import Sampling
from core.recipe.schema import Sample
from core.runs.transcript import AnswerInfo, ChatMessage, ConversationStart, Transcripts
from core.storage.workspace import Workspace
from llmtui.tui.app import Workbench
from llmtui.tui.screens.chat import Chat
from llmtui.tui.screens.run_screen import show_error
from llmtui.tui.theming import default_variables
from llmtui.tui.widgets import bars
from llmtui.tui.widgets.hardware import HardwarePane
from llmtui.tui.widgets.number_input import NumberInputs
from llmtui.tui.widgets.pane import Pane
from llmtui.tui.widgets.panels import EventLog, figure_in
from llmtui.tui.widgets.prompt import PromptInput
from llmtui.tui.widgets.runs_list import RunsList
from llmtui.tui.widgets.transcript import Transcript
from llmtui.view.lines import clip, cut
from llmtui.view.run_state import state_word
from tests.ui.making import (
    SECONDS_A_STEP,
    Worker,
    alive,
    beginning,
    checkpoint,
    finished_run,
    launched,
    make_run,
    metric,
    training,
)
from tests.ui.viewing import screen_text, until


def braille(app: App[None]) -> list[str]:
    return [row for row in screen_text(app).splitlines() if any(0x2800 < ord(char) < 0x2900 for char in row)]


async def test_a_curve_is_that_of_the_run_shown_also_after_runs_without_one(workspace: Workspace) -> None:
    long, short = finished_run(workspace, "long", 300), finished_run(workspace, "short", 30)
    empty = make_run(workspace, "empty")
    app = Workbench(workspace, open_run=long.id)
    async with app.run_test(size=(120, 40)) as pilot:

        async def turn_to(run: object, name: str) -> None:
            app.session.select(run)  # type: ignore[arg-type]
            app.session.watcher.wake()
            await until(pilot, lambda: name in screen_text(app).splitlines()[0])
            await until(
                pilot, lambda: app.session.watcher.history is not None and app.session.watcher.history.caught_up
            )
            await pilot.pause(0.3)

        await turn_to(short, "short")
        of_short = braille(app)
        await turn_to(long, "long")
        of_long = braille(app)
        assert of_short and of_long and of_short != of_long
        await turn_to(empty, "empty")
        assert not braille(app) and "stages" in screen_text(app)
        await turn_to(short, "short")
        assert braille(app) == of_short


async def test_a_pane_that_was_hidden_shows_what_it_was_given_meanwhile(workspace: Workspace) -> None:
    class Plain(Pane):
        text = "old"

        def lines(self, width: int, height: int) -> list[list[tuple[str, str]]]:
            return [[(self.text, "")]]

    class PlainApp(App[None]):
        def get_theme_variable_defaults(self) -> dict[str, str]:
            return default_variables()

        def compose(self):  # type: ignore[no-untyped-def]
            yield Plain()

    app = PlainApp()
    async with app.run_test(size=(40, 5)) as pilot:
        await until(pilot, lambda: "old" in screen_text(app))
        pane = app.query_one(Plain)
        pane.display = False
        await pilot.pause()
        pane.text = "new"
        pane.update()
        pane.display = True
        await until(pilot, lambda: "new" in screen_text(app))


async def test_a_list_that_was_scrolled_is_at_its_start_for_another_run(workspace: Workspace) -> None:
    one, two = finished_run(workspace, "one", 1200), finished_run(workspace, "two", 1200)
    app = Workbench(workspace, open_run=one.id)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "events" in screen_text(app) and "done" in screen_text(app))
        events = app.screen.query_one("#events", EventLog)
        await until(pilot, lambda: events._length > 20)
        events.scroll_lines(5)
        assert events._scrolled == 5
        app.session.select(two)
        app.session.watcher.wake()
        await until(pilot, lambda: "two" in screen_text(app).splitlines()[0])
        assert events._scrolled == 0


async def test_copying_takes_the_text_and_no_name_of_ours(workspace: Workspace) -> None:
    run = finished_run(workspace, "bard", 100)
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "✓ bard" in screen_text(app) and "read_json" in screen_text(app))
        for key in ("", "1", "5"):
            await pilot.press(*key)
            await pilot.pause(0.2)
            screen = app.screen
            screen.selections = {widget: SELECT_ALL for widget in screen.query("*") if widget.allow_select}
            copied = screen.get_selected_text() or ""
            for widget in screen.query("*"):
                assert str(widget.css_identifier_styled) not in copied, widget
            assert "bard" in copied and "╭" not in copied and "╯" not in copied
            screen.clear_selection()


async def test_a_selection_with_the_mouse_is_what_is_copied(workspace: Workspace) -> None:
    run = finished_run(workspace, "bard", 100)
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "def read_json" in screen_text(app))
        row, line = next((y, s) for y, s in enumerate(screen_text(app).splitlines()) if "def read_json" in s)
        column = line.index("def read_json")
        await pilot.mouse_down(offset=(column, row))
        await pilot.hover(offset=(column + 4, row))
        await pilot.hover(offset=(column + 13, row))
        await pilot.mouse_up(offset=(column + 13, row))
        assert (app.screen.get_selected_text() or "").startswith("def read_json")
        await pilot.press("ctrl+c")
        assert app.clipboard.startswith("def read_json")
        await until(pilot, lambda: "Copied." in screen_text(app))


def test_a_part_of_a_pane_is_cut_out_by_rows_and_columns() -> None:
    pane = Transcript()
    pane._content = [[("first line", "")], [("second", "dim"), (" line", "")]]
    assert pane.get_selection(Selection(Offset(6, 0), Offset(6, 1))) == ("line\nsecond", "\n")
    assert pane.get_selection(Selection(Offset(-2, -1), None)) == ("first line\nsecond line", "\n")


@pytest.mark.parametrize("setting", ["NO_COLOR", "ansi-dark", "ink", "paper"])
async def test_a_picker_shows_its_cursor_in_every_theme_and_without_colours(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    if setting == "NO_COLOR":
        monkeypatch.setenv("NO_COLOR", "1")
    else:
        (workspace.config / "config.toml").write_text(f'theme = "{setting}"\n')
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "welcome" in screen_text(app))
        await pilot.press("t")
        await until(pilot, lambda: "Themes" in screen_text(app))

        def reversed_names() -> list[str]:
            options = app.screen.query_one(OptionList)
            region = options.content_region
            strips = app.screen._compositor.render_strips()[region.y : region.bottom]
            rows = [[s for s in strip if s.style and s.style.reverse and s.text.strip()] for strip in strips]
            return ["".join(s.text for s in row).strip() for row in rows if row]

        await until(pilot, lambda: len(reversed_names()) == 1)
        before = reversed_names()
        await pilot.press("down")
        await until(pilot, lambda: len(reversed_names()) == 1 and reversed_names() != before)


async def test_a_filter_leaves_no_row_above_blank_ones(workspace: Workspace) -> None:
    for number in range(30):
        make_run(workspace, f"{'even' if number % 2 == 0 else 'odd'}-{number:02d}")
    app = Workbench(workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "-29" in screen_text(app) or "odd" in screen_text(app))
        await pilot.press("G")
        await pilot.press("slash", *"odd")
        runs = app.screen.query_one(RunsList)
        await until(pilot, lambda: len(runs._shown) == 15)
        await pilot.pause(0.1)
        rows = runs.lines(*runs.inner_size)
        assert len(rows) == min(15, runs.inner_size[1])


async def test_notices_stand_beside_the_keys_and_go_by_themselves(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bars, "MIN_SECONDS", 3.0)  # a busy machine draws it late
    monkeypatch.setattr(bars, "LETTERS_PER_SECOND", 1000.0)
    run = finished_run(workspace, "bard", 100)
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(60, 16)) as pilot:
        await until(pilot, lambda: "✓ bard" in screen_text(app))
        keys = screen_text(app).splitlines()[-1]
        assert "leave" in keys
        await pilot.press("x")
        await until(pilot, lambda: "nothing to stop" in screen_text(app))
        assert screen_text(app).splitlines()[-1] == keys
        await until(pilot, lambda: "nothing to stop" not in screen_text(app))
        long = "One two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen."
        app.screen.show_notice(long)  # type: ignore[attr-defined]
        await until(pilot, lambda: "fifteen." in screen_text(app))
        assert long.split()[:3] == screen_text(app).splitlines()[-3].split()[:3]
        assert screen_text(app).splitlines()[-1] == keys


async def test_a_run_that_has_said_its_last_word_is_ending_and_not_starting(workspace: Workspace) -> None:
    run = make_run(workspace, "live")
    launched(run)
    worker = Worker(run)
    worker.say(*beginning(), *training(1, 20, 20), AttemptEnded(attempt=1, outcome="done"))
    app = Workbench(workspace)
    with alive(run):
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: "◌ live" in screen_text(app) or "● live" in screen_text(app))
            assert "ending" in screen_text(app) and "starting" not in screen_text(app)
            assert state_word(run, run.state()) == "ending"
            launched(run, attempt=2)
            await until(pilot, lambda: "ending" not in screen_text(app))
            assert state_word(run, run.state()) == run.state().value
            worker.say(AttemptStarted(attempt=2, pid=1, host="here", device="2 cores"))
            await until(pilot, lambda: "● live" in screen_text(app))


async def test_a_machine_pane_is_live_only_while_the_run_is(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(workspace, "live")
    launched(run)
    Worker(run).say(*beginning(), *training(1, 20, 400))
    app = Workbench(workspace, open_run=run.id)

    def roles() -> set[str]:
        return {role for line in app.screen.query_one(HardwarePane)._content for text, role in line if text.strip()}

    with alive(run):
        async with app.run_test(size=(120, 40)) as pilot:
            await until(pilot, lambda: "machine" in screen_text(app) and "cpu" in screen_text(app))
            assert "as of" not in screen_text(app) and roles() > {"dim"}
            monkeypatch.setattr("llmtui.tui.widgets.hardware.STALE_AFTER", 0.0)
            await until(pilot, lambda: "as of" in screen_text(app))
            assert roles() == {"dim"}
    monkeypatch.undo()
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "machine  ended, " in screen_text(app))
        assert roles() == {"dim"}
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "machine  ended, " in screen_text(app))
        assert re.search(r"machine  ended, \d+ \w+ \d\d:\d\d ─", screen_text(app))


async def test_losses_have_one_unit_on_a_screen(workspace: Workspace) -> None:
    run = finished_run(workspace, "bard", 100)
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "✓ bard" in screen_text(app) and braille(app))
        evaluation = app.session.watcher.history.summary.evaluation  # type: ignore[union-attr]
        assert evaluation is not None
        text = screen_text(app)
        assert f"val {evaluation.bits_per_byte:.3f}" in text and f"{evaluation.loss:.3f}" not in text
        assert "loss, bits per byte" in text
        assert app.session.watcher.history.val.last == pytest.approx(evaluation.bits_per_byte)  # type: ignore[union-attr]
        loss = app.session.watcher.history.summary.metric.loss  # type: ignore[union-attr]
        per = evaluation.bits_per_byte / evaluation.loss
        assert app.session.watcher.history.loss.last == pytest.approx(loss * per, rel=0.01)  # type: ignore[union-attr]


def test_lines_are_cut_at_the_ends_of_words() -> None:
    assert cut("a checkpoint is saved at the next step", 24) == "a checkpoint is saved…"
    assert cut("a checkpoint is saved at the next step", 25) == "a checkpoint is saved at…"
    assert cut("20261128-233741-shakespeare-4f2a", 12) == "20261128-23…"
    assert cut("漢字 漢字漢字 漢字", 8) == "漢字 漢…" and cut("word", 0) == "" and cut("word", 4) == "word"
    saved = [("Save a ", "key"), ("checkpoint, then stop", "dim")]
    assert clip(saved, 20) == [("Save a ", "key"), ("checkpoint…", "dim")]
    assert clip([("all of it  ", "key"), ("  ", "dim")], 10) == [("all of it ", "key")]


@pytest.mark.parametrize("size", [(60, 16), (80, 24)])
async def test_help_is_whole_at_every_width(workspace: Workspace, size: tuple[int, int]) -> None:
    from llmtui.tui.actions import ACTIONS, NAVIGATION
    from llmtui.tui.screens.help import KeyTable

    app = Workbench(workspace)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: "welcome" in screen_text(app))
        text = " ".join(screen_text(app).split())
        assert "no network" in text and "come back at any time with `llmtui`." in text
        await pilot.press("question_mark")
        await until(pilot, lambda: "Screens" in screen_text(app))
        keys = app.screen.query_one(KeyTable)
        lines = keys.content(keys.inner_size[0])
        whole = " ".join("".join(text for text, _ in line).strip() for line in lines)
        for what in [action.description for action in ACTIONS] + [what for _, what in NAVIGATION]:
            assert what in " ".join(whole.split()), what
        assert "…" not in whole


async def test_a_draft_and_its_settings_belong_to_their_run(workspace: Workspace) -> None:
    one, two = finished_run(workspace, "one", 100), finished_run(workspace, "two", 100)
    app = Workbench(workspace, open_run=one.id)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: "one" in screen_text(app))
        await pilot.press("5")
        await until(pilot, lambda: isinstance(app.focused, PromptInput))
        await pilot.press(*"half a")
        app.screen.query_one(NumberInputs).set("T", 1.7)
        app.session.select(two)
        app.session.watcher.wake()
        await until(pilot, lambda: app.screen.query_one(PromptInput).text == "")
        assert app.screen.query_one(NumberInputs)["T"] == Sample().temperature
        await pilot.press(*"other")
        app.session.select(one)
        app.session.watcher.wake()
        await until(pilot, lambda: app.screen.query_one(PromptInput).text == "half a")
        assert app.screen.query_one(NumberInputs)["T"] == 1.7
        await pilot.press("!")
        assert app.screen.query_one(PromptInput).text == "half a!"


async def test_answers_say_which_checkpoint_gave_them_also_after_reopening(workspace: Workspace) -> None:
    run = finished_run(workspace, "bard", 400)
    checkpoint(run, 200)
    old = Transcripts(run.path)
    drawn = AnswerInfo(sampling=Sampling(), tokens=20, ended="length")
    told = AnswerInfo(sampling=Sampling(), tokens=20, ended="length", checkpoint="step-00000200", precision="int8")
    old.add("step-00000400", ConversationStart(after="step-00000200"), ChatMessage(role="user", text="a"))
    old.add(
        "step-00000400",
        ChatMessage(role="assistant", text=" first", drawn=told),
        ConversationStart(),
        ChatMessage(role="user", text="b"),
    )
    old.add("step-00000400", ChatMessage(role="assistant", text=" second", drawn=drawn))
    old.close()
    app = Workbench(workspace, open_run=run.id)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: "bard" in screen_text(app))
        await pilot.press("5")
        await until(pilot, lambda: isinstance(app.screen, Chat) and "second" in screen_text(app))
        text = screen_text(app)
        assert text.index("step 200 · ") < text.index("b second") < text.index("step 400 · ")
        assert "· int8" in text


@pytest.mark.parametrize("setting", ["NO_COLOR", "ansi-dark", "ink"])
async def test_the_cursor_in_a_field_shows_in_every_theme_and_without_colours(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    if setting == "NO_COLOR":
        monkeypatch.setenv("NO_COLOR", "1")
    else:
        (workspace.config / "config.toml").write_text(f'theme = "{setting}"\n')
    run = finished_run(workspace, "bard", 100)
    app = Workbench(workspace, open_run=run.id)

    def marked(text: str) -> bool:
        """Whether `text`, one cell, stands out from what is behind it."""
        strips = app.screen._compositor.render_strips()
        for strip in strips:
            segments = list(strip)
            for before, here in itertools.pairwise(segments):
                if here.text == text and before.style and here.style and before.text.endswith(("xy", "q")):
                    return here.style.reverse or here.style.bgcolor != before.style.bgcolor
        return False

    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "bard" in screen_text(app))
        await pilot.press("5")
        await until(pilot, lambda: isinstance(app.focused, PromptInput))
        await pilot.press(*"xyz", "left")
        await until(pilot, lambda: marked("z"))
        await pilot.press("ctrl+p", *"qr", "left")
        await until(pilot, lambda: marked("r"))


@pytest.mark.parametrize("size", [(60, 16), (80, 24)])
async def test_the_cursor_of_a_picker_stays_in_sight(workspace: Workspace, size: tuple[int, int]) -> None:
    app = Workbench(workspace)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: "welcome" in screen_text(app))
        await pilot.press("colon")
        await until(pilot, lambda: "Commands" in screen_text(app))
        options = app.screen.query_one(OptionList)
        for _ in range(options.option_count - 1):
            await pilot.press("down")
        await pilot.pause(0.1)
        assert options.highlighted == options.option_count - 1
        assert app.screen.query_one(".dialog").region.contains_region(options.region)
        shown = [row for row in screen_text(app).splitlines() if f"Theme {app.theme_names[-1]}" in row]
        assert len(shown) == 1


async def test_a_long_message_can_be_read_to_its_end(workspace: Workspace) -> None:
    app = Workbench(workspace)
    async with app.run_test(size=(60, 16)) as pilot:
        await until(pilot, lambda: "welcome" in screen_text(app))
        show_error(app, LlmtuiError("it broke " * 100, todo="try again"))
        await until(pilot, lambda: "it broke" in screen_text(app))
        assert "try again" not in screen_text(app)
        await pilot.press("pagedown", "pagedown")
        await until(pilot, lambda: "try again" in screen_text(app) and "esc closes this" in screen_text(app))


async def test_what_was_taken_for_the_text_is_on_the_screen_until_training_begins(workspace: Workspace) -> None:
    run = make_run(workspace, "books")
    with alive(run):
        worker = Worker(run)
        taken = "1 file with the text in 'body', beside 'title': posts.csv; it begins: 'It was a dark"
        worker.say(
            AttemptStarted(attempt=1, pid=1, host="here", device="2 cores, float32"),
            StageStarted(stage="download"),
            Note(text="1 file read as cp1254: turkish.txt"),
            Note(text=taken),
        )
        app = Workbench(workspace, open_run=run.id)
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: "1 file read as cp1254: turkish.txt" in screen_text(app))
            assert taken[:60] in screen_text(app)


async def test_the_first_evaluation_does_not_pass_its_end_for_that_of_the_training(workspace: Workspace) -> None:
    run = make_run(workspace, "books")
    with alive(run):
        worker = Worker(run)
        worker.say(*beginning())
        for done in range(1, 4):
            worker.say(Progress(done=done, total=8, unit="tokens", of="evaluation", tick=1000.0 + done))
        app = Workbench(workspace, open_run=run.id)
        async with app.run_test(size=(80, 24)) as pilot:
            await until(pilot, lambda: screen_text(app).splitlines()[-2].startswith(" evaluating  "))
            worker.say(metric(1, 100), metric(4, 100))
            await until(pilot, lambda: " left  " in screen_text(app).splitlines()[-2])
        eta = worker.summary.current_stage.seconds_left
        assert eta is not None and eta == pytest.approx(96 * SECONDS_A_STEP, rel=0.3)


@pytest.mark.parametrize(
    ("name", "value", "cells", "seen"),
    [
        ("grad", "10.52 (clip 1)", 18, "grad 10.52"),
        ("memory", "664 MB, expected 699 MB", 18, "memory 664 MB"),
        ("shape", "3 layers, 4 heads, 256 wide", 18, "shape 3 layers"),
        ("shape", "3 layers, 4 heads, 256 wide", 28, "shape 3 layers, 4 heads"),
        ("planned", "201k tok in 5m00s", 17, "planned 201k tok"),
        ("best", "1.884 bpb", 12, "best 1.884"),
        ("best", "1.884 bpb", 8, ""),
    ],
)
def test_a_figure_in_little_room_is_never_cut_within_a_thought(name: str, value: str, cells: int, seen: str) -> None:
    assert "".join(text for text, _ in figure_in(name, value, cells)) == seen
