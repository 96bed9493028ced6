import io
import json
import math
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recurlm import Input, LanguageModel, Model
from recurlm.cli import main
from recurlm.inspection import analysis, inspect_text, render_page
from recurlm.layers import LSTM, Dense, Embedding

from . import samples

TEXT = "the cat sat on a mat\nand ran"


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return samples.trained(samples.text_file(tmp_path_factory.mktemp("text")))


class Page(HTMLParser):
    """The text of the tokens, the data, and every attribute that could load something."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tokens: list[str] = []
        self.scripts: list[str] = []
        self.title = self._open = ""
        self.links: list[str] = []
        self._in_text = False
        self.feed(page)
        self.data: dict[str, Any] = json.loads(self.scripts[0])

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self._open = tag
        self.links += [value for name, value in attrs if name in ("src", "href", "action")]
        if ("id", "text") in attrs:
            self._in_text = True
        elif tag == "span" and self._in_text:
            self.tokens.append("")
        elif tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._open = ""
        if tag == "div":
            self._in_text = False

    def handle_data(self, data: str) -> None:
        if self._in_text:
            self.tokens[-1] += data
        elif self._open == "script":
            self.scripts[-1] += data
        elif self._open == "title":
            self.title += data


def stateless(lm: LanguageModel) -> Model:
    """A model that gives each layer's outputs and the probabilities, with the same weights, made by other means."""
    a, size = lm.architecture, lm.tokenizer.vocabulary_size
    x = ids = Input((None,), dtype="int32")
    x = Embedding(size, a.embedding_dim)(x)
    outputs = []
    for _ in range(a.layers):
        x = LSTM(a.units, return_sequences=True)(x)
        outputs.append(x)
    model = Model(ids, [*outputs, Dense(size, "softmax")(x)])
    model.set_weights(lm.model.get_weights())
    return model


def test_what_is_found_is_what_the_model_predicts(lm: LanguageModel) -> None:
    found = inspect_text(lm, TEXT, top=3)
    assert "".join(found.pieces) == TEXT
    scores = lm.score([TEXT], details=True)[0]
    np.testing.assert_allclose(found.log_probs, [token.log_prob for token in scores.tokens], atol=1e-5)
    assert found.loss == pytest.approx(-scores.log_prob / len(TEXT), abs=1e-5)
    ids = lm.tokenizer.encode(TEXT)
    *hidden, probs = stateless(lm).predict(np.append(0, ids)[None], verbose=0)
    for mine, theirs in zip(found.hidden, hidden, strict=True):
        np.testing.assert_allclose(mine, theirs[0, 1:], atol=1e-5)  # once the token was read, not before
    for t, token in enumerate(ids):
        order = np.argsort(-probs[0, t])
        assert found.top_ids[t].tolist() == order[:3].tolist()
        assert found.ranks[t] == 1 + order.tolist().index(token)
    np.testing.assert_allclose(found.top_probs, -np.sort(-probs[0, :-1])[:, :3], atol=1e-6)


def test_windows_change_nothing(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = inspect_text(lm, TEXT)
    for window in (1, 7, len(TEXT), len(TEXT) + 1):
        monkeypatch.setattr(analysis, "_WINDOW", window)
        parts = inspect_text(lm, TEXT)
        for name in ("log_probs", "ranks", "top_ids", "top_probs"):
            np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))
        for mine, theirs in zip(parts.hidden, whole.hidden, strict=True):
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(("precision", "tolerance"), [("bfloat16", 0.05), ("int8", 0.1)])
def test_quantized_models_are_read_in_float32(lm: LanguageModel, precision: Any, tolerance: float) -> None:
    """The tolerances are what rounding the weights, 2**-8 and half a 127th, can do to predictions like these."""
    narrow = inspect_text(lm.quantize(precision), TEXT)
    np.testing.assert_allclose(narrow.log_probs, inspect_text(lm, TEXT).log_probs, atol=tolerance)
    np.testing.assert_allclose(narrow.log_probs.sum(), lm.quantize(precision).score([TEXT])[0], rtol=0.02)


def test_units_of_largest_variance(lm: LanguageModel) -> None:
    found = inspect_text(lm, TEXT)
    units = found.units_of_largest_variance()
    assert [layer for layer, _ in units] == [0, 0, 0, 1, 1, 1]
    for layer in (0, 1):
        variances = found.hidden[layer].var(0)
        assert [variances[u] for k, u in units if k == layer] == sorted(variances)[:-4:-1]


