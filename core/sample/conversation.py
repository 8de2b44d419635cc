"""From a conversation to the prompt of a model, by the chat templates of a recipe. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from msgspec import Struct

from core.recipe.schema import Chat

Role = Literal["system", "user", "assistant"]


class Message(Struct, frozen=True, kw_only=True):
    """One message of a conversation."""

    role: Role
    text: str


class ChatPrompt(NamedTuple):
    """A prompt that ends where the model's answer begins."""

    prompt: str
    stop: tuple[str, ...]
    """Stop strings: what the template has between an answer and the next user message."""
    strip_leading_spaces: bool
    """Whether spaces at the start of the answer belong to the template."""

    def answer_start(self, text: str) -> str:
        """The part of the first generated `text` that belongs to the answer."""
        return text.lstrip(" ") if self.strip_leading_spaces else text


def apply_chat_template(messages: Sequence[Message], chat: Chat) -> ChatPrompt:
    """The prompt for an answer to `messages`, at least one.

    Braces in messages are plain text, not template syntax. If the last message is the assistant's, it is continued.
    Trailing spaces of the template before an answer are left to the model: in most vocabularies, a space is the start
    of a token.
    """
    *earlier, last = messages
    before, after = chat.around(last.role)
    tail = "" if last.role == "assistant" else after + chat.around("assistant")[0]
    stripped = tail.rstrip(" ")
    prompt = "".join(_format(message, chat) for message in earlier) + before + last.text + stripped
    stop = (chat.around("assistant")[1] + chat.around("user")[0]).rstrip(" ")
    return ChatPrompt(prompt, (stop,) if stop else (), stripped != tail)


def _format(message: Message, chat: Chat) -> str:
    before, after = chat.around(message.role)
    return before + message.text + after
