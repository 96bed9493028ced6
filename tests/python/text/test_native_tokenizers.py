"""The tokenizers of the C++ runtime give what those of Python give, for any text."""

import ast
import json
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recurlm._core import TextTokenizer
from recurlm.text import demo_corpus, tokenizers
from recurlm.text.tokenizer import Tokenizer
from recurlm.text.tokenizers import BPETokenizer, ByteTokenizer, CharTokenizer, WordTokenizer

from .. import samples

PARTS = [
    "  ",
    "\n",
    "\t",
    "\x1c",
    "\x85",
    "\xa0",
    "\u2003",
    "the",
    "mat",
    "é",
    "中",
    "😀",
    "12",
    ".",
    "'",
    "don't",
    "ﬁ",
]
PARTS += ["<bos>", "<unk>", "<eos>", "\x00", "\x7f"]
OVERLAPPING = st.text("aabt e", max_size=40)
TEXTS = OVERLAPPING | st.lists(
    st.sampled_from(PARTS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
).map("".join)
CORPUS = samples.text(100) + "".join(PARTS) * 3 + "  \n\n é中 \t\t" * 20
KINDS = ["char", "byte", "word", "bpe"]


def _trained(kind: str) -> Tokenizer:
    if kind == "bpe":
        pytest.importorskip("tokenizers")
    made: dict[str, Callable[[], Tokenizer]] = {
        "char": CharTokenizer,
        "byte": ByteTokenizer,
        "word": lambda: WordTokenizer(size=60),
        "bpe": lambda: BPETokenizer(size=400),
    }
    tokenizer = made[kind]()
    tokenizer.train([CORPUS])
    return tokenizer


@pytest.fixture(scope="module", params=KINDS)
def pair(request: pytest.FixtureRequest) -> tuple[Tokenizer, TextTokenizer]:
    tokenizer = _trained(request.param)
    return tokenizer, TextTokenizer(tokenizer.to_json().encode())


def test_the_special_ids(pair: tuple[Tokenizer, TextTokenizer]) -> None:
    ours, native = pair
    assert (native.size, native.bos_id, native.end_id) == (ours.vocabulary_size, ours.bos_id, ours.end_id)


@settings(deadline=None, max_examples=400)
@given(text=TEXTS)
def test_ids_of_any_text(pair: tuple[Tokenizer, TextTokenizer], text: str) -> None:
    ours, native = pair
    try:
        expected = ours.encode(text)
    except ValueError as error:
        where = str(error).partition(" at position")[2]  # the character itself is shown otherwise
        with pytest.raises(ValueError, match="is not among the") as caught:
            native.encode(text.encode())
        assert str(caught.value).endswith(where)
        return
    np.testing.assert_array_equal(native.encode(text.encode()), expected)


@settings(deadline=None, max_examples=200)
@given(data=st.data(), prefix=TEXTS)
def test_texts_of_any_ids(pair: tuple[Tokenizer, TextTokenizer], data: st.DataObject, prefix: str) -> None:
    ours, native = pair
    ids = np.array(data.draw(st.lists(st.integers(0, ours.vocabulary_size - 1))), np.int32)
    decoder = ours.decoder(prefix)
    pieces = [piece.decode() for piece in native.decode(ids, prefix.encode())]  # each is UTF-8
    # Python holds back what begins a surrogate, which is known to be none; the whole text is the same.
    assert "".join(pieces) == decoder.decode(ids, final=True)


@pytest.mark.parametrize("kind", ["byte", "bpe"])
@settings(deadline=None, max_examples=300)
@given(data=st.lists(st.sampled_from(b"\xe2\x82\xac\xf0\x9f\x98\x80A \xff\xc3\xa9\xed\xa0\n")).map(bytes))
def test_ids_of_bytes_that_are_not_utf8(kind: str, data: bytes) -> None:
    ours = _ENDURING.setdefault(kind, _trained(kind))
    native = TextTokenizer(ours.to_json().encode())
    np.testing.assert_array_equal(native.encode(data), ours.encode(data.decode("utf-8", "surrogateescape")))


_ENDURING: dict[str, Tokenizer] = {}


@pytest.fixture(scope="module")
def real_text() -> str:
    """Hundreds of kilobytes of prose and of source."""
    sources = [Path(str(module.__file__)).read_text(encoding="utf-8") for module in (ast, json, typing)]
    return demo_corpus.build()[:200_000] + "".join(sources)


@pytest.mark.parametrize("kind", KINDS)
def test_ids_of_real_text(kind: str, real_text: str) -> None:
    """By a vocabulary learned from a part of it, and back to the text."""
    text = real_text
    if kind == "bpe":
        pytest.importorskip("tokenizers")
    made = {"char": CharTokenizer, "byte": ByteTokenizer, "word": WordTokenizer, "bpe": lambda: BPETokenizer(size=2000)}
    ours: Tokenizer = made[kind]()
    ours.train([text if kind == "char" else text[:150_000]])
    native = TextTokenizer(ours.to_json().encode())
    ids = ours.encode(text)
    np.testing.assert_array_equal(native.encode(text.encode()), ids)
    assert b"".join(native.decode(ids, b"")).decode() == ours.decode(ids)
    if kind != "word":
        assert ours.decode(ids) == text


@pytest.mark.parametrize("kind", ["char", "word"])
def test_what_is_not_utf8_is_refused(kind: str) -> None:
    native = TextTokenizer(_trained(kind).to_json().encode())
    with pytest.raises(ValueError, match="byte 2 of the text is not UTF-8"):
        native.encode(b"ab\xff")


def test_ids_are_checked(pair: tuple[Tokenizer, TextTokenizer]) -> None:
    with pytest.raises(IndexError, match=r"ids\[1\]"):
        pair[1].decode(np.array([1, pair[1].size], np.int32))


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("char", {"characters": "ba"}, "characters must be distinct and in code point order"),
        ("char", {"characters": ""}, "there are no characters"),
        ("char", {"kind": "letters"}, "it is no tokenizer of characters, bytes, words or byte pairs"),
        ("char", {"format_version": 2}, "expected an integer from 1 to 1, got 2"),
        ("char", {"extra": 1}, 'the field "extra" is not known'),
        ("byte", {"words": ["a"]}, 'the field "words" does not belong here'),
        ("word", {"words": ["<bos>"]}, "words must not hold special tokens"),
        ("bpe", {"kind": "byte"}, 'the field "kind" does not belong here'),
        ("bpe", {"added_tokens": []}, "added_tokens must be <bos>, <unk> and <eos>"),
        ("bpe", {"decoder": None}, "expected an object"),
        ("word", {"words": ["a", "a"]}, "words must be distinct"),
        ("word", {"words": ["<eos>"]}, "words must not hold special tokens"),
        ("word", {"pattern": "x"}, "a pattern is not supported here, only in Python"),
        ("bpe", {"normalizer": {"type": "NFC"}}, "a normalizer is not supported here, only in Python"),
        ("bpe", {"pre_tokenizer": {"type": "Whitespace"}}, 'the pre_tokenizer "Whitespace" is not supported here'),
    ],
)
def test_what_only_python_has_is_named(kind: str, change: dict[str, Any], message: str) -> None:
    fields = json.loads(_trained(kind).to_json()) | change
    with pytest.raises(ValueError, match=message):
        TextTokenizer(json.dumps(fields).encode())


