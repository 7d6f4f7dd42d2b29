"""The page that the preview writes, as Chromium shows it: light and dark, narrow and wide."""

import os
import shutil
from collections.abc import Iterator
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from bakery import ALL_CHOSEN, Bakery
from environments import Environment, run

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
PLANTED = ("zoë.müller@example.com", "4111 1111 1111 1111", "not-a-real", "203.0.113.7")
SIZES = {
    "narrow": ViewportSize(width=360, height=740),
    "wide": ViewportSize(width=1440, height=900),
}

pytestmark = pytest.mark.skipif(
    CHROMIUM is None and os.environ.get("CI") != "true",
    reason="Chromium is not installed: the preview's page was not looked at in a browser",
)


@pytest.fixture(scope="module")
def address(
    bakery: Bakery, environment: Environment, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """Where the page is that a generated project's own command has written."""
    directory = tmp_path_factory.mktemp("preview")
    backend = bakery.fresh_project(ALL_CHOSEN, directory) / "backend"
    page = directory / "preview.html"
    said = run(
        [environment.bin / "python", "-m", "app", "privacy", "preview", "--html", page],
        backend,
        ENV_FILE="",
    )
    assert said == f"The preview is in {page}.\n"
    return page.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM, "Chromium is not installed"
    with sync_playwright() as playwright:
        # Its sandbox asks for what a container does not grant; the page is our own.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=SIZES)
def size(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def complaints() -> list[str]:
    """What the browser says on its console, and what it fetches beside the page."""
    return []


@pytest.fixture
def page(
    browser: Browser, address: str, scheme: str, size: str, complaints: list[str]
) -> Iterator[Page]:
    """The page in a window of one scheme and size, without a network."""
    with browser.new_context(
        color_scheme="dark" if scheme == "dark" else "light", viewport=SIZES[size], offline=True
    ) as context:
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url))
        page.goto(address)
        yield page


def test_it_is_complete_by_itself(page: Page, address: str, complaints: list[str]) -> None:
    assert complaints == [address]  # nothing on the console, and no request but for the page
    assert page.title() == "What leaves with an error report"
    assert page.locator("html").get_attribute("lang") == "en"


def test_it_is_no_wider_than_the_window(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_each_cell_is_visible_and_whole(page: Page) -> None:
    cells = page.evaluate(
        """() => [...document.querySelectorAll("tbody th, tbody td")].map(cell => {
          const { width, height, left, right } = cell.getBoundingClientRect();
          const whole = cell.scrollWidth <= cell.clientWidth + 1 && left >= 0
            && right <= window.innerWidth;
          return [cell.innerText, cell.checkVisibility() && width > 0 && height > 0 && whole];
        })"""
    )
    assert len(cells) > 200
    assert [text for text, seen in cells if not seen or not text.strip()] == []


def test_what_is_private_is_seen_before_and_not_after(page: Page) -> None:
    before = " ".join(page.locator("td[data-label=before]").all_inner_texts())
    for mode in ("strict", "balanced"):
        after = " ".join(page.locator(f"td[data-label={mode}]").all_inner_texts())
        for planted in PLANTED:
            assert planted in before
            assert planted not in after
    assert page.locator("th.field").count() == page.locator("td[data-label=strict]").count() > 50


def test_a_screen_reader_finds_a_table(page: Page) -> None:
    """Also where the window is narrow: some browsers forget a table that is laid out as a list."""
    parts = page.locator("table, thead, tbody, tr, th, td")
    assert parts.count() == parts.and_(page.locator("[role]")).count() > 300
    table = page.get_by_role("table")
    columns = table.get_by_role("columnheader").all_inner_texts()
    assert [each.split()[0] for each in columns] == ["Field", "Before", "After:", "After:"]
    fields = table.get_by_role("rowheader", name="request.headers.Cookie")
    assert fields.count() == 1
    assert page.get_by_role("heading", level=1).count() == 1


def test_the_mode_that_is_set_is_marked(page: Page) -> None:
    assert page.locator(".card.set h2").inner_text().split() == ["strict", "now", "set"]


# The contrast of WCAG 2.2, success criterion 1.4.3, of each text with what is painted behind it.
CONTRAST = """() => {
  const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b]
    .map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = element => {
    for (let each = element; each; each = each.parentElement) {
      const colour = numbers(getComputedStyle(each).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
      if (colour[3] !== 0) throw new Error("half transparent: " + each.className);
    }
    throw new Error("nothing is painted behind");
  };
  const ratio = (element, pseudo) => {
    const [a, b] = [numbers(getComputedStyle(element, pseudo).color), behind(element)].map(light);
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  const found = [];
  for (const element of document.querySelectorAll("body, body *")) {
    if ([...element.childNodes].some(node => node.nodeType === 3 && node.data.trim()))
      found.push([element.innerText, ratio(element, null)]);
    if (!["none", "normal", '""'].includes(getComputedStyle(element, "::before").content))
      found.push([element.className + "::before", ratio(element, "::before")]);
  }
  return found;
}"""


@pytest.mark.parametrize("media", ["screen", "print"])
def test_each_text_stands_out_from_what_is_behind_it(
    page: Page, media: Literal["screen", "print"]
) -> None:
    page.emulate_media(media=media)
    found = page.evaluate(CONTRAST)
    assert len(found) > 400
    assert [(text, ratio) for text, ratio in found if ratio < 4.5] == []


@pytest.mark.parametrize("size", ["wide"], indirect=True)
def test_each_scheme_has_its_own_colours(page: Page, scheme: str) -> None:
    red = page.evaluate("parseInt(getComputedStyle(document.body).backgroundColor.slice(4))")
    assert (red < 64) == (scheme == "dark")
