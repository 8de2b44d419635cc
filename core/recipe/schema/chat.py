"""[chat]: prompt templates of a conversation."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class Chat(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How messages become a prompt; empty templates are for base models, which only continue text."""

    system: Annotated[
        str,
        Meta(max_length=500, description="Template of the system message, which is {text}; empty: {text} alone."),
    ] = ""
    user: Annotated[
        str,
        Meta(
            max_length=500,
            description=(
                'Template of a user message, which is {text}, such as "User: {text}\\nAssistant:"; '
                "empty: {text} alone, which the model continues."
            ),
        ),
    ] = ""
    assistant: Annotated[
        str,
        Meta(
            max_length=500,
            description='Template of a reply, which is {text}, such as " {text}\\n"; empty: {text} alone.',
        ),
    ] = ""

    def around(self, role: str) -> tuple[str, str]:
        """What the template of `role` has before and after the message."""
        template: str = getattr(self, role)
        before, _, after = template.partition("{text}")
        return before, after

    @property
    def templated(self) -> bool:
        """Whether messages have templates, rather than being texts to continue."""
        return bool(self.user or self.assistant)
