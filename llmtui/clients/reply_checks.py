"""Whether the parts of a reply fit together, as screens rely on: a host that is not ours may send anything."""

from __future__ import annotations

from core.recipe.sampling import Sampling
from core.sample.inspect_protocol import (
    AnyInspectResult,
    AttentionWeights,
    FiniteFloat,
    LastLogits,
    LensRow,
    LogitsMatrix,
    TokenProbabilities,
)
from core.sample.protocol import AnyReply, Inspected, TokenLosses

PROCESSORS = frozenset(("softmax", *Sampling.__struct_fields__))
"""Names that `ProcessorSummary.name` may have."""


def is_consistent(reply: AnyReply) -> bool:
    """Whether lengths that belong together are equal, and what is indexed is not empty."""
    match reply:
        case TokenLosses(tokens=tokens, nats=nats):
            return len(tokens) == len(nats)
        case Inspected(result=result):
            return _is_consistent_result(result)
    return True


def _is_consistent_result(result: AnyInspectResult) -> bool:
    match result:
        case LogitsMatrix(columns=columns, rows=rows):
            return len(columns) > 0 and len(rows) > 0 and all(len(row.logits) == len(columns) for row in rows)
        case LastLogits(columns=columns, logits=logits, position=position):
            return len(columns) == len(logits) and position > 0
        case TokenProbabilities(processors=processors, candidates=candidates):
            return (
                len(processors) > 0
                and len(candidates) > 0
                and all(processor.name in PROCESSORS for processor in processors)
                and all(len(candidate.probabilities) == len(processors) for candidate in candidates)
            )
        case AttentionWeights(weights=weights, before=before):
            return len(weights) == len(before) > 0 and all(row and all(map(_is_share, row)) for row in weights)
        case LensRow(predictions=predictions):
            return len(predictions) > 0
    return True


def _is_share(weight: FiniteFloat) -> bool:
    return weight is None or 0 <= weight <= 1.001  # rounded
