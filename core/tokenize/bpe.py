"""Learning a byte-pair vocabulary from text."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq
from tokenizers import Regex, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Split
from tokenizers.pre_tokenizers import Sequence as InTurn
from tokenizers.trainers import BpeTrainer

from core.tokenize.encodings import byte_of_character
from core.tokenize.vocabulary import Vocabulary, cut

SAMPLE_BYTES = 64 * 2**20
"""Text to learn from: more changes few of the merges, and this much takes about ten seconds."""
SAMPLE_SEED = 0
_SAMPLE_SHARDS = 64
"""Shards a sample is drawn from at most, 2 GiB of text: reading a large corpus would take longer than learning."""
_SAMPLE_PIECE = 2**16
"""Characters of a long document that are drawn or left out together; bytes of one that is long."""
_ROWS = 64
"""Rows read at once: of parts of 4 MiB, a shard's worth."""
_ITEM = 5000
"""Characters learned from at once. Longer words, such as DNA, take the trainer quadratic time: 256 Ki characters of
them took 100 s, a million in pieces of 5,000 take 0.9. Shorter pieces cost: cutting is not free."""

# GPT-4's pattern with at most two digits (small vocabularies have none to spare for numbers), and without the
# possessive quantifiers that the trainer's regular expressions lack; grouped for speed as in `encodings`
FIRST_PATTERN = (
    r"(?:'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,2}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+)|\s+(?!\S)|\s+"
)
"""Of vocabularies learned by earlier versions, which runs go on with."""
# and a word goes on over the marks and joiners behind its letters: without, Hindi's vowels are words of their own
PATTERN = FIRST_PATTERN.replace(r"\p{L}+|", r"\p{L}[\p{L}\p{M}\x{200c}\x{200d}]*|")


def sample(files: Sequence[Path], total: int) -> Iterator[str]:
    """Pieces of at most SAMPLE_BYTES out of the clean shards `files`, spread over them; everything when it is less.

    total: bytes of text in all of `files`. The same files give the same pieces. Holds a few documents at a time.
    """
    if total <= SAMPLE_BYTES:
        for path in files:
            for text in _texts(path):
                yield from cut(text, _ITEM)
        return
    chance = random.Random(SAMPLE_SEED)
    chosen = sorted(chance.sample(files, _SAMPLE_SHARDS)) if len(files) > _SAMPLE_SHARDS else files
    # a little less than there is room for, so that the last shards hardly ever miss it
    share = 0.98 * SAMPLE_BYTES * len(files) / (total * len(chosen))
    left = SAMPLE_BYTES
    for path in chosen:
        for text in _texts(path, chance, share):
            left -= len(text.encode())
            if left < 0:
                return
            yield from cut(text, _ITEM)


def _texts(path: Path, chance: random.Random | None = None, share: float = 1.0) -> Iterator[str]:
    """The texts of a shard, or with `chance` a `share` of them and of the pieces of long ones."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_ROWS, columns=["text"]):
            for text in batch.column(0):
                if chance is None:
                    yield text.as_py()
                elif text.as_buffer().size > _SAMPLE_PIECE:
                    yield from (piece for piece in cut(text.as_py(), _SAMPLE_PIECE) if chance.random() < share)
                elif chance.random() < share:
                    yield text.as_py()


def learn(texts: Iterable[str], size: int, pattern: str = PATTERN) -> Vocabulary:
    """A vocabulary of at most `size` entries: 256 bytes, the merges learned from `texts`, the end-of-text mark.

    texts: pieces as `sample` makes them; much longer ones may take quadratic time. pattern: inside whose pieces bytes
    are merged.

    Fewer when there are not enough pairs that occur twice.
    """
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = InTurn(
        [Split(Regex(pattern), "isolated"), ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    trainer = BpeTrainer(
        vocab_size=size - 1, min_frequency=2, initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(iter(texts), trainer)
    byte_of = byte_of_character()
    learned = sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    merges = [bytes(byte_of[character] for character in token) for token, _ in learned if len(token) > 1]
    return Vocabulary("bpe", pattern, [*(bytes([byte]) for byte in range(256)), *merges])
