"""Training of BPE: merges, samples, and the pattern that splits words."""

from __future__ import annotations

import random
import re
import unicodedata
from pathlib import Path

import pytest

from core import tokenize
from core.recipe.schema import Tokenize
from core.storage.documents import DocumentPart, write_parts
from core.tokenize import bpe


def test_the_first_merges_are_the_most_frequent_pairs() -> None:
    vocabulary = bpe.train_bpe(iter(["abab abab abab", " xyz xyz"]), 1000)
    assert vocabulary.ranks[256:258] == (b"ab", b"abab")
    assert vocabulary.encode("abab") == [257]


@pytest.mark.heavy
def test_training_on_text_without_spaces(tmp_path: Path) -> None:
    dice = random.Random(1)
    text = "".join(dice.choice("ACGT") for _ in range(300_000))
    write_parts(tmp_path / "train.parquet", [DocumentPart("dna", 0, text), DocumentPart("spaces", 0, " " * 300_000)])
    assert bpe.train_bpe(bpe.sample_texts([tmp_path / "train.parquet"], 600_000), 500).size == 500


def test_the_sample_covers_all_shards_and_long_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpe, "SAMPLE_BYTES", 40_000)
    monkeypatch.setattr(bpe, "_SAMPLE_PIECE", 1_000)
    monkeypatch.setattr(bpe, "_SAMPLE_SHARDS", 5)
    files = [tmp_path / f"train-{n}.parquet" for n in range(10)]
    for n, path in enumerate(files):
        write_parts(path, [DocumentPart("long", 0, f"{n}word " * 4_000)])
    total = 10 * 24_000
    texts = list(bpe.sample_texts(files, total))
    assert 20_000 < sum(map(len, texts)) <= 40_000
    assert len({text.split("word")[0][-1] for text in texts}) == 5
    assert len(texts) > 20


HINDI = "मुझे आपकी सहायता चाहिए। यह पुस्तक बहुत अच्छी है। कृपया सही मान दर्ज करें और पुनः प्रयास करें। हिन्दी में लिखना सीखें।\n"
PERSIAN = "می\u200cخواهم کتاب\u200cهای بیشتری بخوانم و نمی\u200cدانم کجا می\u200cروند.\n"


def test_combining_marks_belong_to_the_word_of_their_letter() -> None:
    for text, pattern, most in (
        (HINDI * 20, bpe.PATTERN, 0.6),
        (HINDI * 20, bpe.MARKS_PATTERN, 0.6),
        (PERSIAN * 20, bpe.MARKS_PATTERN, 0.8),
    ):
        learned = (bpe.train_bpe([text], 500, each) for each in (bpe.OLD_PATTERN, pattern))
        before, now = (len(vocabulary.encode(text)) for vocabulary in learned)
        assert now < most * before


def test_text_without_combining_marks_is_split_as_by_the_old_pattern(tmp_path: Path) -> None:
    text = Path(__file__).read_text().replace(HINDI, "").replace("\u200c", "") + "👩‍💻 ❤️ 1️⃣ \u0301 x\n\u0301"
    plain = "".join(letter for letter in text if not unicodedata.category(letter).startswith("M"))
    plain = re.sub(r"[0-9]+", "1", plain)  # numbers are split after two digits there, after each digit now
    learned = [bpe.train_bpe([plain], 600, pattern).ranks for pattern in bpe.PATTERNS]
    assert learned[0] == learned[1] == learned[2]


def test_weights_keep_the_pattern_of_their_vocabulary(tmp_path: Path) -> None:
    recipe, folders = Tokenize(), [tmp_path / name for name in ("none", "broken", "old")]
    for folder in folders:
        folder.mkdir()
    assert tokenize.vocabulary_pattern(folders) == tokenize.vocabulary_pattern([]) == bpe.PATTERN
    assert tokenize.format_version(recipe, bpe.PATTERN) != tokenize.FORMAT
    (folders[1] / "vocabulary.json").write_text("{")
    for pattern in bpe.PATTERNS:
        bpe.train_bpe(["ab ab"], 300, pattern).save(folders[2] / "vocabulary.json")
        assert tokenize.vocabulary_pattern(folders) == pattern
    assert len({tokenize.format_version(recipe, pattern) for pattern in bpe.PATTERNS}) == 3
    assert (
        tokenize.format_version(recipe, bpe.OLD_PATTERN) == tokenize.FORMAT
    )  # and the tokens made then are found again
    assert tokenize.format_version(Tokenize(vocabulary="gpt2"), bpe.PATTERN) == tokenize.FORMAT
