"""The table of well-known corpora."""

from __future__ import annotations

from core.sources.corpora import CORPORA, known_corpus


def test_every_corpus_has_repositories_a_licence_and_a_description() -> None:
    for corpus in CORPORA.values():
        assert corpus.locations and corpus.licence and corpus.bytes > 1e6 and corpus.about.endswith(".")
        assert all(location.repository.count("/") == 1 for location in corpus.locations)
    book = known_corpus("hf:bookcorpus")
    assert book is not None and "without asking their authors" in book.notice
    assert known_corpus("hf:BookCorpus@refs/convert/parquet") is known_corpus("hf:bookcorpus/bookcorpus") is book
    assert known_corpus("hf:SamuelYang/bookcorpus") is book, "a copy needs the same notice"
    assert known_corpus("hf:lucadiliello/bookcorpusopen") is CORPORA["bookcorpusopen"]
    assert known_corpus("hf:me/other") is known_corpus("bookcorpus") is known_corpus("stdlib") is None


def test_the_recipe_of_each_corpus_is_valid() -> None:
    import msgspec

    from core.recipe.schema import Recipe

    for corpus in CORPORA.values():
        msgspec.convert(corpus.recipe, Recipe)
    steps = CORPORA["bookcorpus"].recipe["preprocess"]["steps"]
    assert steps.index("detokenize") < steps.index("passages") < steps.index("duplicates")
