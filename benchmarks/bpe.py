"""Learning a byte-pair vocabulary: ours beside the libraries by themselves, `python -m benchmarks.bpe`.

64 MB of English, the same pattern for all, a process for each, medians of three rounds. Needs `rustbpe` (the bench
extra). On two cores of an AMD EPYC (Zen 5), November 2026, other work beside it:

              4,096 entries          16,384 entries
    ours      8.4 s, 1.01, 452 MB    12.2 s, 0.96, 461 MB      (at most 1.1 times what tokenizers takes by itself)
    tokenizers  8.2 s, 639 MB        12.8 s, 654 MB
    rustbpe     2.8 s, 542 MB         3.7 s, 553 MB
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.english import documents
from benchmarks.harness import Figure, Measurement, interleaved, options, report
from core.storage.documents import SCHEMA

SIZES = (4_096, 16_384)
AT_MOST = 1.1
"""Times what the chosen library needs by itself."""
BYTES = 64_000_000


def ours(file: Path, size: int) -> float:
    """Seconds from clean shards to a vocabulary."""
    from core.tokenize import bpe

    began = time.perf_counter()
    bpe.train_bpe(bpe.sample_texts([file], 0), size)
    return time.perf_counter() - began


def tokenizers(file: Path, size: int) -> float:
    """Seconds that the library needs for texts that are in memory already."""
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split
    from tokenizers.trainers import BpeTrainer

    from core.tokenize.bpe import PATTERN

    texts = pq.read_table(file, columns=["text"])["text"].to_pylist()
    began = time.perf_counter()
    learner = Tokenizer(BPE())
    learner.pre_tokenizer = Sequence(
        [Split(Regex(PATTERN), "isolated"), ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    trainer = BpeTrainer(
        vocab_size=size - 1, min_frequency=2, initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    learner.train_from_iterator(texts, trainer)
    return time.perf_counter() - began


def rustbpe(file: Path, size: int) -> float:
    """The same with the library that nanochat uses."""
    import rustbpe as library

    from core.tokenize.bpe import PATTERN

    texts = pq.read_table(file, columns=["text"])["text"].to_pylist()
    began = time.perf_counter()
    library.Tokenizer().train_from_iterator(iter(texts), size - 1, pattern=PATTERN)
    return time.perf_counter() - began


CONTENDERS: dict[str, Callable[[Path, int], float]] = {"ours": ours, "tokenizers": tokenizers, "rustbpe": rustbpe}


def measured(name: str, file: Path, size: int) -> Measurement:
    """One round in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.bpe", name, str(file), str(size)]
    answer: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return answer


def one(name: str, file: str, size: str) -> None:
    """What `measured` runs."""
    seconds = CONTENDERS[name](Path(file), int(size))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak": peak}))


def main() -> int:
    chosen = options(__doc__)
    figures = []
    with tempfile.TemporaryDirectory(prefix="llmtui-benchmark-") as home:
        file = Path(home) / "train-00000.parquet"
        texts = list(documents(BYTES // 16 if chosen.quick else BYTES))
        columns = {"name": [""] * len(texts), "part": [0] * len(texts), "text": texts}
        pq.write_table(pa.table(columns, schema=SCHEMA), file, compression="zstd", row_group_size=2**20)
        for size in SIZES:
            contenders = {name: partial(measured, name, file, size) for name in CONTENDERS}
            medians = interleaved(contenders, 1 if chosen.quick else 3)
            library = medians["tokenizers"]["seconds"]
            for name in CONTENDERS:
                seconds = medians[name]["seconds"]
                limit = AT_MOST * library if name == "ours" else None
                about = f"{size:,} entries, {name}"
                figures.append(Figure(name=about, value=seconds, unit="s", at_most=limit, ratio=seconds / library))
                figures.append(Figure(name=f"{about}, peak memory", value=medians[name]["peak"], unit="MB"))
    return report(figures, chosen)


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] in CONTENDERS:
        one(*sys.argv[1:])
    else:
        sys.exit(main())
