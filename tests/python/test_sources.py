"""What a language model is trained on: where its vocabulary comes from, where ids are kept."""

from pathlib import Path
from typing import Any

import pytest

from recurlm import LanguageModel
from recurlm.language_model.sources import _beginning

from . import samples


@pytest.mark.parametrize("separate", [False, True])
def test_words_that_only_held_out_text_has_are_unknown(tmp_path: Path, separate: bool) -> None:
    """A vocabulary that knew them would have looked at what validation must not show; characters need all."""
    texts = ["to be or not to be "] * 9 + ["that is the question"]
    source: Any = texts if separate else tmp_path / "source"
    if not separate:
        source.write_text("".join(texts))
    for kind, share, known in (("word", 0.1, False), ("word", 0.0, True), ("char", 0.1, True)):
        lm = LanguageModel(units=4, tokenizer=kind)
        lm.fit(source, validation_split=share, batch_size=2, window=4, epochs=1, verbose=False)
        assert ("question" in lm.tokenizer.tokens or "q" in lm.tokenizer.tokens) == known
        assert "not" in lm.tokenizer.tokens or "n" in lm.tokenizer.tokens
    lm = LanguageModel(units=4, tokenizer="word")
    lm.fit(source, ["that is the question"], batch_size=2, window=4, epochs=1, verbose=False)
    assert "question" in lm.tokenizer.tokens
    lm = LanguageModel(units=4, tokenizer="word")
    lm.fit(texts[:9], ["that is the question"], batch_size=2, window=4, epochs=1, verbose=False)
    assert "question" not in lm.tokenizer.tokens


def test_the_beginning_of_texts_in_chunks() -> None:
    texts = [["ab", "cde"], ["f"], ["", "gh"]]
    for count in range(9):
        found = ["".join(text) for text in _beginning(iter(texts), count)]
        assert "".join(found) == "abcdefgh"[:count]
        assert len(found) == (count > 0) + (count > 5) + (count > 6)


def test_ids_are_kept_where_they_were_asked_for(tmp_path: Path) -> None:
    source, ids, checkpoints = samples.text_file(tmp_path), tmp_path / "a" / "ids", tmp_path / "c"
    lm = LanguageModel(units=4)
    lm.fit(source, epochs=1, corpus_dir=ids, checkpoint_dir=checkpoints, verbose=False)
    (kept,) = ids.iterdir()
    before = kept.stat().st_mtime_ns
    lm.fit(source, epochs=1, corpus_dir=ids, verbose=False)
    assert kept.stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="corpus_dir must be another folder than checkpoint_dir"):
        lm.fit(source, corpus_dir=checkpoints, checkpoint_dir=checkpoints, resume=True)
    with pytest.raises(NotADirectoryError, match=r"corpus_dir must be a folder, .* is a file"):
        lm.fit(source, corpus_dir=source)
