import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recurlm import LanguageModel
from recurlm.text import bpe, tokenizers
from recurlm.text.bpe import BPETokenizer
from recurlm.text.corpus import Texts, build_corpus

from .. import samples

tokenizers_library = pytest.importorskip("tokenizers")

ANY = st.text(st.characters(exclude_categories=["Cs"]))
PARTS = ["   ", "\n\n", " ", "\t", "\r\n", "\x1c", "\x85", "\u2003", "'", "s", "t", "1", ".", ",", "aé", "中😀"]
SPACED = st.lists(st.sampled_from(PARTS)).map("".join)


@pytest.fixture(scope="module")
def tokenizer() -> BPETokenizer:
    trained = BPETokenizer(size=400)
    spaces = "\n\n\n  \n   x \t\t\x1c \u2003 y\r\n\r\n" * 20  # so that runs of white space are tokens
    trained.train([samples.text(100), spaces, "it's 'tis 19 don't we'll été 中文"])
    return trained


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cut at every border of words."""
    monkeypatch.setattr(bpe, "_PIECE", 0)


@settings(deadline=None)
@given(text=ANY)
def test_any_text_comes_back(tokenizer: BPETokenizer, text: str) -> None:
    ids, offsets = tokenizer.encode_with_offsets(text)
    assert tokenizer.decode(ids) == text
    assert not set(ids.tolist()) & {0, 1, 2}
    if ids.size:
        assert (offsets[0, 0], offsets[-1, 1]) == (0, len(text))


@settings(deadline=None)
@given(data=st.binary())
def test_any_bytes_come_back(tokenizer: BPETokenizer, data: bytes) -> None:
    ids = tokenizer.encode(data.decode("utf-8", "surrogateescape"))
    assert tokenizer.decode_bytes(ids) == data
    assert tokenizer.decode(ids) == data.decode("utf-8", "replace")


def test_a_surrogate_that_is_no_byte_is_refused(tokenizer: BPETokenizer) -> None:
    with pytest.raises(ValueError, match="surrogates not allowed"):
        tokenizer.encode("a\ud800")


@settings(deadline=None)
@given(text=SPACED, cuts=st.lists(st.integers(0, 100)))
def test_pieces_and_chunks_do_not_change_the_ids(tokenizer: BPETokenizer, text: str, cuts: list[int]) -> None:
    whole = tokenizer._make_encoder().encode(text).ids
    points = sorted({0, len(text), *(c % (len(text) + 1) for c in cuts)})
    chunks = [text[a:b] for a, b in itertools.pairwise(points)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bpe, "_PIECE", 0)
        pieces = list(bpe._pieces(chunks))
        ids = [i for part in tokenizer.encode_chunks(chunks) for i in part.tolist()]
    assert ids == whole
    assert "".join(pieces) == text
    assert all(piece[0] in " \n" for piece in pieces[1:])


def test_a_long_text_is_held_a_piece_at_a_time(tokenizer: BPETokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpe, "_PIECE", 1000)
    monkeypatch.setattr(bpe, "_PIECES", 4)
    text, read = "the cat sat " * 100, 0

    def chunks() -> Iterator[str]:
        nonlocal read
        for _ in range(100):
            read += 1
            yield text

    encoded = tokenizer.encode_chunks(chunks())
    ids = [next(encoded)]
    assert read <= 5
    np.testing.assert_array_equal(np.concatenate([*ids, *encoded]), tokenizer.encode(text * 100))


@settings(deadline=None)
@given(text=ANY)
def test_the_library_opens_the_file_and_agrees(
    tokenizer: BPETokenizer, text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "tokenizer.json"
    path.write_text(tokenizer.to_json(), encoding="utf-8")
    theirs = tokenizers_library.Tokenizer.from_file(str(path))
    assert theirs.get_vocab_size() == tokenizer.vocabulary_size
    assert [theirs.token_to_id(token) for token in ("<bos>", "<unk>", "<eos>")] == [0, 1, 2]
    if "<" in text:  # it takes spelled special tokens for the tokens
        return
    encoding = theirs.encode(text)
    ids, offsets = tokenizer.encode_with_offsets(text)
    assert encoding.ids == ids.tolist()
    assert encoding.offsets == [tuple(offset) for offset in offsets.tolist()]
    assert theirs.decode(ids.tolist()) == text


def test_what_the_library_writes_is_read(tokenizer: BPETokenizer) -> None:
    theirs = tokenizers_library.Tokenizer.from_str(tokenizer.to_json()).to_str(pretty=True)
    assert tokenizers.from_json(theirs).to_json() == tokenizer.to_json()


def test_words_are_cut_by_classes_of_ascii(tokenizer: BPETokenizer) -> None:
    """Each case is a text and its words; a pair of bytes within one of these may be merged, and no other."""
    cases = {
        "hello  world": ["hello", " ", " world"],
        "a\n\n b": ["a", "\n\n", " b"],
        "é ü12 3,.": ["é", " ü", "12", " 3", ",."],
        "a\u00a0\u2003b": ["a\u00a0\u2003b"],
        "end  ": ["end", "  "],
        "\x00\x1c don't": ["\x00\x1c", " don", "'", "t"],
    }
    split = tokenizers_library.Tokenizer.from_str(tokenizer.to_json()).pre_tokenizer
    for text, words in cases.items():
        spans = [span for _, span in split.pre_tokenize_str(text)]
        assert [text[start:end] for start, end in spans] == words


def test_vocabularies_that_cut_words_by_unicode_go_on_with_it() -> None:
    tokenizer = BPETokenizer(size=266)
    tokenizer.train(["a\u00a0b " * 50])  # one word, unless U+00A0 is a space
    fields = json.loads(tokenizer.to_json())
    fields["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    earlier = tokenizers.from_json(json.dumps(fields))
    assert json.loads(earlier.to_json())["pre_tokenizer"] == fields["pre_tokenizer"]
    theirs = tokenizers_library.Tokenizer.from_str(json.dumps(fields))
    text = "a\u00a0b a\u00a0b"
    assert earlier.encode(text).tolist() == theirs.encode(text).ids
    assert len(earlier.encode(text)) > len(tokenizer.encode(text))
    earlier.train(["a\u00a0b"])
    assert json.loads(earlier.to_json())["pre_tokenizer"] == json.loads(tokenizer.to_json())["pre_tokenizer"]


def test_spelled_special_tokens_are_text(tokenizer: BPETokenizer) -> None:
    text = "<bos> <unk><eos>"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    spelled = BPETokenizer(size=300)
    spelled.train([text * 50])
    assert len(set(spelled.tokens)) == spelled.vocabulary_size
    assert not set(spelled.encode(text).tolist()) & {0, 1, 2}


def test_training_does_not_depend_on_the_process_or_the_chunks(small_pieces: None) -> None:
    text = samples.text(60)
    script = (
        "import sys; from recurlm.text.bpe import BPETokenizer; t = BPETokenizer(300, 1); t.train([sys.argv[1]]); "
        "sys.stdout.buffer.write(t.to_json().encode())"
    )
    # Python's path, which may be a source tree's.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "7"}
    out = subprocess.run([sys.executable, "-c", script, text], capture_output=True, check=True, env=environment).stdout
    chunked = BPETokenizer(size=300, minimum_count=1)
    chunked.train([iter(text)])
    assert chunked.vocabulary_size == 300
    assert chunked.to_json().encode() == out


def test_vocabulary_is_limited_by_size_and_count() -> None:
    text = ["aaab" * 3 + " xy"]
    rare, all_pairs = BPETokenizer(minimum_count=2), BPETokenizer(minimum_count=1)
    rare.train(text)
    all_pairs.train(text)
    assert "xy" not in "".join(rare.tokens[259:])
    assert any("xy" in token for token in all_pairs.tokens[259:])
    limited = BPETokenizer(size=260)
    limited.train(text)
    assert limited.vocabulary_size == 260
    with pytest.raises(ValueError, match="size must be an integer from 259 on"):
        BPETokenizer(size=258)
    with pytest.raises(ValueError, match="minimum_count must be an integer from 1 on"):
        BPETokenizer(minimum_count=0)
    with pytest.raises(ValueError, match="the text is empty"):
        BPETokenizer().train([""])
    with pytest.raises(ValueError, match="no vocabulary yet"):
        BPETokenizer().to_json()


def test_a_text_of_one_letter_is_a_vocabulary_of_bytes() -> None:
    tokenizer = BPETokenizer()
    assert not tokenizer.trained
    tokenizer.train(["a"])
    assert (tokenizer.trained, tokenizer.vocabulary_size) == (True, 259)
    assert tokenizers.from_json(tokenizer.to_json()).trained


def test_generation_gives_whole_characters(tokenizer: BPETokenizer) -> None:
    decoder = tokenizer.decoder("été ")
    ids = tokenizer.encode("😀中 été")
    pieces = [decoder.decode([i]) for i in ids]
    assert "�" not in "".join(pieces)
    assert "".join(pieces) + decoder.decode([], final=True) == "😀中 été"
    assert tokenizer.decode([0, 2, *ids, 1]) == "😀中 été"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f["model"].update(type="WordPiece"), "'type' is not what a byte-level BPE tokenizer"),
        (lambda f: f["model"].update(dropout=0.1), "'dropout' is not"),
        (lambda f: f["model"].update(ignore_merges=True), "ignore_merges must be false"),
        (lambda f: f["model"].update(merges=None), "'merges' must be list, got NoneType"),
        (lambda f: f["model"]["merges"].append("a"), "must join two tokens"),
        (lambda f: f["model"]["merges"].insert(0, "th e"), r"merges\[0\] must join two tokens .* got \['th', 'e'\]"),
        (lambda f: f["model"]["merges"].insert(0, ["a", 1]), r"merges\[0\] must join two tokens"),
        (lambda f: f["model"]["vocab"].update(zzz=9999), "'vocab' is not"),
        (lambda f: f["model"].pop("vocab"), "'vocab' is missing"),
        (lambda f: f.update(model=[]), "'model' must be dict, got list"),
        (lambda f: f.update(pre_tokenizer=None), "'pre_tokenizer' is not"),
        (lambda f: f.update(normalizer={"type": "NFC"}), "'normalizer' is not"),
        (lambda f: f["added_tokens"].pop(), "'added_tokens' is not"),
        (lambda f: f.pop("version"), "'version' is not"),
        (lambda f: f.update(extra=1), "'extra' is not"),
    ],
)
def test_a_foreign_file_gets_a_sentence(tokenizer: BPETokenizer, change: object, message: str) -> None:
    fields = json.loads(tokenizer.to_json())
    change(fields)  # type: ignore[operator]
    with pytest.raises(ValueError, match=message):
        tokenizers.from_json(json.dumps(fields))


def test_without_the_library_there_is_one_sentence(tokenizer: BPETokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ImportError, match=r"needs tokenizers: install recurlm with its extra \[bpe\]"):
        BPETokenizer().train(["text"])
    again = tokenizers.from_json(tokenizer.to_json())
    assert again.decode([300]) == tokenizer.decode([300])
    with pytest.raises(ImportError, match="needs tokenizers"):
        again.encode("text")


def test_recurlm_does_not_load_the_library_itself() -> None:
    script = "import sys, recurlm.text.tokenizers, recurlm.cli.train; sys.exit('tokenizers' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", script], env=environment).returncode == 0


def test_a_corpus_is_of_any_bytes_and_ends_its_texts(tokenizer: BPETokenizer, tmp_path: Path) -> None:
    data = b"the cat \xff\xfe sat\xc3"
    (tmp_path / "b.bin").write_bytes(data)
    assert tokenizer.decode_bytes(build_corpus(Texts.of(tmp_path / "b.bin"), tokenizer).ids) == data
    ids = build_corpus(Texts.of(["the cat", "a"]), tokenizer).ids
    expected = [*tokenizer.encode("the cat"), 2, 0, *tokenizer.encode("a"), 2, 0]
    np.testing.assert_array_equal(ids, expected)


@pytest.mark.parametrize("separate", [False, True])
def test_a_language_model_of_bpe(tmp_path: Path, separate: bool) -> None:
    data = [samples.text(3, seed) for seed in range(40)] if separate else samples.text_file(tmp_path)
    lm = samples.trained(
        data, tokenizer=BPETokenizer(size=300), recipe={"batch_size": 2, "window": 8, "verbose": False}
    )
    assert lm.architecture.embedding_dim == lm.architecture.units
    lm.save(tmp_path / "m")
    again = LanguageModel.load(tmp_path / "m")
    assert again.tokenizer.to_json() == lm.tokenizer.to_json()
    text = "the cat sat on é"
    assert lm.score([text]) == again.score([text])
    assert "".join(t.token for t in lm.score([text], details=True)[0].tokens) == text
    pieces = list(lm.generate("the ", 60, temperature=1.5, seed=2, stream=True))
    assert "".join(pieces) == again.generate("the ", 60, temperature=1.5, seed=2)
    config = json.loads((tmp_path / "m" / "config.json").read_text(encoding="utf-8"))
    assert config["tokenizer"] == "bpe"
    bias = lm.model.named_weights()["projection.bias"]
    bias.assign(np.where(np.arange(lm.tokenizer.vocabulary_size) == lm.tokenizer.end_id, 1e3, bias.value))
    assert (lm.generate("the ", 20, seed=2) == "") == separate  # the end of a text, if there is one
