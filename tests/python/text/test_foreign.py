"""tokenizer.json files of others: made here by the tokenizers library, as GPT-2, BERT and SentencePiece make theirs."""

import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recurlm import LanguageModel
from recurlm.cli import main
from recurlm.text import tokenizers
from recurlm.text.bpe import BPETokenizer
from recurlm.text.foreign import ForeignTokenizer
from tests.python import samples

library = pytest.importorskip("tokenizers")
models, trainers = library.models, library.trainers
pre_tokenizers, decoders = library.pre_tokenizers, library.decoders
TEXT = samples.text(60) + "Caf\u00e9 na\u00efve \U0001f63a don't stop.\n"


def gpt2() -> Any:
    made = library.Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        [TEXT], trainers.BpeTrainer(vocab_size=320, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet)
    )
    return made


def bert() -> Any:
    made = library.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = library.normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer, made.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    made.train_from_iterator([TEXT], trainers.WordPieceTrainer(vocab_size=200, special_tokens=special))
    made.post_processor = library.processors.TemplateProcessing("[CLS] $0 [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])
    made.enable_truncation(8)
    made.enable_padding(length=16)
    return made


def sentencepiece() -> Any:
    made = library.Tokenizer(models.Unigram())
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    special = ["<unk>", "<s>", "</s>"]
    made.train_from_iterator(
        [TEXT], trainers.UnigramTrainer(vocab_size=90, special_tokens=special, unk_token="<unk>", show_progress=False)
    )
    return made


MADE: dict[str, Any] = {make.__name__: make() for make in (gpt2, bert, sentencepiece)}
SPECIAL = {"gpt2": (0, 0, None, (0,)), "bert": (2, 3, 1, (0, 2, 3)), "sentencepiece": (1, 2, 0, (1, 2))}


@pytest.fixture(scope="module", params=MADE)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def tokenizer(name: str) -> ForeignTokenizer:
    made = tokenizers.from_json(MADE[name].to_str())
    assert isinstance(made, ForeignTokenizer)
    return made


def test_special_tokens(name: str, tokenizer: ForeignTokenizer) -> None:
    found = (tokenizer.bos_id, tokenizer.end_id, tokenizer.unknown_id, tokenizer.end_ids)
    assert found == SPECIAL[name]
    assert tokenizer.vocabulary_size == MADE[name].get_vocab_size()


def test_ids_are_the_librarys(name: str, tokenizer: ForeignTokenizer) -> None:
    """Of the whole text: a file's padding, truncation and template are for other uses."""
    plain = library.Tokenizer.from_str(MADE[name].to_str())
    plain.no_truncation()
    plain.no_padding()
    expected = plain.encode(TEXT, add_special_tokens=False)
    assert tokenizer.encode(TEXT).tolist() == expected.ids
    assert len(expected.ids) > 16
    assert tokenizer.decode(expected.ids) == plain.decode(expected.ids)
    cut = list(tokenizer.encode_chunks([TEXT[:7], TEXT[7:90], TEXT[90:]]))
    assert np.concatenate(cut).tolist() == expected.ids


def test_offsets(tokenizer: ForeignTokenizer) -> None:
    ids, spans = tokenizer.encode_with_offsets("the cat na\u00efve \U0001f63a")
    assert spans.shape == (len(ids), 2)
    assert "cat" in "".join("the cat na\u00efve \U0001f63a"[a:b] for a, b in spans.tolist())
    assert tokenizer.encode_with_offsets("")[1].shape == (0, 2)


@given(text=st.text(max_size=80), cuts=st.lists(st.integers(1, 5), max_size=40))
@pytest.mark.parametrize("kind", ["gpt2", "sentencepiece"])
def test_pieces_join_to_the_text(kind: str, text: str, cuts: list[int]) -> None:
    tokenizer = tokenizers.from_json(MADE[kind].to_str())
    ids = tokenizer.encode(text).tolist()
    decoder, pieces, at = tokenizer.decoder(), [], 0
    for cut in cuts:
        pieces.append(decoder.decode(ids[at : at + cut]))
        at += cut
    pieces.append(decoder.decode(ids[at:], final=True))
    assert "".join(pieces) == tokenizer.decode(ids)


def test_gpt2_round_trips_and_ours_does_not_become_foreign() -> None:
    tokenizer = tokenizers.from_json(MADE["gpt2"].to_str())
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT
    ours = BPETokenizer(size=280)
    ours.train([TEXT])
    assert isinstance(tokenizers.from_json(ours.to_json()), BPETokenizer)


def test_what_follows_a_text_keeps_its_space(tokenizer: ForeignTokenizer) -> None:
    """A decoder of a whole text may strip the first space; that of a continuation must not."""
    ids = tokenizer.encode("the cat sat").tolist()
    prefix = len(tokenizer.encode("the").tolist())
    assert tokenizer.decoder("the").decode(ids[prefix:], final=True) == " cat sat"


def test_a_language_model(name: str, tokenizer: ForeignTokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(MADE[name].to_str(), encoding="utf-8")
    lm = LanguageModel(units=12, tokenizer=str(path))
    assert lm.architecture.embedding_dim == 12
    lm.fit(TEXT.splitlines(), epochs=1, batch_size=4, window=8, verbose=False)
    lm.save(tmp_path / "model")
    loaded = LanguageModel.load(tmp_path / "model")
    assert (tmp_path / "model" / "tokenizer.json").read_text(encoding="utf-8") == path.read_text(encoding="utf-8")
    for again in (loaded, pickle.loads(pickle.dumps(lm))):
        assert again.generate("the cat", max_tokens=9, seed=1) == lm.generate("the cat", max_tokens=9, seed=1)
        assert again.score(["the cat sat"])[0] == lm.score(["the cat sat"])[0]
    assert not {"<s>", "[CLS]", "[PAD]", "<|endoftext|>"} & set(lm.generate(max_tokens=200, seed=2).split())


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "gpt2.json").write_text(MADE["gpt2"].to_str(), encoding="utf-8")
    text = samples.text_file(tmp_path)
    options = ["--units", "8", "--epochs", "1", "--batch-size", "4", "--tokenizer"]
    assert main(["train", str(text), "--out", str(tmp_path / "m"), *options, str(tmp_path / "gpt2.json")]) == 0
    assert LanguageModel.load(tmp_path / "m").tokenizer.kind == "foreign"
    with pytest.raises(SystemExit):
        main(["train", str(text), "--out", str(tmp_path / "n"), *options, "letters"])
    assert "must be one of char, byte, word, bpe, or a file *.json, got 'letters'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda f: f.update(model={"type": "Fish"}), "the tokenizers library does not read it"),
        (lambda f: f.update(added_tokens=[]), "it has no special token that opens a text: none of <bos>, <s>"),
    ],
)
def test_what_is_not_possible_has_a_sentence(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], sentence: str
) -> None:
    fields = json.loads(MADE["gpt2"].to_str())
    change(fields)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(fields), encoding="utf-8")
    with pytest.raises(ValueError, match=f"tokenizer.json is no tokenizer: {sentence}"):
        LanguageModel(tokenizer=str(path))


def test_refusals(tokenizer: ForeignTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="surrogates"):
        tokenizer.encode("a\ud800")
    with pytest.raises(IndexError):
        tokenizer.decode([tokenizer.vocabulary_size])
    with pytest.raises(ValueError, match="has its vocabulary"):
        tokenizer.train([TEXT])
    with pytest.raises(FileNotFoundError):
        LanguageModel(tokenizer="none.json")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ImportError, match="needs tokenizers"):
        ForeignTokenizer(MADE["gpt2"].to_str())
