"""Texts that would control a terminal, in every place that others write to, on every screen: only text arrives.

The bytes are those that a terminal gets, from the real program with its inference and document processes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from benchmarks.terminal import Terminal
from core.recipe import file as recipes
from core.recipe.schema import Recipe
from core.storage.workspace import Workspace
from llmtui.tui.screen_table import DATA_VIEWS, SCREENS
from llmtui.view.sanitize import DANGEROUS
from tests.conftest import TINY
from tests.terminal.test_workbench import WORKBENCH
from tests.ui.complete_run import complete_run
from tests.ui.fake_studies import FAILURE, fail, make_study
from tests.waiting import wait_for

pytestmark = pytest.mark.heavy

ATTACKS = (
    "\x1b]0;owned\x07",  # the title
    "\x1b]52;c;b3duZWQ=\x07",  # the clipboard
    "\x1b[2J\x1b[H",  # an empty screen
    "\x1b[?1049l",  # back to the shell
    "\x1b[6n\x05",  # a question that the terminal would answer as if it was typed
    "\x1bP+q6f776e6564\x1b\\",  # a device control string
    "\x9b31m\x90q\x9c",  # the same in eight bits
    "\x0e\x0f\x08\x0d\x7f\x00",  # other characters, back, and delete
    "\u202edenwo\u2066\u200f\u061c",  # right to left
    "\u200b\ufeff\u0301" * 3,  # without any width
    "[red]owned[/red][@click=app.leave]owned[/][/]",  # markup
    "\u2028\u2029\ud7ff\ufffe",
)
HOSTILE = "".join(ATTACKS)

_ALLOWED = re.compile(
    rb"\x1b\[[0-9;:]*m"  # colours
    rb"|\x1b\[[0-9;]*H"  # the cursor
    rb"|\x1b\[[?>=<]?[0-9;]*[hlu]"  # modes that are set and taken back
    rb"|\x1b\[\?[0-9]+\$p|\x1b\[c|\x1b\[>q"  # questions that Textual asks at the start
    rb"|\x1b\][0-9]+;[^\x00-\x1f\x7f]*(?:\x07|\x1b\\\\)"  # a title or notice, see `assert_harmless`
    rb"|\r?\n|\x07"
)


def hostile(text: str) -> str:
    return f"{HOSTILE}{text}{HOSTILE}"


def not_text(written: bytes) -> str:
    """What is left of the bytes for a terminal without the sequences of Textual: has to be printable text."""
    return _ALLOWED.sub(b"", written).decode(errors="surrogateescape")


def assert_harmless(written: bytes) -> None:
    text = not_text(written)
    for match in re.finditer(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", text):
        position = match.start()
        pytest.fail(f"{text[position]!r} reaches the terminal: {text[max(0, position - 80) : position + 40]!r}")
    assert not set(map(ord, text)) & set(DANGEROUS)
    for attack in ATTACKS:
        allowed = int(attack == "\x1b[?1049l")  # once, at the end
        assert ord(attack[0]) not in DANGEROUS or written.count(attack.encode()) <= allowed, repr(attack)
    assert b"\x1b]52" not in written


def write_hostile_corpus(folder: Path) -> Path:
    """Documents of which each begins with another attack, as does the name of each."""
    folder.mkdir()
    for number in range(40):
        attack = ATTACKS[number % len(ATTACKS)]
        words = " ".join(f"word{number * k % 97}" for k in range(300))
        name = f"{number:02d} " + attack.replace("/", "-").replace("\x00", "")
        (folder / f"{name}.txt").write_text(f"{attack} {words}\n{HOSTILE}\n{'long' * 3000}\n")
    return folder


def write_hostile_study(workspace: Workspace) -> None:
    """A study whose trials failed with attacks, as the journal, its controller and study.toml say."""
    study = make_study(workspace, trials=2, endings=(fail,))
    journal = study.journal.read_text()
    reason = msgspec.json.encode(hostile(FAILURE)).decode()[1:-1]
    study.journal.write_text(journal.replace(FAILURE, reason))
    (study.path / "problem.txt").write_text(hostile("the disk is full"), errors="replace")
    with (study.path / "study.toml").open("a", errors="replace") as file:
        file.write(f"# {hostile('limits')}\n")


def recipe_of(corpus: Path) -> Recipe:
    """A tiny model that generates an escape sequence."""
    recipe = recipes.load(base={"name": "tiny", "source": {"corpus": str(corpus)}}, overrides=TINY)
    escape = dict.fromkeys(b"\x1b]0;owned\x07", 100.0)
    prompt = HOSTILE.encode(errors="replace").decode()
    return replace(recipe, sample=replace(recipe.sample, logit_bias=escape, tokens=24, prompts=(prompt,)))


def test_no_text_of_others_controls_the_terminal(workspace: Workspace, tmp_path: Path) -> None:
    write_hostile_study(workspace)
    complete_run(workspace, recipe_of(write_hostile_corpus(tmp_path / "corpus")), failed=True, written=hostile)
    (workspace.config / "config.toml").write_text('"\\u001b]0;owned\\u0007" = 1\ntheme = "\\u001b[2J"\n')
    written, attacked = bytearray(), set[str]()
    with Terminal(WORKBENCH, 160, 40) as terminal:
        terminal.listener = written.extend

        def display() -> str:
            buffer, columns = terminal.screen.buffer, terminal.screen.columns
            return "\n".join("".join(buffer[row][column].data for column in range(columns)) for row in range(40))

        def until(condition: Callable[[], object], what: str) -> None:
            wait_for(condition, what=what, work=lambda: terminal.read(0.1), shows=display)

        def shows(text: str) -> None:
            until(lambda: text in display(), f"{text!r}")

        def is_complete() -> bool:
            return not re.search(r"(reading|starting|computing)[^\n│]*…|esc stop", display())

        def press(*keys: str) -> None:
            for key in keys:
                terminal.send(key)
                terminal.settle()
                until(is_complete, f"a complete screen after {key!r}")

        until(lambda: "esc closes" in display() or "n new" in display(), "the settings that are ignored, or Home")
        terminal.settle()
        terminal.send("\x1b")
        shows("n new")
        for screen in SCREENS:
            terminal.send("\x1b")
            terminal.settle()
            press(screen.number)
            attacked.update({screen.name} if "␛" in display() else ())
            if screen.name == "chat":
                terminal.send("\x1b[200~" + HOSTILE.replace("\x1b", "") + "\x1b[201~")
                press("\r")
                shows("tok/s")
                until(is_complete, "the reply")
                press("\x07")  # ctrl+g: the X-ray
                shows("token 1 of")
                press("\x1b[C", "\x1b[B", "\x1b[B", "a", "l", "\x1b", "\x1b")
        for view in DATA_VIEWS:
            press("2")
            terminal.send("\x1b")
            terminal.settle()
            press("2", view.key)
            attacked.update({view.name} if "␛" in display() else ())
        press("6", "S")
        shows("study  bard")
        terminal.settle()
        attacked.update({"study"} if "␛" in display() else ())
        press("w", "R", "\x1b", "c", "\x1b", "\x1b", "\x1b")
        press("\x1b", "1")
        for dialog in ("N", "T", ":", "R", "L"):
            press(dialog)
            press("\x1b")
        terminal.send("q")
        assert terminal.wait_for_end() == 0
    assert_harmless(bytes(written))
    assert attacked >= {"home", "train", "chat", "logs", "documents", "study"}, (
        "where the attacks were shown as symbols"
    )
