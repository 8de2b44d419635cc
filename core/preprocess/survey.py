"""The first reading of the documents: what each step does to them, which go, how large the rest is."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from hashlib import blake2b

from core.download.documents import Part
from core.events import StepCount
from core.preprocess.steps import Step


def rewrite(steps: Sequence[Step], part: Part) -> str:
    """The text of `part` after every step that rewrites."""
    text = part.text
    for step in steps:
        if step.rewrite is not None:
            text = step.rewrite(text, part.last)
    return text


class Survey:
    """Reads documents part by part and keeps a few numbers for each."""

    def __init__(self, steps: Sequence[Step], seed: int) -> None:
        self._steps = [(step, step.filter() if step.filter else None) for step in steps]
        self._seed = f"{seed}:".encode()
        self._changed = [0] * len(steps)
        self._removed = [0] * len(steps)
        self._bytes = [0] * len(steps)
        self.keys = array("Q")
        """Of each document: 64 bits from the seed and its clean text."""
        self.sizes = array("q")
        """Of each document: bytes of clean text."""
        self.kept = array("b")
        """Of each document: 1, or 0 when a step removed it."""
        self._begin()

    def _begin(self) -> None:
        self._digest = blake2b(self._seed, digest_size=8)
        # of the present document at each step, and behind the last
        self._sizes = [0] * (len(self._steps) + 1)
        self._touched = [False] * len(self._steps)

    def read(self, part: Part) -> None:
        """Take the next part; parts of a document follow each other, the last one marked."""
        text = part.text
        size = len(text.encode())
        for index, (step, judge) in enumerate(self._steps):
            self._sizes[index] += size
            if step.rewrite is not None:
                cleaned = step.rewrite(text, part.last)
                if cleaned != text:
                    self._touched[index] = True
                    text, size = cleaned, len(cleaned.encode())
            elif judge is not None:
                judge.read(text)
        self._sizes[-1] += size
        self._digest.update(text.encode())
        if part.last:
            self._end()

    def _end(self) -> None:
        gone = False
        for index, (_, judge) in enumerate(self._steps):
            # every filter is asked, to begin afresh; what is gone already counts for no later step
            removes = judge is not None and judge.removes()
            if gone:
                continue
            gone = removes
            self._removed[index] += removes
            self._changed[index] += self._touched[index]
            self._bytes[index] += self._sizes[index] - (0 if removes else self._sizes[index + 1])
        self.keys.append(int.from_bytes(self._digest.digest(), "big"))
        self.sizes.append(self._sizes[-1])
        self.kept.append(not gone)
        self._begin()

    def counts(self) -> tuple[StepCount, ...]:
        """What each step did so far."""
        return tuple(
            StepCount(step=step.name, changed=changed, removed=removed, bytes=size)
            for (step, _), changed, removed, size in zip(
                self._steps, self._changed, self._removed, self._bytes, strict=True
            )
        )
