"""The page in a real browser: what people see and do. Any error on the console and any request fails the test."""

import json
import os
import shutil
from pathlib import Path

import pytest
from made_runs import HOSTILE, NAME, Made

from prune_heads.reporting.page import write_page

pytestmark = [pytest.mark.browser, pytest.mark.slow]

WIDTHS = {"narrow": (400, 800), "wide": (1400, 900)}


@pytest.fixture(scope="module")
def chromium():
    """Debian's, driven by Playwright; skips, or fails where CI demands it."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        say = pytest.fail if os.environ.get("PRUNE_HEADS_REQUIRE_REAL") == "1" else pytest.skip
        say("no chromium: `make test-browser` installs Debian's")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A page of every study, with 12 heads in 3 layers; see `made_runs`."""
    folder = tmp_path_factory.mktemp("page")
    write_page(Made(folder).every("the film was good"), folder / "page.html")
    return folder / "page.html"


@pytest.fixture
def open_page(chromium):
    """Open a file; at the end nothing has been asked for but it, and the console is empty."""
    seen, contexts = [], []

    def opened(file: Path, size="wide", **options):
        width, height = WIDTHS[size]
        context = chromium.new_context(viewport={"width": width, "height": height}, offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: seen.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: seen.append(f"error: {error}"))
        page.on("request", lambda asked: asked.url in (file.as_uri(), "data:,") or seen.append(asked.url[:100]))
        page.on("dialog", lambda dialog: seen.append(f"dialog: {dialog.message}"))
        page.goto(file.as_uri())
        page.wait_for_selector("html[data-drawn] .grid td")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert [each for each in seen if not each.startswith(("data:image/png", "blob:"))] == []


@pytest.fixture(params=WIDTHS)
def page(request, open_page, file):
    return open_page(file, request.param)


def cell(page, head):
    return page.locator(f"[role=gridcell][data-head='{head}']")


def test_the_page_fits_its_window_and_says_what_it_is_of(page):
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("h1").inner_text() == "The heads of model"
    assert "0.9000" in page.locator(".base").inner_text()
    assert page.locator("[role=gridcell]").count() == 12
    assert page.locator("#missing").count() == 0


def test_the_slider_gives_the_metric_the_mask_and_the_costs_of_what_was_measured(page):
    slider = page.locator("#step")
    slider.focus()
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    assert page.locator("#pruned").inner_text() == "6 of 12 (50%)"
    said = page.locator("#readout").inner_text()
    assert "0.8400\n95% interval 0.8300 to 0.8500" in said
    assert "0.7200\nmean; 95% of 20 draws 0.7100 to 0.7300" in said
    assert "9,400\n−6.0% of 10,000" in said  # parameters
    assert "993,950\n−0.6% of 1,000,000" in said  # of six heads, and of a layer of which no head is left
    assert slider.get_attribute("aria-valuetext") == "6 of 12 (50%): accuracy 0.8400"
    assert page.locator("[role=gridcell].pruned").count() == 6
    assert cell(page, 5).get_attribute("aria-label").endswith("pruned")
    assert page.locator("#curve path.band").count() == 2
    page.locator("#order").select_option(label="random (20 draws)")
    assert page.locator("#pruned").inner_text() == "6 of 12 (50%)"
    assert page.locator("[role=gridcell].pruned").count() == 0
    assert "not one number" in page.locator("#readout").inner_text()


def test_the_names_on_a_card_are_broken_between_words_alone(page):
    cell(page, 11).click()
    names = page.locator("#card table.plain:not(.partners) tbody th")
    assert names.count() >= 5
    assert min(names.evaluate_all("names => names.map((each) => each.getBoundingClientRect().width)")) >= 120
    assert page.locator("#card").evaluate("card => card.scrollWidth <= card.clientWidth")


def test_only_what_is_significant_after_correction_is_marked(page):
    page.locator("#column").select_option(label="accuracy without the head")
    assert page.locator("[role=gridcell].marked").count() == 1
    assert "−1.10 points, significant after correction" in cell(page, 11).get_attribute("aria-label")
    assert cell(page, 10).evaluate("each => getComputedStyle(each).backgroundColor") != cell(page, 11).evaluate(
        "each => getComputedStyle(each).backgroundColor"
    )
    page.locator("#column").select_option(label="importance: gradient (example)")
    assert "0.110 ± 0.001" in cell(page, 11).get_attribute("aria-label")
    page.locator("#column").select_option(label="Role")
    assert cell(page, 1).inner_text() == "broad"
    assert "broad" in page.locator("#legend").inner_text()


