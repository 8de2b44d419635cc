"""Chats with the checkpoints of a run: `transcripts/step-00000200.jsonl`, a file for each.

Each entry is one line. A file of more than 4 MiB is rewritten with the newest conversation alone; a torn last line, and
entries of a later version, are skipped. A chat holds the lock of the folder, so that two processes do not write to one
conversation.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct

from core.parsing import ParseError, parse
from core.recipe.sampling import Sampling
from core.sample.conversation import Message, Role
from core.storage.files import write_atomic
from core.storage.journal import JournalReader, JournalWriter
from core.storage.locks import Lock

FILE_LIMIT = 2**22
"""Size in bytes from which a file is rewritten with the newest conversation alone."""

MAX_CHARACTERS = 2**19
"""Characters of a conversation that are kept, the newest: several times the size of a context."""


class AnswerInfo(Struct, frozen=True, kw_only=True):
    """How an answer was generated."""

    sampling: Sampling
    checkpoint: str = ""
    """Name of the checkpoint that answered; empty in files of earlier versions."""
    precision: str = ""
    tokens: int = 0
    ended: str = ""
    """length, end or stop, as `core.sample.protocol.FinishReason`; empty: it was interrupted."""
    surprise: tuple[tuple[int, float], ...] = ()
    """Characters and surprise, -log2 p, of each part of the text that tokens completed, up to its end. p is that of the
    model before logits processors. Empty: not recorded."""


class ComparedAnswer(Struct, frozen=True, kw_only=True, tag="compared"):
    """What another checkpoint answered to the same prompt with the same seed; no part of the conversation."""

    text: str
    answer_info: AnswerInfo
    run: str
    """Id of the run of the checkpoint."""


class ConversationStart(Struct, frozen=True, kw_only=True, tag="began"):
    """The start of a conversation; earlier entries of the file belong to others."""

    after: str = ""
    """The checkpoint whose conversation is continued; its messages follow."""
    session: str = ""
    """Conversations of one session are shown together: those of several checkpoints, or prompts that a model without
    chat templates continues independently. Empty: a session of its own, or that of `after`."""
    at: float = msgspec.field(default_factory=time.time)


class ChatMessage(Struct, frozen=True, kw_only=True, tag="said"):
    """One message of a conversation."""

    role: Role
    text: str
    answer_info: AnswerInfo | None = msgspec.field(default=None, name="drawn")
    """Of an answer."""
    compared: ComparedAnswer | None = None
    """Of an answer; written after it, as an entry of its own."""
    at: float = msgspec.field(default_factory=time.time)

    @property
    def message(self) -> Message:
        return Message(role=self.role, text=self.text)


class MessageWithdrawn(Struct, frozen=True, kw_only=True, tag="withdrawn"):
    """The last message is removed from the conversation: its answer is generated again, or never came."""

    at: float = msgspec.field(default_factory=time.time)


TranscriptEntry = ConversationStart | ChatMessage | MessageWithdrawn | ComparedAnswer

_encode = msgspec.json.Encoder().encode
_decoder: msgspec.json.Decoder[TranscriptEntry] = msgspec.json.Decoder(TranscriptEntry)


class Conversation(NamedTuple):
    """One conversation of a file."""

    start: ConversationStart
    messages: list[ChatMessage]


def new_session() -> str:
    """The id of a new session."""
    return secrets.token_hex(6)


class Transcripts:
    """The transcripts of the run in the directory `run`. Writing them never stops a chat: see `kept`."""

    def __init__(self, run: Path) -> None:
        self._folder = run / "transcripts"
        self._lock: Lock | None = None
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._lock = Lock.acquire(self._folder / "lock")
            self.taken = self._lock is None
            """Whether another process is chatting with this run, so that messages are not saved."""
        except OSError:
            self.taken = False
        self.kept = self._lock is not None
        """Whether messages are saved; no longer after a write error such as a full disk."""

    def conversation(self, checkpoint: str) -> list[ChatMessage]:
        """The messages of the newest conversation with `checkpoint`, a name such as step-00000200."""
        return newest_messages(conversations(self._file(checkpoint))[-1].messages)

    def last(self, before: str) -> str:
        """The newest checkpoint older than `before` that has a transcript, deleted or not; empty if there is none."""
        earlier = sorted(path.stem for path in self._folder.glob("step-*.jsonl") if path.stem < before)
        return earlier[-1] if earlier else ""

    def session(self, checkpoint: str) -> str:
        """The session of that conversation; empty if it has none."""
        return conversations(self._file(checkpoint))[-1].start.session

    def add(self, checkpoint: str, *entries: TranscriptEntry) -> None:
        """Append `entries` to the transcript of `checkpoint`."""
        if not self.kept:
            return
        file = self._file(checkpoint)
        try:
            if file.exists() and file.stat().st_size > FILE_LIMIT:
                write_atomic(file, b"".join(_encode(message) + b"\n" for message in self.conversation(checkpoint)))
                file.chmod(0o600)
            lines = JournalWriter(file)
            try:
                self.kept = all(lines.append(_encode(entry)) for entry in entries)
            finally:
                lines.close()
        except OSError:
            self.kept = False

    def close(self) -> None:
        """Release the lock, so that another process can chat with this run."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        self.kept = False

    def _file(self, checkpoint: str) -> Path:
        return self._folder / f"{checkpoint}.jsonl"


