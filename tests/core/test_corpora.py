"""The table of well-known corpora."""

from __future__ import annotations

from core.sources import corpora


def test_every_corpus_has_repositories_a_licence_and_a_description() -> None:
    for corpus in corpora.CORPORA.values():
        assert corpus.places and corpus.licence and corpus.bytes > 1e6 and corpus.about.endswith(".")
        assert all(place.repository.count("/") == 1 for place in corpus.places)
    book = corpora.known("hf:bookcorpus")
    assert book is not None and "without asking their authors" in book.notice
    assert corpora.known("hf:BookCorpus@refs/convert/parquet") is corpora.known("hf:bookcorpus/bookcorpus") is book
    assert corpora.known("hf:SamuelYang/bookcorpus") is book, "a copy needs the same notice"
    assert corpora.known("hf:lucadiliello/bookcorpusopen") is corpora.CORPORA["bookcorpusopen"]
    assert corpora.known("hf:me/other") is corpora.known("bookcorpus") is corpora.known("stdlib") is None


def test_the_recipe_of_each_corpus_is_valid() -> None:
    import msgspec

    from core.recipe.schema import Recipe

    for corpus in corpora.CORPORA.values():
        msgspec.convert(corpus.recipe, Recipe)
    steps = corpora.CORPORA["bookcorpus"].recipe["preprocess"]["steps"]
    assert steps.index("detokenize") < steps.index("passages") < steps.index("duplicates")
