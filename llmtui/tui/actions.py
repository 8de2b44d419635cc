"""Every action of the workbench, once: from here come bindings, footer, help, palette and docs/keys.md.

`python -m llmtui.tui.actions` prints docs/keys.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from textual.binding import Binding
from textual.keys import KEY_DISPLAY_ALIASES

from core.errors import did_you_mean
from llmtui.tui.screen_table import SCREENS
from llmtui.tui.textual_internals import key_of_character

Scope = str
"""The name of a screen in `SCREENS`, or "app"."""


class Action(NamedTuple):
    """Something the user can do with a key."""

    id: str
    """`group.verb`: the name in the user's keymap."""
    keys: tuple[str, ...]
    label: str
    """One or two words for the footer."""
    description: str
    group: str
    scopes: tuple[Scope, ...]
    """The screens where its keys work; "app" is all of them."""
    show: bool = True
    """Whether the footer shows it."""

    screen: str = ""
    """The screen it shows, for the actions of the table of screens."""

    @property
    def call(self) -> str:
        """What Textual calls: by default the method `action_group_verb` of the screen or the application."""
        return f"show_screen({self.screen!r})" if self.screen else self.id.replace(".", "_")


ACTIONS = (
    *(
        Action(f"app.{s.name}", (s.number,), s.name, s.description, "Screens", ("app",), show=False, screen=s.name)
        for s in SCREENS
    ),
    Action("run.new", ("n",), "new", "Set up and start a run.", "Runs", ("home",)),
    Action("run.demo", ("d",), "demo", "Start the demo: a small model in about two minutes.", "Runs", ("home",)),
    Action("home.open", ("enter",), "open", "Show the selected run.", "Runs", ("home",)),
    Action("run.pause", ("space",), "pause", "Pause the run, or continue it.", "Runs", ("home", "train")),
    Action("run.stop", ("x",), "stop", "Save a checkpoint, then stop the run; asks first.", "Runs", ("home", "train")),
    Action("run.resume", ("r",), "resume", "Resume a run that stopped or was interrupted.", "Runs", ("home", "train")),
    Action("run.checkpoint", ("c",), "checkpoint", "Save a checkpoint at the next step.", "Runs", ("train",)),
    Action("run.sample", ("s",), "sample", "Generate a sample at the next step.", "Runs", ("train",)),
    Action(
        "run.delete",
        ("D",),
        "delete",
        "Delete the run; its name has to be typed.",
        "Runs",
        ("home", "train"),
        show=False,
    ),
    Action("home.filter", ("/",), "filter", "Show only runs whose name contains a text.", "Runs", ("home",)),
    Action("chart.log", ("y",), "log", "Loss on a logarithmic axis, or a linear one.", "Charts", ("train",)),
    Action("chart.smoother", ("m",), "smooth", "Smooth the training loss more.", "Charts", ("train",)),
    Action("chart.rougher", ("M",), "rougher", "Smooth the training loss less.", "Charts", ("train",), show=False),
    Action("chat.write", ("i", "enter"), "write", "Go to the prompt.", "Chat", ("chat",)),
    Action("chat.checkpoint", ("c",), "checkpoint", "Choose the checkpoint that answers.", "Chat", ("chat",)),
    Action("chat.retry", ("r",), "retry", "Ask the last prompt again, with the next seed.", "Chat", ("chat",)),
    Action("chat.new", ("N",), "new", "Start a new conversation; the old one stays on the disk.", "Chat", ("chat",)),
    Action("chat.stop", ("ctrl+x",), "stop", "Stop generating.", "Chat", ("chat",)),
    Action(
        "app.palette",
        (":", "ctrl+p"),
        "commands",
        "Choose an action, a run or a theme by its name.",
        "Everywhere",
        ("app",),
    ),
    Action("app.help", ("?", "f1"), "help", "Show all keys.", "Everywhere", ("app",)),
    Action("app.theme", ("t",), "theme", "Choose the theme.", "Everywhere", ("app",), show=False),
    Action("app.back", ("escape",), "back", "Back by one level.", "Everywhere", ("home", "train", "chat"), show=False),
    Action("app.leave", ("q",), "leave", "Leave the workbench; runs continue.", "Everywhere", ("app",)),
)

BY_ID = {action.id: action for action in ACTIONS}

_NAMES = {
    "escape": "esc", "question_mark": "?", "slash": "/", "colon": ":", "enter": "enter", "up": "↑", "down": "↓",
    "pageup": "pgup", "pagedown": "pgdn",
}  # fmt: skip

