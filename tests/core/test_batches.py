"""The windows of each step: a pure function of (seed, step, rank, world size)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core.model.batches import Batches, TooFewTokensError, permute
from core.storage.artifact import Artifact
from core.tokenize.shards import TokenStream

pytestmark = pytest.mark.heavy


@pytest.fixture
def stream(tokens: Artifact) -> TokenStream:
    return TokenStream(tokens.files("train-*.tokens"))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000, 65537])
def test_the_order_of_an_epoch_is_a_permutation(size: int) -> None:
    order = permute(np.arange(size, dtype=np.uint64), size, 7)
    assert sorted(order.tolist()) == list(range(size))
    if size > 100:
        assert order.tolist() != permute(np.arange(size, dtype=np.uint64), size, 8).tolist()


def test_the_windows_of_a_step_do_not_depend_on_the_world_size_and_an_epoch_has_each_once(
    stream: TokenStream,
) -> None:
    def shares(step: int, world: int) -> list[list[int]]:
        return [
            Batches(stream, block_size=32, batch_size=12, seed=3, rank=rank, world=world).starts(step)
            for rank in range(world)
        ]

    alone = sorted(shares(5, 1)[0])
    for world, sizes in ((2, [6, 6]), (3, [4, 4, 4]), (5, [3, 3, 2, 2, 2]), (13, [*[1] * 12, 0])):
        assert sorted(start for share in shares(5, world) for start in share) == alone
        assert [len(share) for share in shares(5, world)] == sizes
    whole = Batches(stream, block_size=32, batch_size=(len(stream) - 1) // 32 - 1, seed=3)
    first, second = whole.starts(0), whole.starts(1)
    assert len({start // 32 for start in first}) == len(first)
    assert {start % 32 for start in first} != {start % 32 for start in second} or first != second
    assert max(first + second) + 33 <= len(stream)


def test_a_window_is_a_block_and_the_token_after_it(stream: TokenStream) -> None:
    batches = Batches(stream, block_size=32, batch_size=4, seed=3)
    windows = batches(9)
    assert (windows.shape, windows.dtype) == ((4, 33), torch.int64)
    for row, start in zip(windows, batches.starts(9), strict=True):
        assert row.tolist() == stream.window(start, 33).tolist()
    nothing = Batches(stream, block_size=32, batch_size=1, seed=3, rank=1, world=2)(9)
    assert (nothing.shape, nothing.dtype) == ((0, 33), torch.int64)


def test_a_block_longer_than_the_corpus_is_named(stream: TokenStream) -> None:
    with pytest.raises(TooFewTokensError) as caught:
        Batches(stream, block_size=10**6, batch_size=1, seed=1)
    assert "1,000,001" in caught.value.what
    assert "block_size" in caught.value.todo
