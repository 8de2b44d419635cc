"""Groups the steps of a recipe into phases; each phase reads all documents once, shard by shard."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from core.preprocess.steps import DEDUP_STEPS, RESHAPE_STEPS, STEPS

READ_AND_WRITE = 14.0
"""Nanoseconds per byte of English text to read it from one shard and write it to another, including the digest."""
HASH_LINES = 26.0
"""Nanoseconds per byte to hash the lines for duplicate_lines in the next phase."""
WRITE_OUTPUT = 18.0
"""Nanoseconds per byte to write it to its split."""


class Phase(Struct, frozen=True, kw_only=True):
    """One pass over all documents. Steps are indices in the recipe, since a recipe may name a step twice."""

    number: int
    reshape_step: int | None = None
    """A step of `RESHAPE_STEPS`, which starts the phase; the phase before collects its input."""
    document_steps: tuple[int, ...] = ()
    """Steps that process one document at a time."""
    dedup_steps: tuple[int, ...] = ()
    """Steps of `DEDUP_STEPS`, which run at the end of the phase."""
    next_reshape: str = ""
    """Name of the step that starts the next phase, if it is one of `RESHAPE_STEPS`."""
    last: bool = False

    def nanoseconds(self, steps: Sequence[str]) -> float:
        """Nanoseconds per byte of text on one core."""
        involved = [
            *(() if self.reshape_step is None else (self.reshape_step,)),
            *self.document_steps,
            *self.dedup_steps,
        ]
        collecting = HASH_LINES if self.next_reshape == "duplicate_lines" else 0.0
        return READ_AND_WRITE + collecting + sum(STEPS[steps[index]].nanoseconds for index in involved)


def plan_phases(steps: Sequence[str]) -> list[Phase]:
    """The phases of a recipe: as few as possible, at least one."""
    phases = [Phase(number=0)]
    for index, name in enumerate(steps):
        phase = phases[-1]
        empty = phase.reshape_step is None and not phase.document_steps and not phase.dedup_steps
        if name in DEDUP_STEPS:
            phases[-1] = replace(phase, dedup_steps=(*phase.dedup_steps, index))
        elif name in RESHAPE_STEPS:
            if empty and name == "passages":
                phases[-1] = replace(phase, reshape_step=index)
                continue
            phases[-1] = replace(phase, next_reshape=name)
            phases.append(Phase(number=phase.number + 1, reshape_step=index))
        elif phase.dedup_steps:
            phases.append(Phase(number=phase.number + 1, document_steps=(index,)))
        else:
            phases[-1] = replace(phase, document_steps=(*phase.document_steps, index))
    phases[-1] = replace(phases[-1], last=True)
    return phases