def test_the_card_of_a_head_holds_all_that_is_known_of_it(page):
    cell(page, 1).click()
    card = page.locator("#card")
    assert card.locator("h2").inner_text() == "Layer 1, head 2"
    said = card.inner_text()
    for text in (
        "−0.10 points",
        "0.010 ± 0.001",
        "broad",
        "+0.250 nats",
        "6 the film was good",
        "negative",
        "−1.50 nats",
    ):
        assert text in said
    assert "The model says positive 0.75" in said
    card.locator("figure svg image").first.wait_for()
    assert card.locator("figure").count() == 6  # of five examples and a sentence
    maps = card.locator("figure").last
    assert "t0 → t0 1.00" in maps.inner_text()
    card.locator("#weighted").check()
    assert "t0 → t0 2.00" in card.locator("figure").last.inner_text()
    card.locator(".partners button", has_text="1:1").first.click()
    assert card.locator("h2").inner_text() == "Layer 1, head 1"
    assert cell(page, 0).get_attribute("aria-selected") == "true"


def test_the_keyboard_alone_is_enough(page):
    page.locator("#column").focus()
    page.keyboard.press("Tab")
    if page.evaluate("document.activeElement.id") == "grid":  # a part that scrolls
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.dataset.head") == "11"  # the one that stands out
    for key, head in {"ArrowUp": "7", "ArrowLeft": "6", "Home": "4", "End": "7", "Control+Home": "0"}.items():
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.dataset.head") == head
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "card-title"
    assert page.locator("#card-title").inner_text() == "Layer 1, head 1"
    assert page.locator("#status").inner_text() == "Card of layer 1, head 1"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.dataset.head") == "0"
    assert page.locator("[role=gridcell][tabindex='0']").count() == 1


def test_the_table_sorts_filters_and_is_downloaded(page):
    names = page.locator("#all tbody th")
    assert names.first.inner_text() == "1:1"
    heading = page.locator("#all thead th", has_text="accuracy without the head")
    heading.locator("button").click()
    assert (heading.get_attribute("aria-sort"), names.first.inner_text()) == ("ascending", "3:4")
    heading.locator("button").click()
    assert (heading.get_attribute("aria-sort"), names.first.inner_text()) == ("descending", "1:1")
    number = heading.locator("small").inner_text().partition(",")[0]
    for text, found in {"2:": 4, "broad": 4, f"{number} <= -1": 2, "nothing is called so": 0, "": 12}.items():
        page.locator("#filter").fill(text)
        assert page.locator("#count").inner_text() == f"{found} of 12 heads"
    page.locator("#significant").check()
    assert names.all_inner_texts() == ["3:4"]
    for name, check in {
        "csv": lambda text: len(text.splitlines()) == 13,
        "json": lambda text: json.loads(text),
    }.items():
        with page.expect_download() as download:
            page.locator(f"#{name}").click()
        assert check(Path(download.value.path()).read_text("utf-8"))


def test_the_scatter_is_of_any_two_columns(page):
    assert page.locator("#points circle").count() == 12
    assert "Pearson −1.00, Spearman −1.00" in page.locator("#points").inner_text()
    page.locator("#up").select_option(label="importance: gradient (example)")
    assert "Pearson 1.00" in page.locator("#points").inner_text()
    page.locator("#points circle[data-head='3']").click()
    assert page.locator("#card-title").inner_text() == "Layer 1, head 4"
    of = "names => names.map((each) => Object.values(each.getBoundingClientRect().toJSON()))"
    names = page.locator("#points .halo").evaluate_all(of)  # x, y, width, height, ...
    pairs = [(one, other) for k, one in enumerate(names) for other in names[:k]]
    assert pairs
    assert not [1 for a, b in pairs if all(a[i] < b[i] + b[i + 2] and b[i] < a[i] + a[i + 2] for i in (0, 1))]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_theme_follows_the_system_and_the_switch(open_page, file, scheme):
    page, paper = open_page(file, color_scheme=scheme), "getComputedStyle(document.body).backgroundColor"
    papers = {"light": "rgb(253, 253, 252)", "dark": "rgb(20, 22, 26)"}
    assert page.evaluate(paper) == papers[scheme]
    fill = cell(page, 5).evaluate("each => getComputedStyle(each).backgroundColor")
    for choice in ("dark", "light"):
        page.locator(f"[data-choice={choice}]").click()
        assert page.evaluate(paper) == papers[choice]
        assert page.locator(f"[data-choice={choice}]").get_attribute("aria-pressed") == "true"
        is_same = cell(page, 5).evaluate("each => getComputedStyle(each).backgroundColor") == fill
        assert is_same == (choice == scheme)


