"""One contender of `benchmarks.data` in a process of its own: `python -m benchmarks.data_work NAME DIRECTORY`.

Prints what it found as JSON: the seconds its work took, imports left out, and of our stages the error of
their progress.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

from core.events import Progress, StageStarted
from core.recipe.schema import Preprocess, Source, Tokenize
from core.runs.summary import Summary
from core.storage.artifact import Artifact, Staging

Made = Generator[Any, None, Artifact]
Found = dict[str, float]


def made(work: Callable[[Staging], Made], *, keep: Path | None = None) -> Found:
    """How a stage does; its artifact is thrown away unless there is a place to keep it.

    seconds: all of it. silence: the longest time between two words. eta_error: how far what it promised was from the
    truth, as a share of the whole time, at worst in nine of ten moments after the first fifth.
    """
    summary, estimates = Summary(), []
    with tempfile.TemporaryDirectory() as scratch, Staging(keep or Path(scratch) / "made", "x", "0").open() as out:
        began = time.perf_counter()
        summary.absorb(StageStarted(stage="download"))
        for event in work(out):
            if isinstance(event, Progress):
                summary.absorb(event)
                eta = summary.stages["download"].seconds_left
                estimates.append((time.perf_counter() - began, eta))
        seconds = time.perf_counter() - began
    moments = [0.0, *(elapsed for elapsed, _ in estimates), seconds]
    silence = max(later - earlier for earlier, later in itertools.pairwise(moments))
    errors = sorted(
        abs(elapsed + eta - seconds) / seconds
        for elapsed, eta in estimates
        if eta is not None and seconds / 5 < elapsed
    )
    return {"seconds": seconds, "silence": silence, "eta_error": errors[len(errors) * 9 // 10] if errors else 1.0}


def read_jsonl(home: Path) -> Found:
    from core.download import download

    return made(
        lambda out: download(Source(corpus=str(home / "text.jsonl"), column="text"), out), keep=home / "documents"
    )


def read_hub(home: Path) -> Found:
    import datasets  # noqa: F401 what it takes to load is not what is measured

    from core.download import download

    return made(lambda out: download(Source(corpus="hf:bench/text"), out))


def clean(home: Path) -> Found:
    return _cleaned(home, Preprocess(), keep=home / "clean")


def clean_near(home: Path) -> Found:
    return _cleaned(home, Preprocess(steps=(*Preprocess().steps, "near_duplicates")))


def _cleaned(home: Path, recipe: Preprocess, keep: Path | None = None) -> Found:
    from core.preprocess import preprocess

    documents = Artifact.open(home / "documents")
    return made(lambda out: preprocess(recipe, documents, out), keep=keep)


def tokenize_ours(home: Path) -> Found:
    return _tokenized(home, Tokenize(vocabulary="gpt2"))


def _tokenized(home: Path, recipe: Tokenize) -> Found:
    from core.tokenize import tokenize

    text = Artifact.open(home / "clean")
    return made(lambda out: tokenize(recipe, text, out))


def tokenize_pool(home: Path) -> Found:
    """Two processes of plain tiktoken, as one would write it by hand; ids to one uint16 file."""
    import numpy as np

    texts = list(_texts(home))
    groups = [texts[n : n + 64] for n in range(0, len(texts), 64)]
    with multiprocessing.get_context("fork").Pool(2, _start) as pool, tempfile.TemporaryFile() as file:
        pool.map(_encode, [["warm"]] * 8, chunksize=1)
        began = time.perf_counter()
        for ids in pool.imap(_encode, groups):
            file.write(np.frombuffer(ids, np.uint16).data)
        return {"seconds": time.perf_counter() - began}


_ENCODING: Any = None


def _start() -> None:
    global _ENCODING
    import tiktoken

    _ENCODING = tiktoken.get_encoding("gpt2")


def _encode(texts: list[str]) -> bytes:
    import numpy as np

    ids: list[int] = []
    for text in texts:
        ids += _ENCODING.encode_ordinary(text)
        ids.append(50256)
    return np.array(ids, np.uint16).tobytes()


def tokenize_datasets(home: Path) -> Found:
    """As nanoGPT's data/openwebtext/prepare.py does it: `datasets.map` in two processes, then into one memmap."""
    import datasets
    import numpy as np
    import tiktoken

    encoding = tiktoken.get_encoding("gpt2")
    datasets.disable_progress_bars()

    def process(example: dict[str, Any]) -> dict[str, Any]:
        ids = encoding.encode_ordinary(example["text"])
        ids.append(encoding.eot_token)
        return {"ids": ids, "len": len(ids)}

    with tempfile.TemporaryDirectory() as scratch:
        there = datasets.Dataset.from_dict({"text": list(_texts(home))})
        began = time.perf_counter()
        tokenized = there.map(process, remove_columns=["text"], num_proc=2, cache_file_name=f"{scratch}/cache.arrow")
        array = np.memmap(f"{scratch}/train.bin", np.uint16, "w+", shape=(int(np.sum(tokenized["len"])),))
        index = 0
        for number in range(64):
            shard = tokenized.shard(num_shards=64, index=number, contiguous=True).with_format("numpy")
            batch = np.concatenate(shard["ids"])
            array[index : index + len(batch)] = batch
            index += len(batch)
        array.flush()
        return {"seconds": time.perf_counter() - began}


def _texts(home: Path) -> Iterator[str]:
    for line in (home / "text.jsonl").open():
        yield json.loads(line)["text"]


WORK: dict[str, Callable[[Path], Found]] = {
    function.__name__: function
    for function in (
        *(read_jsonl, read_hub, clean, clean_near),
        *(tokenize_ours, tokenize_pool, tokenize_datasets),
    )
}


if __name__ == "__main__":
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    name, directory = sys.argv[1:]
    print(json.dumps(WORK[name](Path(directory))))
