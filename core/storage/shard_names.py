"""The numbered shard files of an artifact."""

from __future__ import annotations

from core.storage.artifact import Facts, Staging


def shard_name(stem: str, index: int, suffix: str) -> str:
    """Such as `train-00003.parquet`; names sort by index up to 100,000 shards."""
    return f"{stem}-{index:05d}.{suffix}"


def published_shards(out: Staging, stem: str, suffix: str) -> tuple[int, Facts | None]:
    """The number of consecutive shards of `stem` that are published already, and the facts of the last one."""
    count, facts = 0, None
    while (name := shard_name(stem, count, suffix)) in out.published:
        count, facts = count + 1, out.published[name].facts
    return count, facts
