"""The page at ``/`` in a browser: a person types, and the text grows."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from recurlm import LanguageModel

from . import browser
from .browser import Page

pytestmark = pytest.mark.skipif(browser.PROGRAM is None, reason="needs chromium")


@pytest.fixture
def page(url: str, tmp_path: Path) -> Iterator[Page]:
    with browser.page(url, tmp_path / "profile") as opened:
        opened.wait_for('document.readyState === "complete" && document.title === "cats"')
        yield opened


def ask(page: Page, prompt: str, **values: object) -> None:
    values = {"prompt": prompt, **values}
    page.evaluate("".join(f"document.getElementById({k!r}).value = {v!r};" for k, v in values.items()))
    page.evaluate('document.getElementById("go").click()')


def spans(page: Page, what: str) -> list[str]:
    return list(page.evaluate(f'[...document.querySelectorAll("#text span[data-at]")].map(span => {what})'))


def status(page: Page) -> str:
    return str(page.evaluate('document.getElementById("status").textContent'))


def test_a_text_grows(page: Page, lm: LanguageModel) -> None:
    ask(page, "the cat ", tokens=150, temperature=0.8, seed=5)
    page.wait_for('/tokens in/.test(document.getElementById("status").textContent)')
    tokens = spans(page, "span.textContent")
    assert "".join(tokens) == lm.generate("the cat ", 150, temperature=0.8, seed=5)
    assert len(tokens) == 150
    assert status(page).startswith("150 tokens in ")
    blue = [int(colour.rstrip(")").split(",")[2]) for colour in spans(page, "span.style.background")]
    (whole,) = lm.score(["the cat " + "".join(tokens)], details=True)
    log_probs = [each.log_prob for each in whole.tokens[8:]]
    calm, surprising = (log_probs.index(pick(log_probs)) for pick in (max, min))
    assert blue[calm] == max(blue) > min(blue) == blue[surprising]
    over = 'dispatchEvent(new Event("mouseover", { bubbles: true }))'
    page.evaluate(f'document.querySelectorAll("#text span[data-at]")[{calm}].{over}')
    assert page.evaluate('document.getElementById("tip").style.display') == "block"
    assert 5 <= page.evaluate('document.querySelectorAll("#tip tr").length') <= 6
    if where := os.environ.get("RECURLM_SCREENSHOT"):
        page.screenshot(Path(where))


def test_a_text_is_stopped(page: Page) -> None:
    # By the page itself: all tokens may be drawn before anybody outside it has seen the first.
    page.evaluate(
        """new MutationObserver((_, observer) => {
          if (document.querySelectorAll("#text span[data-at]").length <= 20) return;
          observer.disconnect();
          document.getElementById("halt").click();
        }).observe(document.getElementById("text"), { childList: true, subtree: true });"""
    )
    ask(page, "the ", tokens=65000, temperature=1)
    page.wait_for('/^stopped after/.test(document.getElementById("status").textContent)')
    assert not page.evaluate('document.getElementById("go").disabled')


def test_what_is_not_possible_is_told(page: Page) -> None:
    ask(page, "Ω", tokens=5)
    page.wait_for('document.getElementById("status").className === "error"')
    assert status(page).startswith("prompt: character 'Ω' (U+03A9) at position 0 is not among the 22 characters")


def test_markup_stays_text(page: Page) -> None:
    """What is typed and drawn is never read as HTML, and nothing comes from elsewhere."""
    ask(page, "<img src=x onerror=alert(1)>", tokens=5)
    page.wait_for('document.getElementById("status").className === "error"')
    assert page.evaluate('document.querySelector("#text .prompt").textContent') == "<img src=x onerror=alert(1)>"
    assert page.evaluate('document.querySelectorAll("img").length') == 0
    loaded = page.evaluate('performance.getEntriesByType("resource").map(entry => new URL(entry.name).pathname)')
    assert set(loaded) == {"/v1/models", "/v1/completions"}