@pytest.mark.parametrize("kind", ["char", "byte", "word"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_every_tokenizer_and_cell_has_a_page(kind: str, cell: str, tmp_path: Path) -> None:
    text = "é is a hat\nthe cat"
    lm = LanguageModel(cell=cell, units=6, layers=2, tokenizer=kind, seed=1)
    lm.tokenizer.train([samples.text()])
    page = Page(render_page(inspect_text(lm, text), "x"))
    shown = "".join(page.tokens)
    assert len(page.tokens) == len(lm.tokenizer.encode(text)) == len(page.data["nats"])
    assert shown.replace("·", "").replace("↵", "").split() == text.split()
    assert len(page.data["units"]) == 6


def test_the_page_is_whole_escaped_and_loads_nothing() -> None:
    text = "</span></script><script>alert(1)</script>&amp; {{data}} <!-- \x00\x1b\x7f\r\té\n"
    lm = LanguageModel(units=4, tokenizer="byte", seed=1)
    html = render_page(inspect_text(lm, text), "<b>{{text}}</b>", [(0, 3), (0, 1)])
    page = Page(html)
    assert page.title == "<b>{{text}}</b>"
    assert len(page.scripts) == 2
    signs = str.maketrans({"\x00": "␀", "\x1b": "␛", "\x7f": "␡", "\r": "␍", "\t": "␉", "é": "·é", "\n": "↵\n"})
    assert "".join(page.tokens) == text.translate(signs)
    assert page.links == []
    assert not re.search(r"https?:|url\(|@import|\\x00", html)
    assert "default-src 'none'" in html
    assert [unit["name"].split(" (")[0] for unit in page.data["units"]] == ["layer 0, unit 3", "layer 0, unit 1"]


def test_a_token_cannot_end_the_data() -> None:
    text = "</script><b>x</b> <!--<script> y"
    lm = LanguageModel(units=4, tokenizer="word", seed=1)
    lm.tokenizer.train([text])
    page = Page(render_page(inspect_text(lm, text), "x"))
    assert len(page.scripts) == 2
    assert {"</script><b>x</b>", "<!--<script>"} <= set(page.data["names"])
    assert "".join(page.tokens) == text


def test_the_data_are_the_inspection(lm: LanguageModel) -> None:
    found = inspect_text(lm, TEXT, top=2)
    data = Page(render_page(found, "x", [(1, 5)])).data
    np.testing.assert_allclose(data["nats"], -found.log_probs, atol=6e-4)
    assert data["ranks"] == found.ranks.tolist()
    names = [data["names"][i] for i in data["tops"]]
    assert names == [lm.tokenizer.tokens[i].replace(" ", "␣").replace("\n", "↵") for i in found.top_ids.ravel()]
    np.testing.assert_allclose(data["probs"], found.top_probs.ravel(), rtol=6e-3)
    np.testing.assert_allclose(data["units"][0]["values"], found.hidden[1][:, 5], atol=6e-3)
    assert [data["names"][i] for i in data["tokens"]][:3] == ["t", "h", "e"]
    assert data["scale"] >= 4


def test_the_script_paints(lm: LanguageModel, tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no browser here")
    found = inspect_text(lm, TEXT)
    path = tmp_path / "page.html"
    path.write_text(render_page(found, "x"), encoding="utf-8")
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run([*command, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=120)
    if not done.stdout:
        pytest.skip("the browser does not run here")
    colours = re.findall(r'<span style="background: rgb\((\d+), (\d+), (\d+)\);">', done.stdout)
    assert len(colours) == len(TEXT)
    least, most = int(np.argmax(found.log_probs)), int(np.argmin(found.log_probs))
    assert sum(map(int, colours[most])) < sum(map(int, colours[least]))
    assert done.stdout.count("<option") == 1 + 6


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["inspect", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_command(lm: LanguageModel, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lm.save(tmp_path / "model")
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    out = tmp_path / "page.html"
    code, printed, _ = run(
        capsys, tmp_path / "model", tmp_path / "text.txt", "--out", out, "--unit", "1:2", "--unit", "0:3", "--json"
    )
    assert code == 0
    result = json.loads(printed)
    assert (result["page"], result["tokens"]) == (str(out), len(TEXT))
    assert result["perplexity"] == pytest.approx(math.exp(result["loss"]))
    page = Page(out.read_text(encoding="utf-8"))
    assert page.title == "How model reads text.txt"
    assert [unit["name"].split(" (")[0] for unit in page.data["units"]] == ["layer 1, unit 2", "layer 0, unit 3"]
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(TEXT.encode())))
    assert run(capsys, tmp_path / "model", "-", "--out", tmp_path / "stdin.html")[0] == 0
    assert Page((tmp_path / "stdin.html").read_text(encoding="utf-8")).tokens == page.tokens
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"\xff")))
    assert "standard input is not UTF-8" in run(capsys, tmp_path / "model", "-", "--out", out)[2]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--unit", "x"], "--unit must be LAYER:INDEX, such as 0:17, got 'x'"),
        (["--unit", "2:0"], "unit 2:0: the model has layers 0 to 1"),
        (["--unit", "1:24"], "unit 1:24: layer 1 has units 0 to 23"),
        (["--max-tokens", "5"], "the text has 28 tokens, more than --max-tokens 5: give a shorter one, or raise that"),
        (["--top", "0"], "--top must be "),
    ],
)
def test_bad_arguments_are_one_sentence(
    lm: LanguageModel, arguments: list[str], sentence: str, tmp_path: Path, capsys: Any
) -> None:
    lm.save(tmp_path / "model")
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    code, _, error = run(
        capsys, tmp_path / "model", tmp_path / "text.txt", "--out", tmp_path / "page.html", *arguments
    )  # fmt: skip
    assert code == 1
    assert sentence in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "page.html").exists()


def test_texts_that_cannot_be_read_are_named(lm: LanguageModel) -> None:
    with pytest.raises(ValueError, match="the text has no tokens"):
        inspect_text(lm, "")
    with pytest.raises(ValueError, match=r"character '%' \(U\+0025\) at position 2 is not among"):
        inspect_text(lm, "a %")
