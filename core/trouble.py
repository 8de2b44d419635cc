"""Everything that can go wrong for a reason a person can understand.

Each room raises its own subclass, carrying facts; the sentence a person reads is made in `sentence` alone.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class Trouble(Exception):
    """Something went wrong that the person in front of the screen can do something about.

    what: what happened, a clause that reads after "cannot train: ". where: file, field, step. kept: what is
    safe. todo: what to do next. Any of these may quote hostile text; whoever shows them sanitises.
    """

    exit_code: ClassVar[int] = 1
    doing: ClassVar[str] = "go on"
    """What could not be done, an infinitive: "cannot {doing}: {what}"."""

    def __init__(self, what: str, *, where: str = "", kept: str = "", todo: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.kept, self.todo = what, where, kept, todo

    def sentence(self) -> str:
        """The message for a person: one line, then what was kept and what to do, a line each."""
        lines = [f"cannot {self.doing}: {self.what}" + (f"   ({self.where})" if self.where else "")]
        lines += [line for line in (self.kept, self.todo) if line]
        return "\n        ".join(lines)


class Usage(Trouble):
    """The request itself is wrong: a recipe, a name, an option."""

    exit_code = 2


class Busy(Trouble):
    """Somebody else is at it; trying again later may work."""

    exit_code = 75


class DiskTrouble(Trouble):
    """The disk is full, read-only or failing."""

    doing = "write"

    @classmethod
    def of(cls, error: OSError, path: object, kept: str = "") -> DiskTrouble:
        """The same trouble whatever was being written: `error` while writing to `path`."""
        reason = error.strerror or str(error)
        return cls(
            reason[:1].lower() + reason[1:],
            where=str(path),
            kept=kept,
            todo="free some space or set LLMTUI_HOME to another place, then resume",
        )


class Interrupted(Trouble):
    """It broke off from outside, as when a process is killed: nothing is wrong with what was to be done."""


def nearest(name: str, names: Iterable[str]) -> str:
    """ "did you mean X?", or nothing when no name is near."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else ""
