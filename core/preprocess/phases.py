"""How the steps of a recipe are cut into phases, each of which goes once through all documents, shard by shard."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from core.preprocess.steps import DROPPING, RESHAPING, STEPS

READ_AND_WRITE = 14.0
"""Nanoseconds a byte of English text takes to be read from one shard and written to another, digest included."""
COLLECT = 26.0
"""Nanoseconds a byte takes to have its lines looked at for the step duplicate_lines of the next phase."""
DIVIDE = 18.0
"""Nanoseconds a byte takes to be written to its side."""


class Phase(Struct, frozen=True, kw_only=True):
    """A reading of all documents. Steps are named by their place in the recipe, since one may stand there twice."""

    number: int
    opener: int | None = None
    """A reshaping step, for which the phase before has collected what it has to know."""
    local: tuple[int, ...] = ()
    """Steps that look at one document at a time."""
    closers: tuple[int, ...] = ()
    """Dropping steps, decided when the phase has gone through everything."""
    following: str = ""
    """The step that opens the next phase."""
    last: bool = False

    def nanoseconds(self, steps: Sequence[str]) -> float:
        """Of one core for each byte of text."""
        involved = [*(() if self.opener is None else (self.opener,)), *self.local, *self.closers]
        collecting = COLLECT if self.following == "duplicate_lines" else 0.0
        return READ_AND_WRITE + collecting + sum(STEPS[steps[index]].nanoseconds for index in involved)


def cut(steps: Sequence[str]) -> list[Phase]:
    """The phases of a recipe: at least one, as few as will do."""
    phases = [Phase(number=0)]
    for index, name in enumerate(steps):
        phase = phases[-1]
        empty = phase.opener is None and not phase.local and not phase.closers
        if name in DROPPING:
            phases[-1] = replace(phase, closers=(*phase.closers, index))
        elif name in RESHAPING:
            if empty and name == "passages":
                phases[-1] = replace(phase, opener=index)
                continue
            phases[-1] = replace(phase, following=name)
            phases.append(Phase(number=phase.number + 1, opener=index))
        elif phase.closers:
            phases.append(Phase(number=phase.number + 1, local=(index,)))
        else:
            phases[-1] = replace(phase, local=(*phase.local, index))
    phases[-1] = replace(phases[-1], last=True)
    return phases
