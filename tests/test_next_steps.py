"""What Home says to do next, and the welcome before the first run."""

from __future__ import annotations

import pytest

from core.runs.annotations import Annotations
from core.storage.workspace import Workspace
from llmtui.view.lines import width
from llmtui.view.next_steps import next_steps
from llmtui.view.run_snapshot import take_snapshot
from llmtui.view.welcome import welcome_lines
from tests.ui.fake_runs import failed_run, finished_run

SCREENS = {"chat": "5", "model": "4", "logs": "7"}


def test_a_finished_run_leads_on_to_chat_model_and_a_run_of_ones_own(workspace: Workspace) -> None:
    snapshot = take_snapshot(finished_run(workspace, "demo", 200))
    text = " ".join(text for text, _ in next_steps(snapshot, SCREENS))
    assert "5 chats with step 200" in text and "4 shows the model" in text and "n a run of your own" in text
    without = " ".join(text for text, _ in next_steps(snapshot, {"chat": "5"}))
    assert "shows the model" not in without


def test_a_failed_run_says_what_happened_what_was_kept_and_what_to_try_first(workspace: Workspace) -> None:
    lines = next_steps(take_snapshot(failed_run(workspace, "broken")), SCREENS)
    assert lines[0] == ("out of memory with batches of 8", "bad")
    assert [text for text, _ in lines[1:3]] == ["no checkpoint yet", "try train.batch_size = 4"]
    assert "7 shows its log" in lines[3][0]


def test_notes_are_shown_on_a_line_each_without_control_characters(workspace: Workspace) -> None:
    snapshot = take_snapshot(finished_run(workspace, "demo", 200))
    annotations = Annotations(note="\x1b[2Jfirst\nsecond", step_notes={30: "a spike"})
    texts = [text for text, _ in next_steps(snapshot._replace(annotations=annotations), SCREENS)]
    assert texts[1] == "note: ␛[2Jfirst second"  # before the keys: a low pane cuts the end
    assert texts[-1] == "note on step 30: a spike"


@pytest.mark.parametrize(("columns", "rows"), [(38, 7), (58, 13), (78, 21), (116, 36), (198, 57)])
def test_the_welcome_fits_and_says_how_to_begin_and_what_it_costs(columns: int, rows: int) -> None:
    lines = welcome_lines("2 cores, 24 GiB", columns, rows)
    text = " ".join(" ".join("".join(text for text, _ in line) for line in lines).split())
    assert len(lines) <= rows and all(width(line) <= columns for line in lines)
    assert "start the demo" in text and "no network" in text
    if rows > 10:
        assert "2 cores" in text and "a run of your own" in text and "model.init=hf:gpt2" in text
        assert "come back at any time" in text
    if rows > 18:
        assert "downloads 550 MB once" in text and "predicts memory and time" in text
