"""The earlier chats with a run, over all of its checkpoints: sessions to open again, and the prompts."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from core.runs.transcript import ChatMessage, conversations, without_copies


class SavedSession(Struct, frozen=True, kw_only=True):
    """Conversations that belong together (`ConversationStart.session`)."""

    id: str
    """As in `ConversationStart.session`; made up for files of earlier versions."""
    messages: list[ChatMessage]
    """At least one, the oldest first."""

    @property
    def prompts(self) -> list[str]:
        """What the user said."""
        return [message.text for message in self.messages if message.role == "user"]

    @property
    def checkpoint(self) -> str:
        """Name of the checkpoint that answered last; empty if none did."""
        infos = [message.answer_info for message in self.messages if message.answer_info is not None]
        return infos[-1].checkpoint if infos else ""

    @property
    def at(self) -> float:
        """Time of the last message, in seconds since 1970."""
        return self.messages[-1].at


def saved_sessions(run: Path) -> list[SavedSession]:
    """The sessions with the run in the directory `run`, the newest first. Takes no lock."""
    found: dict[str, list[ChatMessage]] = {}
    last: dict[str, str] = {}
    """By checkpoint, the session of its newest conversation so far."""
    for file in sorted((run / "transcripts").glob("step-*.jsonl")):
        for number, (start, messages) in enumerate(conversations(file, name=True)):
            session = start.session or last.get(start.after) or f"{file.stem}-{number}"
            last[file.stem] = session
            found.setdefault(session, []).extend(messages)
    sessions = [
        SavedSession(id=session, messages=sorted(without_copies(messages), key=lambda message: message.at))
        for session, messages in found.items()
        if any(message.role == "user" for message in messages)
    ]
    return sorted(sessions, key=lambda session: session.at, reverse=True)


def saved_prompts(run: Path) -> list[str]:
    """Every prompt of these sessions once, in the order of its last use."""
    said = [message for session in saved_sessions(run) for message in session.messages if message.role == "user"]
    newest = {message.text: message.at for message in sorted(said, key=lambda message: message.at)}
    return sorted(newest, key=lambda text: newest[text])
