"""Muon's matrices shared out among ranks: each is orthogonalised by one of them, its owner."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from core.train.distributed import ProcessGroup, rows_of_rank

T = TypeVar("T")

Orthogonalise = Callable[[Sequence[Tensor]], list[Tensor]]
"""Matrices to matrices of the same shapes; may overwrite its argument."""


def orthogonalise_replicated(
    matrices: Sequence[Tensor], orthogonalise: Orthogonalise, group: ProcessGroup
) -> list[Tensor]:
    """`orthogonalise(matrices)`, of which each rank has all: the owners compute, and all gather the results."""
    shapes = [matrix.shape for matrix in matrices]
    owners = assign_owners(shapes, group.world_size)
    owned_shapes = _by_owner(shapes, owners, group)
    flat = _flatten(orthogonalise(_by_owner(matrices, owners, group)[group.rank]), like=matrices[0])
    gathered = group.all_gather_uneven(flat, [_numbers(of_rank) for of_rank in owned_shapes])
    results = [iter(_split(one, of_rank)) for one, of_rank in zip(gathered, owned_shapes, strict=True)]
    return [next(results[owner]) for owner in owners]


def orthogonalise_sharded(
    parts: Sequence[Tensor], shapes: Sequence[torch.Size], orthogonalise: Orthogonalise, group: ProcessGroup
) -> list[Tensor]:
    """The same for matrices of `shapes`, of each of which this rank has the rows `parts`; returns these rows.

    An owner receives the other rows of its matrices, and sends the results back: twice the bytes of the matrices
    travel, and no rank holds more whole matrices than it owns.
    """
    owners = assign_owners(shapes, group.world_size)
    own = _by_owner(shapes, owners, group)[group.rank]
    # shapes of the pieces that travel: from this rank to each owner, and from each rank to this one as an owner
    to_owner = [[part.shape for part in of_rank] for of_rank in _by_owner(parts, owners, group)]
    to_here = [
        [torch.Size((rows_of_rank(shape[0], rank, group.world_size), *shape[1:])) for shape in own]
        for rank in group.ranks
    ]
    sent, received = ([_numbers(pieces) for pieces in by_rank] for by_rank in (to_owner, to_here))
    ordered = [part for of_rank in _by_owner(parts, owners, group) for part in of_rank]
    flat = group.all_to_all(_flatten(ordered, like=parts[0]), sent, received)
    pieces = [_split(one, of_rank) for one, of_rank in zip(torch.split(flat, received), to_here, strict=True)]
    results = orthogonalise([torch.cat(of_matrix) for of_matrix in zip(*pieces, strict=True)])
    cut = [torch.split(result, [of_rank[i][0] for of_rank in to_here]) for i, result in enumerate(results)]
    back = [of_matrix[rank] for rank in group.ranks for of_matrix in cut]
    flat = group.all_to_all(_flatten(back, like=parts[0]), received, sent)
    rows = [iter(_split(one, of_rank)) for one, of_rank in zip(torch.split(flat, sent), to_owner, strict=True)]
    return [next(rows[owner]) for owner in owners]


def assign_owners(shapes: Sequence[torch.Size], world_size: int) -> list[int]:
    """The owner of a matrix of each of `shapes`: the costliest first, each to the rank that has the least to do."""
    work = [0] * world_size
    owners = [0] * len(shapes)
    cost = [shape.numel() * min(shape) for shape in shapes]
    for number in sorted(range(len(shapes)), key=lambda number: -cost[number]):
        owners[number] = work.index(min(work))
        work[owners[number]] += cost[number]
    return owners


def _by_owner(items: Sequence[T], owners: Sequence[int], group: ProcessGroup) -> list[list[T]]:
    return [[item for item, owner in zip(items, owners, strict=True) if owner == rank] for rank in group.ranks]


def _numbers(shapes: Iterable[torch.Size]) -> int:
    return sum(shape.numel() for shape in shapes)


def _flatten(tensors: Iterable[Tensor], like: Tensor) -> Tensor:
    """All elements of `tensors`, which may be none, one after the other. like: has their dtype and device."""
    return torch.cat([like.new_empty(0), *(tensor.reshape(-1) for tensor in tensors)])


def _split(flat: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    parts = torch.split(flat, [shape.numel() for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
