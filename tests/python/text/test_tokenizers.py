import importlib.util
import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recurlm.text import tokenizers
from recurlm.text.tokenizers import ByteTokenizer, CharTokenizer, Tokenizer, WordTokenizer

# Without "<": a text of nothing but special words has no words to learn.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<"), max_size=60)


BPE = pytest.param(
    "bpe", marks=pytest.mark.skipif(importlib.util.find_spec("tokenizers") is None, reason="tokenizers is missing")
)


def trained(kind: str, text: str) -> Tokenizer:
    tokenizer = tokenizers.get(kind)
    tokenizer.train([text])
    return tokenizer


def cut(text: str, cuts: list[int]) -> list[str]:
    points = sorted({0, len(text), *(c % (len(text) + 1) for c in cuts)})
    return [text[a:b] for a, b in itertools.pairwise(points)]


@pytest.mark.parametrize("kind", ["char", "byte", BPE])
@settings(deadline=None)
@given(text=TEXT.filter(bool))
def test_decode_undoes_encode(kind: str, text: str) -> None:
    tokenizer = trained(kind, text)
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int32
    assert tokenizer.decode(ids) == text


@given(st.lists(st.lists(st.text("abcé", min_size=1), min_size=1), min_size=1))
def test_words_survive_with_single_spaces(lines: list[list[str]]) -> None:
    text = "".join(" ".join(line) + "\n" for line in lines)
    tokenizer = trained("word", text)
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("kind", ["char", "byte", "word", BPE])
@settings(deadline=None)
@given(text=st.text("aé \n€😀", min_size=1).filter(str.strip), cuts=st.lists(st.integers(0, 100)))
def test_chunks_cut_anywhere_give_the_same_ids(kind: str, text: str, cuts: list[int]) -> None:
    whole, pieces = trained(kind, text), tokenizers.get(kind)
    pieces.train([cut(text, cuts)])
    assert pieces.tokens == whole.tokens
    ids = [piece for piece in whole.encode_chunks(cut(text, cuts)) if piece.size]
    np.testing.assert_array_equal(np.concatenate(ids), whole.encode(text))


@pytest.mark.parametrize("kind", ["char", "byte", "word", BPE])
@settings(deadline=None)
@given(text=st.text("aé \n€😀", min_size=1).filter(str.strip), size=st.integers(1, 5))
def test_decoding_in_pieces_gives_the_same_text(kind: str, text: str, size: int) -> None:
    tokenizer = trained(kind, text)
    ids = tokenizer.encode(text)
    decoder = tokenizer.decoder()
    pieces = [decoder.decode(ids[i : i + size]) for i in range(0, len(ids), size)]
    assert "�" not in "".join(pieces)
    assert "".join(pieces) + decoder.decode([], final=True) == tokenizer.decode(ids)


@pytest.mark.parametrize("kind", ["char", "byte", "word", BPE])
@settings(deadline=None)
@given(text=TEXT.filter(str.strip))
def test_json_round_trip(kind: str, text: str) -> None:
    tokenizer = trained(kind, text)
    again = tokenizers.from_json(tokenizer.to_json())
    assert type(again) is type(tokenizer)
    assert again.tokens == tokenizer.tokens
    assert again.to_json() == tokenizer.to_json()
    np.testing.assert_array_equal(again.encode(text), tokenizer.encode(text))


@pytest.mark.parametrize("kind", ["char", "byte", "word", BPE])
@settings(deadline=None)
@given(text=st.text("aé \n€😀.", min_size=1).filter(str.strip))
def test_offsets_say_where_a_token_is(kind: str, text: str) -> None:
    tokenizer = trained(kind, text)
    ids, offsets = tokenizer.encode_with_offsets(text)
    np.testing.assert_array_equal(ids, tokenizer.encode(text))
    assert (offsets.dtype, offsets.shape) == (np.int64, (len(ids), 2))
    covered = np.array([character.isspace() for character in text])
    for i, (start, end) in zip(ids.tolist(), offsets.tolist(), strict=True):
        covered[start:end] = True
        token = tokenizer.decode([i])
        assert token == text[start:end] or ("�" in token and not text[start:end].isascii())
    assert covered.all()


def test_offsets_of_words_follow_the_pattern() -> None:
    tokenizer = WordTokenizer(pattern=r"\w+|[^\w\s]")
    tokenizer.train(["Yes, no.\n"])
    text = "No,  yes, <unk>\n\n no"
    ids, offsets = tokenizer.encode_with_offsets(text)
    assert [text[start:end] for start, end in offsets] == ["No", ",", "yes", ",", "<unk>", "\n", "\n", "no"]
    assert len(ids) == 8
    assert tokenizer.encode_with_offsets("")[1].shape == (0, 2)