def earlier_messages(run: Path, checkpoint: str) -> list[ChatMessage]:
    """The messages to and from `checkpoint` in all conversations, or else of the newest checkpoint before it with any.

    At most the newest `MAX_CHARACTERS` characters. Takes no lock.
    """
    files = sorted(path for path in (run / "transcripts").glob("step-*.jsonl") if path.stem <= checkpoint)
    if not files:
        return []
    found = conversations(files[-1], name=True)
    continued = [number for number, conversation in enumerate(found) if conversation.start.after]
    if continued:  # the continued messages are copied below: count them once
        found = found[continued[-1] :]
    return newest_messages(without_copies(message for conversation in found for message in conversation.messages))


def without_copies(messages: Iterable[ChatMessage]) -> list[ChatMessage]:
    """`messages` without those that a branch or another checkpoint copied from an earlier conversation."""
    return list({(message.at, message.role, message.text): message for message in messages}.values())


def conversations(file: Path, *, name: bool = False) -> list[Conversation]:
    """The conversations in `file`, the newest last; at least one, which may be empty.

    name: fill in the file's checkpoint for answers that an earlier version wrote without one.
    """
    found = [Conversation(ConversationStart(at=0), [])]
    try:
        lines = JournalReader(file).lines()
    except OSError:
        return found
    for line in lines:
        try:
            entry = parse(_decoder.decode, line)
        except ParseError:
            continue
        match entry:
            case ConversationStart():
                found.append(Conversation(entry, []))
            case ChatMessage(answer_info=AnswerInfo(checkpoint="") as info) if name and not found[-1].start.after:
                info = msgspec.structs.replace(info, checkpoint=file.stem)
                found[-1].messages.append(msgspec.structs.replace(entry, answer_info=info))
            case ChatMessage():
                found[-1].messages.append(entry)
            case MessageWithdrawn() if found[-1].messages:
                found[-1].messages.pop()
            case ComparedAnswer() if found[-1].messages:
                found[-1].messages[-1] = msgspec.structs.replace(found[-1].messages[-1], compared=entry)
    return found


def newest_messages(messages: list[ChatMessage]) -> list[ChatMessage]:
    """The last `MAX_CHARACTERS` characters of a conversation; of one longer message its end."""
    remaining, kept = MAX_CHARACTERS, []
    for one in reversed(messages):
        if remaining <= 0:
            break
        kept.append(one if len(one.text) <= remaining else msgspec.structs.replace(one, text=one.text[-remaining:]))
        remaining -= len(one.text)
    return kept[::-1]
