import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recurlm.text import corpus
from recurlm.text.corpus import Texts, build_corpus, read_text
from recurlm.text.tokenizers import ByteTokenizer, CharTokenizer, WordTokenizer


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_chunks_join_to_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    text = "aé€😀\r\nend"
    monkeypatch.setattr(corpus, "CHUNK_BYTES", size)
    assert "".join(read_text(write(tmp_path / "a", text.encode()))) == text
    assert "".join(read_text(write(tmp_path / "b", b"\xef\xbb\xbf" + text.encode()))) == text


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize(
    ("data", "offset"), [(b"abc\xff", 3), (b"a\xe2\x82", 1), (b"\xc3\xa9\xc3(", 2), (b"\xed\xa0\x80", 0)]
)
def test_bad_utf8_is_named_with_file_and_offset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, offset: int, size: int
) -> None:
    monkeypatch.setattr(corpus, "CHUNK_BYTES", size)
    with pytest.raises(ValueError, match=rf"bad.txt is not UTF-8 text: .* at byte {offset}$"):
        list(read_text(write(tmp_path / "bad.txt", data)))


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_the_byte_tokenizer_takes_any_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(corpus, "CHUNK_BYTES", size)
    data = b"\xef\xbb\xbf\xff\xfea\xe2\x82\xed\xa0\x80\0\r\n" + bytes(range(256)) + "é€😀".encode() + b"\xf0\x9f"
    path = write(tmp_path / "any.bin", data)
    built = build_corpus(Texts.of(path), ByteTokenizer(), tmp_path / "work")
    assert bytes(built.ids.astype(np.uint8)) == data
    assert built.bytes == len(data)
    assert ByteTokenizer().decode(built.ids) == data.decode("utf-8", "replace")


def test_missing_empty_and_folder_raise(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file .*nothing.txt"):
        list(read_text(tmp_path / "nothing.txt"))
    with pytest.raises(ValueError, match=r"empty.txt is empty"):
        list(read_text(write(tmp_path / "empty.txt", b"")))
    with pytest.raises(ValueError, match="is a folder, expected a text file"):
        list(read_text(tmp_path))


def test_strings_are_files_and_lists_are_texts(tmp_path: Path) -> None:
    name = str(write(tmp_path / "a.txt", b"a"))
    assert Texts.of(name).files == (Path(name),)
    assert Texts.of([Path("a"), Path("b")]).files == (Path("a"), Path("b"))
    assert Texts.of(["a.txt"]).strings == ("a.txt",)
    with pytest.raises(ValueError, match="data is an empty list"):
        Texts.of([])
    with pytest.raises(TypeError, match=r"data\[1\] must be a str, got int"):
        Texts.of(["a", 1])  # type: ignore[list-item]


@pytest.mark.parametrize("text", ["to be", "", "or not to be\n" * 9, "x" * 99_999])
def test_a_text_that_is_taken_for_a_file(text: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"to give a text itself, pass \[text\]") as error:
        Texts.of(text)
    assert len(str(error.value)) < 120


@pytest.mark.parametrize("data", [3, None, b"abc"])
def test_what_is_neither_file_nor_texts_raises(data: Any) -> None:
    with pytest.raises(TypeError, match="data must be a file or a list of texts, got"):
        Texts.of(data)


def test_files_are_one_text_and_lists_are_ended_texts(tmp_path: Path) -> None:
    files = [write(tmp_path / "a", b"ab"), write(tmp_path / "b", b"c")]
    tokenizer = CharTokenizer("abc")
    assert build_corpus(Texts.of(files), tokenizer).ids.tolist() == [1, 2, 3]
    assert build_corpus(Texts.of(["ab", "c"]), tokenizer).ids.tolist() == [1, 2, 0, 3, 0]
    words = WordTokenizer()
    words.train(["a b"])
    assert build_corpus(Texts.of(["a b"]), words).ids.tolist() == [3, 4, 2, 0]


def test_ids_are_kept_for_the_same_text_and_tokenizer_only(tmp_path: Path) -> None:
    source, folder = write(tmp_path / "a.txt", "naïve".encode()), tmp_path / "work"
    built = build_corpus(Texts.of(source), ByteTokenizer(), folder)
    assert (built.characters, built.bytes, built.ids.dtype) == (5, 6, np.uint16)
    (stored,) = folder.iterdir()
    before = stored.stat().st_mtime_ns
    build_corpus(Texts.of(source), ByteTokenizer(), folder)
    assert [p.stat().st_mtime_ns for p in folder.iterdir()] == [before]
    build_corpus(Texts.of(source), CharTokenizer("aenvï"), folder)
    build_corpus(Texts.of(["naïve"]), ByteTokenizer(), folder)
    write(source, b"naive")
    build_corpus(Texts.of(source), ByteTokenizer(), folder)
    assert len(list(folder.iterdir())) == 4


def test_large_vocabularies_take_four_bytes(tmp_path: Path) -> None:
    tokenizer = WordTokenizer()
    tokenizer.train([" ".join(f"w{i}" for i in range(70_000))])
    ids = build_corpus(Texts.of(["w0 w69999"]), tokenizer).ids
    assert ids.dtype == np.int32
    assert tokenizer.decode(ids) == "w0 w69999\n"


def test_without_a_folder_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    built = build_corpus(Texts.of(["abc"]), ByteTokenizer(), None)
    assert list(tmp_path.iterdir()) == []  # not even while it is in use: a kill could leave it
    del built
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_done_without(tmp_path: Path) -> None:
    file = write(tmp_path / "file", b"")
    assert build_corpus(Texts.of(["abc"]), ByteTokenizer(), file / "folder").ids.size == 4


def test_an_error_while_encoding_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'d'"):
        build_corpus(Texts.of(["abcd"]), CharTokenizer("abc"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_error_leaves_no_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ValueError, match="'d'"):
        build_corpus(Texts.of(["abcd"]), CharTokenizer("abc"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damaged", [b"", b"\1", b"\1\0\xff\xff"])
def test_stored_ids_that_cannot_be_are_written_again(tmp_path: Path, damaged: bytes) -> None:
    expected = build_corpus(Texts.of(["abc"]), CharTokenizer("abc"), tmp_path).ids.tolist()
    (stored,) = tmp_path.iterdir()
    stored.write_bytes(damaged)
    assert build_corpus(Texts.of(["abc"]), CharTokenizer("abc"), tmp_path).ids.tolist() == expected


def test_memory_does_not_grow_with_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "CHUNK_BYTES", 4096)
    texts = Texts.of(write(tmp_path / "long.txt", b"a line of words\n" * 60_000))
    tokenizer = WordTokenizer()
    tracemalloc.start()
    tokenizer.train(texts.each("strict"))
    built = build_corpus(texts, tokenizer, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(built.ids) == 300_000
    assert peak < 500_000


def test_split_is_contiguous() -> None:
    built = build_corpus(Texts.of(["abcdefghi"]), ByteTokenizer())
    first, second = built.split(0.3)
    assert (len(first), len(second)) == (7, 3)
    np.testing.assert_array_equal(np.concatenate([first, second]), built.ids)
    with pytest.raises(ValueError, match="validation_split must be between 0 and 1, got 1"):
        built.split(1)


def test_texts_that_are_all_empty_raise() -> None:
    with pytest.raises(ValueError, match="the texts are all empty"):
        build_corpus(Texts.of(["", ""]), ByteTokenizer())
