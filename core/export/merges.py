"""The merges of a byte-pair vocabulary, which tiktoken derives from ranks and other programs read as a list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Merge = tuple[bytes, bytes]


def merges_of(ranks: Sequence[bytes]) -> list[Merge]:
    """The merge that makes each entry of several bytes, in the order of the ids; none for unreachable entries.

    tiktoken merges the pair whose concatenation has the lowest id, leftmost first. When an entry arises inside a word,
    all merges within its span were those of the entry alone, so that its last merge is always the same one: a list of
    one merge per entry gives the same tokens. (`transformers` converts tiktoken's files with every pair that is an
    entry: three times as many for GPT-2.)
    """
    ids = {entry: token for token, entry in enumerate(ranks) if entry}
    merges = (_last_merge(entry, ids) for entry in ranks if len(entry) > 1)
    return [merge for merge in merges if merge is not None]


def _last_merge(entry: bytes, ids: Mapping[bytes, int]) -> Merge | None:
    parts = [entry[index : index + 1] for index in range(len(entry))]
    while len(parts) > 2:
        pairs = (ids.get(parts[index] + parts[index + 1]) for index in range(len(parts) - 1))
        lowest = min(((token, index) for index, token in enumerate(pairs) if token is not None), default=None)
        if lowest is None:
            return None
        index = lowest[1]
        parts[index : index + 2] = [parts[index] + parts[index + 1]]
    return parts[0], parts[1]
