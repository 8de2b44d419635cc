"""From token ids to text, incrementally: whole characters only, and nothing from a stop string on."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from core.tokenize.vocabulary import Vocabulary


class Detokenizer:
    """Decodes one stream of tokens. Incomplete UTF-8 sequences are held back until they are complete.

    A possible start of a stop string is held back, too. The text ends before the stop string that is complete first; if
    several end with the same character, before the longest.
    """

    def __init__(self, vocabulary: Vocabulary, stop: Sequence[str] = ()) -> None:
        self._vocabulary, self._stop = vocabulary, stop
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held_back = ""
        self.stopped = False
        """Whether a stop string was found; later tokens add nothing."""

    def add_token(self, token: int) -> str:
        """The text that `token` completes. Raises TokenIdError."""
        return self.add_bytes(self._vocabulary.decode_bytes([token]))

    def add_bytes(self, raw: bytes) -> str:
        """The text that these bytes complete."""
        return self._before_stop(self._decoder.decode(raw))

    @property
    def pending(self) -> bytes:
        """Bytes that are held back."""
        return self._held_back.encode() + self._decoder.getstate()[0]

    def flush(self) -> str:
        """The text that is held back, after the last token; an incomplete character becomes U+FFFD."""
        text = self._before_stop(self._decoder.decode(b"", final=True))
        held_back, self._held_back = self._held_back, ""
        return text + ("" if self.stopped else held_back)

    def _before_stop(self, new: str) -> str:
        if self.stopped or not self._stop:
            return "" if self.stopped else new
        text = self._held_back + new
        found = [(start + len(stop), start) for stop in self._stop if (start := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held_back = True, ""
            return text[: min(found)[1]]
        held_back = max(_partial_match(text, stop) for stop in self._stop)
        self._held_back = text[len(text) - held_back :]
        return text[: len(text) - held_back]


def _partial_match(text: str, stop: str) -> int:
    """Length of the longest proper prefix of `stop` that `text` ends with."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
