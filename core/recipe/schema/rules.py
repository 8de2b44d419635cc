"""[rules]: what a run does by itself when its losses say so."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class Rules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the run does by itself. Two rules have no field here: `train.patience`, and that a loss which is not finite
    ends the run."""

    below: Annotated[
        Annotated[float, Meta(gt=0, le=1000)] | None,
        Meta(
            description=(
                "Validation loss in bits per byte. At the first evaluation below it a checkpoint is saved, and `stop` "
                "and `command` apply."
            )
        ),
    ] = None
    stop: Annotated[bool, Meta(description="Stop the run there; it can be resumed.")] = False
    command: Annotated[
        str,
        Meta(
            max_length=4000,
            description=(
                "Shell command to run when a rule acts: `below`, train.patience, or a loss that is not finite. "
                "LLMTUI_RULE, LLMTUI_RUN, LLMTUI_RUN_DIR, LLMTUI_STEP and LLMTUI_BITS_PER_BYTE tell it which; its "
                "output is in the run's log."
            ),
        ),
    ] = ""
