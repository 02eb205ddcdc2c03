"""The page and the report in a browser that people have: Debian's Chromium, without a window."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anydraft import SamplingParams, SpeculativeSession
from tests.serve.tiny import CHROMIUM, Running, Tiny, wait_for

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium (apt-get install chromium)")
EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script>&amp;</script><b>"
REPEATS = "abcabcabcabcabc"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        options = {"executable_path": CHROMIUM, "args": ["--no-sandbox"]}
        with driver.chromium.launch(**options) as started:
            yield started


class Seen:
    """A page, and whatever it complained of."""

    def __init__(self, browser: Any, address: str, **context: Any) -> None:
        self.page = browser.new_context(**context).new_page()
        self.wrong: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.wrong.append(message.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.wrong.append("dialog"), dialog.dismiss()))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(address)

    def ask(self, text: str) -> None:
        before = self.page.locator(".turn.model[aria-busy=false]").count()
        self.page.locator("#ask").fill(text)
        self.page.keyboard.press("Enter")
        self.page.locator(".turn.model[aria-busy=false]").nth(before).wait_for(timeout=20000)

    def answer(self) -> str:
        return str(self.page.locator(".turn.model .tokens").last.text_content())


def test_a_chat_by_keyboard(running: Running, browser: Any) -> None:
    seen = Seen(browser, running.address)
    page = seen.page
    assert page.evaluate("document.activeElement.id") == "ask"  # one can type at once
    seen.ask(f"SAY({REPEATS})YAS")
    assert seen.answer() == REPEATS
    origins = page.locator(".turn.model .t").evaluate_all("all => all.map(t => t.className)")
    assert any("accepted" in name for name in origins)
    panel = page.locator("#positions tr").count(), page.locator("#count").text_content()
    assert panel[0] >= 1 and panel[1] == str(len(origins))
    assert float(str(page.locator("#percall").text_content())) > 1
    page.keyboard.press("Shift+Tab")
    for _ in range(12):  # to the text, by whatever is between
        if page.evaluate("document.activeElement.classList.contains('tokens')"):
            break
        page.keyboard.press("Shift+Tab")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert "2 of" in str(page.locator("#detail").text_content())
    assert page.locator(".t.at").count() == 1
    seen.ask("SAY(more)YAS")  # the chat goes on with what was said
    assert seen.answer() == "more" and page.locator(".turn").count() == 4
    page.locator("#fresh").click()
    assert page.locator(".turn").count() == 0
    assert not seen.wrong
    assert all(url.startswith((running.address, "data:")) for url in seen.asked)


def in_a_long_answer(browser: Any, slow: Running) -> Seen:
    seen = Seen(browser, slow.address)
    seen.page.locator("details.more > summary").click()
    seen.page.locator("#max_tokens").fill("2000")
    seen.page.locator("#ask").fill("x")
    seen.page.keyboard.press("Enter")
    assert wait_for(lambda: seen.page.locator(".turn.model .t").count() > 3)
    return seen


def test_escape_stops_an_answer(browser: Any) -> None:
    with Running(Tiny(slow=0.02)) as slow:
        seen = in_a_long_answer(browser, slow)
        seen.page.keyboard.press("Escape")
        seen.page.locator(".turn.model[aria-busy=false]").wait_for(timeout=5000)
        assert slow.is_clean()


def test_a_new_chat_and_a_failed_turn_leave_nothing_behind(browser: Any) -> None:
    with Running(Tiny(slow=0.02)) as slow:
        seen = in_a_long_answer(browser, slow)
        seen.page.locator("#fresh").click()
        seen.page.locator("#send").wait_for(timeout=5000)
        assert seen.page.evaluate("chat.length") == 0
        assert seen.page.locator("#speed").text_content() == ""
        seen.page.locator("#temperature").fill("-1")
        seen.page.locator("#ask").fill("y")
        seen.page.keyboard.press("Enter")
        seen.page.locator(".turn .error").wait_for(timeout=5000)
        assert seen.page.evaluate("chat.length") == 0
        assert slow.is_clean()


def test_what_a_model_writes_stays_text(running: Running, browser: Any) -> None:
    seen = Seen(browser, running.address)
    seen.ask(f"SAY({EVIL})YAS")
    assert seen.answer() == EVIL
    assert seen.page.locator("#log img, #log script, #log b").count() == 0
    # and were it HTML, the policy would let no script of its run
    seen.page.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=alert(3)>')"
    )
    seen.page.wait_for_timeout(100)
    assert "dialog" not in seen.wrong


def test_a_key_is_asked_for(browser: Any) -> None:
    with Running(Tiny(), api_keys=("secret",)) as locked:
        seen = Seen(browser, locked.address)
        seen.page.locator("details.more[open]").wait_for(timeout=5000)
        seen.page.locator("#key").fill("secret")
        seen.page.locator("#ask").focus()
        seen.ask("SAY(yes)YAS")
        assert seen.answer() == "yes"


def test_a_question_waits_for_the_model_s_name(running: Running, browser: Any) -> None:
    seen = Seen(browser, running.address)
    slow = "setTimeout(() => done(now(url, options)), 500)"
    seen.page.add_init_script(
        "const now = window.fetch; window.fetch = (url, options) => String(url).includes('models')"
        f" ? new Promise((done) => {slow}) : now(url, options);"
    )
    seen.page.reload()
    seen.ask("SAY(yes)YAS")
    assert seen.answer() == "yes"


def test_a_model_without_a_template_goes_on_from_texts(browser: Any) -> None:
    model = Tiny(template=None)
    with Running(model) as running:
        seen = Seen(browser, running.address)
        assert wait_for(lambda: seen.page.locator("#mode").input_value() == "text")
        seen.ask("SAY(a text)YAS")
        assert seen.answer() == "a text"


SIZES = [
    {"width": 360, "height": 740},
    {"width": 820, "height": 1100},
    {"width": 1400, "height": 800},
]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: str(size["width"]))
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_can_be_read(running: Running, browser: Any, size: Any, scheme: str) -> None:
    seen = Seen(browser, running.address, viewport=size, color_scheme=scheme)
    seen.ask("SAY(" + "word " * 40 + "x" * 300 + ")YAS")
    page = seen.page
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    for name in ("#ask", "#send"):
        box = page.locator(name).bounding_box()
        assert box and box["y"] + box["height"] <= size["height"] and box["height"] >= 40
    for name in ("accepted", "recovered", "bonus"):
        ratio = page.evaluate(CONTRAST, f".key .{name}")
        assert ratio >= 4.5, (name, ratio)  # WCAG 2, AA
    assert page.evaluate(CONTRAST, "#send") >= 4.5
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(back.removeprefix("rgb(").partition(",")[0]) < 100) == (scheme == "dark")


CONTRAST = """(name) => {
  const style = getComputedStyle(document.querySelector(name));
  const light = (colour) => {
    const parts = colour.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255);
    const linear = parts.map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const [a, b] = [light(style.color), light(style.backgroundColor)].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
}"""


def test_a_report_is_one_file(tmp_path: Path, browser: Any) -> None:
    session = SpeculativeSession(Tiny(), "lookup", sampling=SamplingParams(temperature=0))
    prompts = [f"{EVIL} SAY({REPEATS})YAS", f"SAY({EVIL}\u2028)YAS"]
    texts = session.generate(prompts)
    session.report(tmp_path / "out.html")
    seen = Seen(browser, (tmp_path / "out.html").as_uri())
    shown = seen.page.locator(".turn .tokens").all_text_contents()
    assert shown == [made.text for made in texts]
    assert seen.page.locator(".turn details .text").all_text_contents() == prompts
    for i, run in enumerate(session.runs):
        spans = seen.page.locator(".turn").nth(i).locator(".t")
        names = spans.evaluate_all("all => all.map(t => t.className.replace('t ', ''))")
        assert names == [event.origin for event in run.history]
    count = sum(len(made.tokens) for made in texts)
    assert seen.page.locator("#count").text_content() == str(count)
    rounds = sum(made.stats.target_calls for made in texts)
    assert seen.page.locator("#percall").text_content() == f"{count / rounds:.2f}"
    shares = acceptance(session)
    bars = seen.page.locator("#positions td:last-child").all_text_contents()
    assert bars == [f"{int(100 * share + 0.5)} %" for share in shares]
    assert not seen.wrong and len(seen.asked) <= 2  # the file, and its empty icon


def acceptance(session: SpeculativeSession) -> list[float]:
    """Of the drafted tokens that the target looked at, the share that it kept, by place."""
    tried: dict[int, int] = {}
    kept: dict[int, int] = {}
    for run in session.runs:
        place = 1
        for event in run.history:
            if event.origin != "bonus":
                tried[place] = tried.get(place, 0) + 1
            if event.origin == "accepted":
                kept[place] = kept.get(place, 0) + 1
                place += 1
            else:
                place = 1
    return [kept.get(place, 0) / tried[place] for place in sorted(tried)]
