"""Parameters and training memory of a model, by part."""

from __future__ import annotations

from msgspec import Struct, structs

from core.parsing import Int64


class ParameterCounts(Struct, frozen=True, kw_only=True):
    """Trainable parameters of a model, by part."""

    token_embedding: Int64
    """With tied weights this includes the output layer."""
    positions: Int64
    attention: Int64
    feed_forward: Int64
    norms: Int64
    output: Int64

    @property
    def total(self) -> int:
        return sum(structs.astuple(self))


class MemoryEstimate(Struct, frozen=True, kw_only=True):
    """Bytes that training takes on its device, by part."""

    process: Int64
    """The program and its libraries, before a model is loaded."""
    weights: Int64
    gradients: Int64
    optimizer: Int64
    """Optimizer state, such as momentum."""
    activations: Int64
    """Activations saved for the backward pass and temporary buffers, at the micro-batch size."""
    checkpoint: Int64
    """Copy of the state while a checkpoint is being written."""
    gathered: Int64 = 0
    """Of a sharded model, whole weights and gradients of the layers that are being computed."""
    peak: Int64
    """Most memory in use at one time: less than the sum of the parts, which are not all in use at once."""
