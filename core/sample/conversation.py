"""A conversation as the text that a model goes on from. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from msgspec import Struct

from core.recipe.schema import Chat

Role = Literal["system", "user", "assistant"]


class Message(Struct, frozen=True, kw_only=True):
    """One thing that was said."""

    role: Role
    text: str


class Opening(NamedTuple):
    """Where the model goes on."""

    prompt: str
    stop: tuple[str, ...]
    """What the template says comes next when the answer is over: the beginning of the person's turn."""
    spaced: bool
    """Whether spaces at the beginning of the answer belong to the template."""

    def begun(self, text: str) -> str:
        """What of `text`, before which there was none, is answer."""
        return text.lstrip(" ") if self.spaced else text


def opening(messages: Sequence[Message], chat: Chat) -> Opening:
    """The text of `messages`, of which there is one at least, up to where the answer begins.

    What is said is only text: nothing in it is taken for a template. An answer at the end is gone on with. Spaces that
    the templates have before an answer are left to the model: in most vocabularies they begin a token.
    """
    *earlier, last = messages
    before, behind = _around(getattr(chat, last.role))
    tail = "" if last.role == "assistant" else behind + _around(chat.assistant)[0]
    bare = tail.rstrip(" ")
    prompt = "".join(_written(message, chat) for message in earlier) + before + last.text + bare
    stop = (_around(chat.assistant)[1] + _around(chat.user)[0]).rstrip(" ")
    return Opening(prompt, (stop,) if stop else (), bare != tail)


def _written(message: Message, chat: Chat) -> str:
    before, behind = _around(getattr(chat, message.role))
    return before + message.text + behind


def _around(template: str) -> tuple[str, str]:
    """What stands before and behind {text}."""
    before, _, behind = template.partition("{text}")
    return before, behind