_CONTROL = {"ctrl+h": "Backspace", "ctrl+i": "Tab", "ctrl+j": "a line feed", "ctrl+m": "Enter", "ctrl+[": "Esc"}
"""What terminals without an extended keyboard protocol send instead."""


def key_name(key: str) -> str:
    """How a key is shown: `ctrl+p` as ^p."""
    if key.startswith("ctrl+"):
        return "^" + key.removeprefix("ctrl+")
    return _NAMES.get(key) or KEY_DISPLAY_ALIASES.get(key) or key


def bindings(scope: Scope) -> list[Binding]:
    """The bindings of a screen, or of the application."""
    return [
        Binding(",".join(action.keys), action.call, action.label, id=action.id, show=action.show)
        for action in ACTIONS
        if scope in action.scopes
    ]


def actions_in(scope: Scope) -> list[Action]:
    """The actions available on a screen, its own first."""
    own = [action for action in ACTIONS if scope in action.scopes]
    return own + [action for action in ACTIONS if "app" in action.scopes and action not in own]


def keys_of(action: Action, keymap: Mapping[str, str]) -> tuple[str, ...]:
    """The keys in force: the user's, or the default ones."""
    return tuple(keymap[action.id].split(",")) if action.id in keymap else action.keys


def checked_keymap(user_keymap: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The valid entries of a user's keymap, and a sentence for each invalid one."""
    keymap: dict[str, str] = {}
    problems: list[str] = []
    for name, text in user_keymap.items():
        if name not in BY_ID:
            hint = did_you_mean(name, BY_ID)
            problems.append(f"keymap: there is no action {name!r}" + (f"; {hint}" if hint else ""))
            continue
        keys = [key.strip() for key in text.split(",") if key.strip()]
        ambiguous = [key for key in keys if key in _CONTROL]
        if not keys or ambiguous:
            why = (
                f"{ambiguous[0]} arrives as {_CONTROL[ambiguous[0]]} in most terminals"
                if ambiguous
                else "it names no key"
            )
            problems.append(f"keymap: {name} keeps its keys: {why}")
            continue
        keymap[name] = ",".join(keys)
    for action in [action for action in ACTIONS if action.id in keymap]:
        other = _collision(action, keymap)
        if other:
            problems.append(f"keymap: {action.id} keeps its keys: {keymap[action.id]} is {other.id} already")
            del keymap[action.id]
    return keymap, problems


def _collision(action: Action, keymap: Mapping[str, str]) -> Action | None:
    """Another action with the same key on the same screen."""
    mine = {_long(key) for key in keys_of(action, keymap)}
    for other in ACTIONS:
        overlap = set(action.scopes) & set(other.scopes) or "app" in (*action.scopes, *other.scopes)
        if other is not action and overlap and mine & {_long(key) for key in keys_of(other, keymap)}:
            return other
    return None


def _long(key: str) -> str:
    return key_of_character(key) if len(key) == 1 else key


def grouped(actions: Iterable[Action]) -> dict[str, list[Action]]:
    """`actions` by their group, in order of first appearance."""
    groups: dict[str, list[Action]] = {}
    for action in actions:
        groups.setdefault(action.group, []).append(action)
    return groups


NAVIGATION = (
    ("tab, shift+tab", "Next pane, previous pane."),
    ("↑ ↓, j k, pgup pgdn, home end", "Move in a list or a text that is longer than its pane."),
    ("← → then ↑ ↓", "In the sampling settings: choose one, then change it."),
    ("enter", "In the prompt: send. Alt+enter, shift+enter or ctrl+j: new line."),
)


def to_markdown() -> str:
    """The text of docs/keys.md."""
    lines = [
        "# Keys",
        "",
        "Letters act when no text field has the focus. To change a key, name the action in `config.toml`",
        "(`llmtui locate config` says where it is):",
        "",
        "```toml",
        "[keymap]",
        '"run.pause" = "space,p"',
        "```",
    ]
    for group, actions in grouped(ACTIONS).items():
        lines += ["", f"## {group}", "", "| key | action | id | where |", "|---|---|---|---|"]
        for action in actions:
            keys = " ".join(f"`{key_name(key)}`" for key in action.keys)
            where = "everywhere" if "app" in action.scopes else ", ".join(action.scopes)
            lines.append(f"| {keys} | {action.description} | `{action.id}` | {where} |")
    lines += ["", "## Moving", "", "| key | action |", "|---|---|"]
    lines += [f"| {keys} | {what} |" for keys, what in NAVIGATION]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(to_markdown(), end="")