@pytest.mark.parametrize("kind", KINDS)
def test_changed_bytes_are_refused_or_harmless(kind: str) -> None:
    """What is read here is read in Python too, to a vocabulary of the same size."""
    whole = _trained(kind).to_json().encode()
    rng = np.random.default_rng(7)
    refused = 0
    for _ in range(400):
        changed = bytearray(whole)
        for place in rng.integers(0, len(whole), rng.integers(1, 4)):
            changed[place] = rng.integers(32, 127)
        try:
            native = TextTokenizer(bytes(changed))
        except ValueError as error:
            refused += 1
            assert "\n" not in str(error)  # noqa: PT017 - the other branch is the point
            continue
        assert tokenizers.from_json(changed.decode()).vocabulary_size == native.size
    assert refused > 100


def test_a_long_word_is_merged_in_time() -> None:
    ours = _trained("bpe")
    text = "themat" * 20_000
    np.testing.assert_array_equal(TextTokenizer(ours.to_json().encode()).encode(text.encode()), ours.encode(text))


def test_merges_may_stand_before_the_vocabulary() -> None:
    ours = _trained("bpe")
    fields = json.loads(ours.to_json())
    fields["model"] = dict(sorted(fields["model"].items()))
    native = TextTokenizer(json.dumps(fields).encode())
    np.testing.assert_array_equal(native.encode(CORPUS.encode()), ours.encode(CORPUS))


def test_damaged_files_are_refused() -> None:
    whole = _trained("word").to_json().encode()
    for end in range(0, len(whole), 11):
        with pytest.raises(ValueError, match="at byte"):
            TextTokenizer(whole[:end])
    for text, message in (
        (b'{"kind": "byte", "kind": "byte"}', 'the field "kind" is there twice'),
        (b'{"kind": "byte"} x', "something follows the JSON value"),
        (b'{"kind": "\xff"}', "a string is not valid UTF-8"),
        (b'{"kind": "\\ud800"}', "half a surrogate pair"),
        (b'{"kind": "\n"}', "a string holds a control character"),
        (b'{"format_version": 01}', "a number must not begin with 0"),
        (b'{"size": ' + b"[" * 70 + b"]" * 70 + b"}", "there are more than 64 levels"),
    ):
        with pytest.raises(ValueError, match=message):
            TextTokenizer(text)
