"""Token ids into text as they come: whole characters only, and nothing of what ends it."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from core.tokenize.vocabulary import Vocabulary


class TextOf:
    """The text of one stream of tokens. Bytes wait until the rest of their character is there.

    What could be the beginning of a stop string waits, too, until it is one or is none. The text ends before the stop
    string that is complete first; of several that end with the same character, before the longest.
    """

    def __init__(self, vocabulary: Vocabulary, stop: Sequence[str] = ()) -> None:
        self._vocabulary, self._stop = vocabulary, stop
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._waiting = ""
        self.stopped = False
        """A stop string has come: the text ends before it, whatever follows."""

    def feed(self, token: int) -> str:
        """What `token` adds that is certain by now. Raises TokenIdError."""
        return self.take(self._vocabulary.decode_bytes([token]))

    def take(self, raw: bytes) -> str:
        """What these bytes add that is certain by now."""
        return self._pass(self._decoder.decode(raw))

    @property
    def waiting(self) -> bytes:
        """What has been fed and is not certain yet."""
        return self._waiting.encode() + self._decoder.getstate()[0]

    def rest(self) -> str:
        """What has been waiting, when no token follows; a character that was not completed is U+FFFD."""
        certain = self._pass(self._decoder.decode(b"", final=True))
        waiting, self._waiting = self._waiting, ""
        return certain + ("" if self.stopped else waiting)

    def _pass(self, fresh: str) -> str:
        if self.stopped or not self._stop:
            return "" if self.stopped else fresh
        text = self._waiting + fresh
        found = [(place + len(stop), place) for stop in self._stop if (place := text.find(stop)) >= 0]
        if found:
            self.stopped, self._waiting = True, ""
            return text[: min(found)[1]]
        held = max(_begun(text, stop) for stop in self._stop)
        self._waiting = text[len(text) - held :]
        return text[: len(text) - held]


def _begun(text: str, stop: str) -> int:
    """How many characters at the end of `text` are the beginning of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