def test_texts_are_readable_on_every_cell_in_both_themes(open_page, file):
    """Contrast of at least 4.5 to 1 (WCAG 2.2, 1.4.3), of the numbers in cells and of quiet texts."""
    page = open_page(file)
    contrast = """every => every.map(each => {
      const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
      const light = (colour) => {
        canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
        return [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => {
          const c = canvas.getImageData(0, 0, 1, 1).data[i] / 255;
          return sum + weight * (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        }, 0);
      };
      const style = getComputedStyle(each);
      const under = style.backgroundColor === 'rgba(0, 0, 0, 0)' ? getComputedStyle(document.body) : style;
      const [a, b] = [light(style.color), light(under.backgroundColor)].sort((x, y) => y - x);
      return (a + 0.05) / (b + 0.05);
    })"""
    for choice in ("light", "dark"):
        page.locator(f"[data-choice={choice}]").click()
        for column in ("accuracy without the head", "importance: gradient (example)", "Role"):
            page.locator("#column").select_option(label=column)
            found = page.locator("[role=gridcell]").evaluate_all(contrast)
            assert min(found) >= 4.5, (choice, column, found)
        assert page.locator("#column-note").evaluate_all(contrast)[0] >= 4.5


def test_hostile_texts_are_shown_as_text(open_page, tmp_path):
    made = Made(tmp_path, name=NAME)
    write_page(made.every(HOSTILE), tmp_path / "page.html")
    page = open_page(tmp_path / "page.html", "narrow")
    assert page.locator("h1").inner_text() == f"The heads of {NAME}"
    cell(page, 0).click()
    text = page.locator("#card .example .text").first.inner_text()
    assert text.startswith("0 </script><script>alert(1)</script><img src=x onerror=alert(2)> \\u{202e}ltr\\u{7} ")
    assert text.endswith("x" * 10_000)
    assert page.locator("img, body script:not([type='text/plain'])").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_an_older_run_says_what_is_missing_and_shows_the_rest(open_page, tmp_path):
    made = Made(tmp_path)
    write_page([made.ablate(likelihood=False, examples=False)], tmp_path / "page.html")
    page = open_page(tmp_path / "page.html")
    assert "prune-heads look" in page.locator("#missing").inner_text()
    assert page.locator("#pruning").is_hidden()
    assert page.locator("#scatter").is_hidden()
    assert "No run holds examples" in page.locator("#card").inner_text()
    page.locator("#made summary").click()
    assert "prune-heads ablate --model model --task sst2" in page.locator("#made").inner_text()


def test_a_browser_that_cannot_unpack_is_told_so(chromium, file):
    page = chromium.new_page()
    page.add_init_script("delete window.DecompressionStream")
    page.goto(file.as_uri())
    page.locator("#warning").wait_for()
    assert "cannot unpack" in page.locator("#warning").inner_text()
    assert "0.9000" in page.locator(".base").inner_text()
    page.close()


def test_it_is_printed_light_and_whole(open_page, file):
    page = open_page(file, color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    assert page.locator("details:not([open])").count() == 0
    assert page.locator("nav").is_hidden()
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_tables_fit_the_card_and_break_no_word(page):
    """On a narrow screen the tables of a run scroll, and a number stays in one piece."""
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    fits = "[...document.querySelectorAll('#card .scrolls')].every((each) => each.scrollWidth <= each.clientWidth)"
    for width in (page.viewport_size["width"], 1100, 1280):  # from 1088 on the card stands beside the grid
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate(fits), width
    page.set_viewport_size({"width": 400, "height": 800})
    heights = "[...document.querySelectorAll('.made-table td')].map((each) => each.offsetHeight)"
    assert max(page.evaluate(heights)) < 40


def test_the_numbers_in_the_cells_of_twelve_heads_are_whole(open_page, tmp_path, request):
    write_page([request.config.rootpath / "results" / "sst2-without-one"], tmp_path / "page.html")
    page = open_page(tmp_path / "page.html")
    page.locator("#column").select_option(label="log-likelihood without the head")
    for width in (760, 1100, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        cut = ".grid .value, .grid .error >> visible=true"
        assert page.locator(cut).evaluate_all("all => all.every((each) => each.scrollWidth <= each.clientWidth)"), width
