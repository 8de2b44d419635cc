"""Chats with the checkpoints of a run: `transcripts/step-00000200.jsonl`, a file for each.

Each entry is one line. A file of more than 4 MiB is rewritten with the newest conversation alone; a torn last line, and
entries of a later version, are skipped. A chat holds the lock of the folder, so that two processes do not write to one
conversation.
"""

from __future__ import annotations

import time
from pathlib import Path

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


class ConversationStart(Struct, frozen=True, kw_only=True, tag="began"):
    """The start of a conversation; earlier entries of the file belong to others."""

    after: str = ""
    """The checkpoint whose conversation is continued; its messages follow."""
    at: float = msgspec.field(default_factory=time.time)


class ChatMessage(Struct, frozen=True, kw_only=True, tag="said"):
    """One message of a conversation."""

    role: Role
    text: str
    answer_info: AnswerInfo | None = msgspec.field(default=None, name="drawn")
    """Of an answer."""
    at: float = msgspec.field(default_factory=time.time)

    @property
    def message(self) -> Message:
        return Message(role=self.role, text=self.text)


class MessageWithdrawn(Struct, frozen=True, kw_only=True, tag="withdrawn"):
    """The last message is removed from the conversation: its answer is generated again, or never came."""

    at: float = msgspec.field(default_factory=time.time)


_encode = msgspec.json.Encoder().encode
_decoder: msgspec.json.Decoder[ConversationStart | ChatMessage | MessageWithdrawn] = msgspec.json.Decoder(
    ConversationStart | ChatMessage | MessageWithdrawn
)


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
        return newest_messages(_conversations(self._file(checkpoint))[-1])

    def last(self, before: str) -> str:
        """The newest checkpoint older than `before` that has a transcript, deleted or not; empty if there is none."""
        earlier = sorted(path.stem for path in self._folder.glob("step-*.jsonl") if path.stem < before)
        return earlier[-1] if earlier else ""

    def add(self, checkpoint: str, *entries: ConversationStart | ChatMessage | MessageWithdrawn) -> None:
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
    return (
        newest_messages([message for one in _conversations(files[-1], name=True) for message in one]) if files else []
    )


def _conversations(file: Path, *, name: bool = False) -> list[list[ChatMessage]]:
    """The conversations in `file`, the newest last; at least one, which may be empty.

    name: fill in the file's checkpoint for answers that an earlier version wrote without one.
    """
    found: list[list[ChatMessage]] = [[]]
    own = True
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
                own = not entry.after
                found = (
                    [[]] if entry.after else [*found, []]
                )  # the continued messages are copied below: count them once
            case ChatMessage(answer_info=AnswerInfo(checkpoint="") as info) if name and own:
                info = msgspec.structs.replace(info, checkpoint=file.stem)
                found[-1].append(msgspec.structs.replace(entry, answer_info=info))
            case ChatMessage():
                found[-1].append(entry)
            case MessageWithdrawn() if found[-1]:
                found[-1].pop()
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
