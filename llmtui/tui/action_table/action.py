"""What an entry of the table of actions says."""

from __future__ import annotations

from typing import NamedTuple

Scope = str
"""The name of a screen in `SCREENS`, of a view in `DATA_VIEWS`, `STUDY`, one of `OVER_CHAT`, `NEW_RUN`, or "app"."""

OVER_CHAT = ("xray", "denoising")
"""The screens over the chat, for causal and for masked models."""


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
    view: str = ""
    """The view of the Data screen it shows."""

    @property
    def call(self) -> str:
        """What Textual calls: by default the method `action_group_verb` of the screen or the application."""
        if self.view:
            return f"show_view({self.view!r})"
        return f"show_screen({self.screen!r})" if self.screen else self.id.replace(".", "_")