def test_bytes_that_are_no_character_are_replaced_only_at_the_end() -> None:
    decoder = ByteTokenizer().decoder()
    first, last = "é".encode()
    assert decoder.decode([first]) == ""
    assert decoder.decode([last, first]) == "é"
    assert decoder.decode([], final=True) == "�"


def test_unknown_character_is_named_with_its_position() -> None:
    tokenizer = CharTokenizer("abc")
    with pytest.raises(ValueError, match=r"'é' \(U\+00E9\) at position 4"):
        list(tokenizer.encode_chunks(["abc", "aé"]))
    with pytest.raises(ValueError, match=r"position 0"):
        tokenizer.encode("A")  # below the largest known code point


@pytest.mark.parametrize("kind", ["word", BPE])
def test_no_word_goes_on_from_one_text_to_the_next(kind: str) -> None:
    tokenizer = tokenizers.get(kind)
    tokenizer.train(["ab cd", "ef gh"] * 20)
    assert not any("de" in token for token in tokenizer.tokens)


def test_word_vocabulary_is_limited_by_size_and_count() -> None:
    text = ["a a a b b c\n", "a <unk> d"]
    tokenizer = WordTokenizer(size=5)
    tokenizer.train(text)
    assert list(tokenizer.tokens) == ["<bos>", "<unk>", "<eos>", "a", "b"]
    assert tokenizer.encode("a c\n<bos> <unk> <eos>").tolist() == [3, 1, 2, 1, 1, 2]
    rare = WordTokenizer(minimum_count=2)
    rare.train(text)
    assert rare.vocabulary_size == 5
    with pytest.raises(ValueError, match="no word that occurs 9 times"):
        WordTokenizer(minimum_count=9).train(text)


def test_word_pattern_parts_punctuation_but_not_special_words() -> None:
    tokenizer = WordTokenizer(pattern=r"\w+|[^\w\s]")
    tokenizer.train(["Yes, no. <unk>\n"])
    assert [tokenizer.tokens[i] for i in tokenizer.encode("no, <unk>\n")] == ["no", ",", "<unk>", "<eos>"]
    with pytest.raises(ValueError, match="must be a regular expression"):
        WordTokenizer(pattern="(")


def test_words_continue_a_prefix_with_a_space() -> None:
    tokenizer = trained("word", "the cat sat")
    ids = tokenizer.encode("cat sat\nthe")
    assert tokenizer.decoder("the").decode(ids) == " cat sat\nthe"
    assert tokenizer.decoder("the ").decode(ids) == "cat sat\nthe"


@pytest.mark.parametrize("ids", [[-1], [0, 4], [2**31]])
def test_ids_outside_the_vocabulary_raise(ids: list[int]) -> None:
    with pytest.raises(IndexError, match=rf"ids\[{len(ids) - 1}\] is {ids[-1]}, expected 0 <= id < 4"):
        CharTokenizer("abc").decode(ids)


def test_ids_and_text_of_the_wrong_type_raise() -> None:
    with pytest.raises(TypeError, match="ids must be integers, got float64"):
        CharTokenizer("abc").decode(np.array([1.0]))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="text must be a str, got bytes"):
        ByteTokenizer().encode(b"abc")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="tokenizer must be one of char, byte, word, bpe"):
        tokenizers.get("wordpiece")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "wordpiece"}, "kind must be one of char, byte, word, bpe"),
        ({"format_version": 2}, "format_version is 2"),
        ({"characters": None}, "field 'characters' must be str, got NoneType"),
        ({"characters": "ba"}, "distinct and in code point order"),
        ({"characters": "aa"}, "distinct and in code point order"),
        ({"extra": 1}, "unknown field 'extra'"),
    ],
)
def test_wrong_json_gets_a_sentence(changes: dict[str, object], message: str) -> None:
    fields = json.loads(CharTokenizer("ab").to_json())
    with pytest.raises(ValueError, match=message):
        tokenizers.from_json(json.dumps(fields | changes))


def test_json_that_is_cut_or_short_of_a_field_raises() -> None:
    text = CharTokenizer("ab").to_json()
    with pytest.raises(ValueError, match=r"Unterminated|Expecting|delimiter"):
        tokenizers.from_json(text[: len(text) // 2])
    with pytest.raises(ValueError, match="nested too deeply"):
        tokenizers.from_json("[" * 100_000)
    with pytest.raises(ValueError, match="'kind' is missing"):
        tokenizers.from_json('{"format_version": 1}')
    with pytest.raises(ValueError, match="no vocabulary yet"):
        CharTokenizer().to_json()
