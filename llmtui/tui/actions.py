"""Bindings, footer, help, palette and docs/keys.md, made of the table of actions.

`python -m llmtui.tui.actions` prints docs/keys.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from textual.binding import Binding
from textual.keys import KEY_DISPLAY_ALIASES

from core.errors import did_you_mean
from llmtui.tui.action_table import ACTIONS, Action, Scope
from llmtui.tui.textual_internals import key_of_character

BY_ID = {action.id: action for action in ACTIONS}

_NAMES = {
    "escape": "esc", "question_mark": "?", "slash": "/", "colon": ":", "enter": "enter", "up": "↑", "down": "↓",
    "pageup": "pgup", "pagedown": "pgdn", "left": "←", "right": "→", "plus": "+", "minus": "-", "equals_sign": "=",
    "less_than_sign": "<", "greater_than_sign": ">", "comma": ",", "full_stop": ".", "left_square_bracket": "[",
    "right_square_bracket": "]", "left_curly_bracket": "{", "right_curly_bracket": "}",
}  # fmt: skip

_CONTROL = {"ctrl+h": "Backspace", "ctrl+i": "Tab", "ctrl+j": "a line feed", "ctrl+m": "Enter", "ctrl+[": "Esc"}
"""What terminals without an extended keyboard protocol send instead."""


def key_name(key: str) -> str:
    """How a key is shown: `ctrl+p` as ^p."""
    if key.startswith("ctrl+"):
        return "^" + key.removeprefix("ctrl+")
    return _NAMES.get(key) or KEY_DISPLAY_ALIASES.get(key) or key


def key_line(entries: Iterable[tuple[str, str]], keymap: Mapping[str, str]) -> list[tuple[str, str]]:
    """Entries of a footer that puts several actions into one: their ids, and what they do together."""
    lines = []
    for ids, what in entries:
        names = " ".join(key_name(keys_of(BY_ID[action], keymap)[0]) for action in ids.split())
        lines.append((names.replace("← →", "←→").replace("↑ ↓", "↑↓"), what))
    return lines


def named_key(name: str) -> str:
    """The key that is shown as `name`; "" if that stands for several, such as ↑ ↓."""
    if name.startswith("^") and len(name) > 1:
        return "ctrl+" + name[1:]
    key = next((key for key, shown in _NAMES.items() if shown == name), name)
    return "" if " " in key else _long(key)


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
    (
        "← →, + -",
        "In the sampling settings: change the chosen one. Digits, or enter, type a value; backspace: the recipe's.",
    ),
    ("enter", "In the prompt: send. Alt+enter, shift+enter or ctrl+j: new line."),
    ("↑ ↓", "In the first or last line of the prompt: earlier and later prompts."),
    ("pgup pgdn, ctrl+↑ ctrl+↓", "In the prompt: scroll the transcript."),
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
