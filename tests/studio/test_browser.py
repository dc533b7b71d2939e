"""The studio's page in a real browser, without a window. Chromium is the system's own.

make test-browser
"""

import pickle
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from pops import __file__ as package
from pops.engine import Engine
from pops.search.build import build_index, list_pictures
from pops.search.exact import Index
from pops.studio.service import StudioService
from tests.studio.studio_server import ignored, png_that_says, running

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
from playwright.sync_api import (  # noqa: E402
    Browser,
    BrowserContext,
    Page,
    expect,
    sync_playwright,
)

pytestmark = [pytest.mark.browser, *ignored]

ASSETS = Path(package).parents[1] / "assets"
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE = 90_000  # milliseconds; two cores may be shared
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 860}
COLOURS = {"one": "blue", "two": "red"}

expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, StudioService]]:
    """A studio with an index of the shipped objects."""
    home, objects = tmp_path_factory.mktemp("studio"), ASSETS / "objects"
    stack = Engine.load(device="cpu").stack
    build_index(home / "i", objects, list_pictures(objects), stack)
    with running(index=home / "i") as (url, studio):
        yield url, studio


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, NAMES)), None)
    assert found, "no browser: apt-get install chromium"
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser, served: tuple[str, StudioService]) -> Iterator[object]:
    """Opens the page, as a visitor of its own; what it calls and complains of must be nothing."""
    contexts: list[BrowserContext] = []
    faults: list[str] = []

    def note(url: str) -> None:
        if not url.startswith((served[0], "blob:", "data:")):
            faults.append(f"called {url}")

    def opened(tab: str = "apply", viewport: dict[str, int] = DESK, **how: object) -> Page:
        context = browser.new_context(viewport=viewport, accept_downloads=True, **how)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request: note(request.url))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda m: m.type == "error" and faults.append(m.text))
        page.goto(f"{served[0]}/#{tab}")
        page.wait_for_selector("html[data-ready]")
        return page

    yield opened
    for context in contexts:
        context.close()
    refused = "Failed to load resource"  # the browser's own words for an upload that is refused
    assert [fault for fault in faults if refused not in fault] == []


def quick(page: Page, tab: str = "apply", steps: int = 4, seeds: str = "18") -> None:
    """Set few drawing steps, and the seeds."""
    panel = page.locator(f"#panel-{tab}")
    panel.locator(".settings summary").click()
    panel.get_by_label("Drawing steps").fill(f"{steps}")
    panel.get_by_label(re.compile("^Seeds?$")).fill(seeds)


def make(page: Page, tab: str = "apply") -> None:
    page.locator(f"#panel-{tab} .primary").click()


def picture(path: Path, colour: str, size: tuple[int, int] = (300, 200)) -> Path:
    image = Image.new("RGB", size, "white")
    image.paste(colour, (size[0] // 4, size[1] // 4, size[0] * 3 // 4, size[1] * 3 // 4))
    image.save(path)
    return path


def put(page: Page, slot: str, path: Path) -> None:
    page.locator(f'[data-slot="{slot}"] input[type=file]').set_input_files(path)


def pixels(page: Page, locator: str) -> bytes:
    """The content of the picture that is shown."""
    source = page.locator(locator).first.get_attribute("src")
    return bytes(page.request.get(f"{page.url.split('/#')[0]}{source}").body())


def test_two_uploaded_pictures_are_applied_and_another_changes_the_result(visit, tmp_path) -> None:
    page = visit()
    put(page, "object", picture(tmp_path / "thing.png", "blue"))
    put(page, "texture", picture(tmp_path / "cloth.jpg", "green"))
    expect(page.locator('[data-slot="object"] .caption')).to_have_text("thing")
    expect(page.locator('[data-slot="texture"] .caption')).to_have_text("cloth")
    quick(page)
    make(page)
    expect(page.locator("#panel-apply .result")).to_have_count(1)
    expect(page.locator(".figure a")).to_be_visible()
    assert (
        page.locator("#panel-apply .result img").get_attribute("alt")
        == "texturing('thing.png', 'cloth.jpg')"
    )
    before = pixels(page, "#panel-apply .result img")
    put(page, "texture", picture(tmp_path / "gold.png", "orange"))  # an example has this name
    expect(page.locator('[data-slot="texture"] .caption')).to_have_text("gold-2")
    make(page)
    expect(page.locator("#panel-apply .result img")).to_have_attribute(
        "alt", "texturing('thing.png', 'gold-2.png')"
    )
    assert pixels(page, "#panel-apply .result img") != before


def test_results_can_be_downloaded(visit, tmp_path) -> None:
    from pops.io.embeddings import load_embeddings

    page = visit()
    quick(page)
    make(page)
    for label, kind in (("Picture", "png"), ("Embedding", "safetensors")):
        with page.expect_download() as caught:
            page.locator("#panel-apply .result").get_by_text(label, exact=True).click()
        path = tmp_path / caught.value.suggested_filename
        caught.value.save_as(path)
        assert path.name == f"texturing_mug_wood_s18.{kind}"
    assert len(load_embeddings(path)) == 1
    put(page, "object", path)  # and go in again
    expect(page.locator('[data-slot="object"] .numbers')).to_be_visible()


def test_an_input_can_be_left_empty(visit) -> None:
    page = visit()
    quick(page)
    page.locator('[data-slot="object"]').get_by_text("Leave empty").click()
    make(page)
    expect(page.locator("#panel-apply .result img")).to_have_attribute(
        "alt", "texturing(_, 'wood.png')"
    )


def test_operators_are_chained_by_use_as_input(visit) -> None:
    page = visit()
    quick(page)
    make(page)
    page.locator("#panel-apply .result").get_by_text("Use as input").click()
    page.locator("dialog").get_by_text("object", exact=True).first.click()
    expect(page.locator('[data-slot="object"] .caption')).to_contain_text("seed 18")
    page.locator('[data-slot="texture"] .thumb[title="zebra"]').click()
    make(page)
    nested = "texturing(texturing('mug.png', 'wood.png'), 'zebra.png')"
    expect(page.locator("#panel-apply .result img")).to_have_attribute("alt", nested)
    page.locator("#panel-apply .result").get_by_text("Compose").click()
    expect(page.locator("#expression")).to_have_value(nested)
    expect(page.locator("#panel-compose .node")).to_have_count(5)


def choose(page: Page, operator: str, tab: str = "apply") -> None:
    page.locator(f"#panel-{tab} [role=radio]").get_by_text(operator, exact=True).click()


def test_instruct_offers_the_words_it_knows_and_they_make_a_difference(visit) -> None:
    page = visit()
    choose(page, "instruct")
    quick(page)
    words = page.locator("#panel-apply .known .chip")
    expect(words).to_have_text(["tiny", "enormous", "many", "shiny", "dark", "frozen", "burning"])
    drawn = []
    for word in ("tiny", "burning"):
        words.get_by_text(word, exact=True).click()
        expect(page.get_by_label("Text", exact=True)).to_have_value(word)
        make(page)
        alt = f"instruct('mug.png', '{word}')"
        expect(page.locator("#panel-apply .result img")).to_have_attribute("alt", alt)
        drawn.append(pixels(page, "#panel-apply .result img"))
    assert drawn[0] != drawn[1]


def test_words_are_one_side_of_a_grid(visit) -> None:
    page = visit("grid")
    choose(page, "instruct", "grid")
    quick(page, "grid", steps=2)
    panel = page.locator("#panel-grid")
    box = panel.locator("textarea")
    expect(box).to_have_value("tiny\nenormous\nmany")
    for word in ("enormous", "frozen"):  # one out, one in
        panel.locator(".known .chip").get_by_text(word, exact=True).click()
    expect(box).to_have_value("tiny\nmany\nfrozen")
    make(page, "grid")
    expect(page.locator(".table td img")).to_have_count(9)
    expect(page.locator(".table thead th")).to_have_text(["tiny", "many", "frozen"])


def test_the_text_of_a_part_is_changed_by_clicking(visit) -> None:
    page = visit("compose")
    page.fill("#expression", "texturing(instruct('mug.png', 'dark'), 'wood.png')")
    page.locator(".node").get_by_text("Text", exact=True).click()
    page.locator("dialog").get_by_text("frozen", exact=True).click()
    changed = "texturing(instruct('mug.png', 'frozen'), 'wood.png')"
    expect(page.locator("#expression")).to_have_value(changed)


@pytest.mark.parametrize("viewport", [DESK, PHONE])
def test_clothes_shows_the_garments_that_there_are_and_folds_the_others(
    viewport: dict[str, int], visit
) -> None:
    page = visit("apply", viewport)
    choose(page, "clothes")
    quick_settings = page.locator("#panel-apply .settings")
    expect(page.locator("#panel-apply .inputs > .slots > .slot")).to_have_count(7)
    more = page.locator("#panel-apply details.more")
    expect(more.locator("summary")).to_have_text("5 more: hair, sunglasses, skirt, dress, belt")
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    more.locator("summary").click()
    expect(more.locator('[data-slot="belt"]')).to_be_visible()
    quick_settings.locator("summary").click()
    quick_settings.get_by_label("Drawing steps").fill("2")
    page.locator('[data-slot="scarf"] .thumb').click()
    page.locator('[data-slot="hat"]').get_by_title("Leave empty").click()
    make(page)
    given = "_, _, _, 'upper-clothes.png', _, 'pants.png', _, _, _, _, _, 'scarf.png'"
    expect(page.locator("#panel-apply .result img").first).to_have_attribute(
        "alt", f"clothes({given})"
    )


def test_union_is_made_of_two_examples(visit) -> None:
    page = visit()
    choose(page, "union")
    quick(page, seeds="18..19")
    make(page)
    expect(page.locator("#panel-apply .result img")).to_have_count(2)
    expect(page.locator("#panel-apply .result img").first).to_have_attribute(
        "alt", "union('mug.png', 'hat.png')"
    )


def test_a_result_is_varied_beside_it(visit) -> None:
    page = visit()
    quick(page)
    make(page)
    page.locator("#panel-apply .result").get_by_text("Vary").click()
    expect(page.locator("#panel-apply .result")).to_have_count(2)
    assert pixels(page, "#panel-apply .result >> nth=0 >> img") != pixels(
        page, "#panel-apply .result >> nth=1 >> img"
    )


def test_an_expression_is_put_right_and_only_what_changed_is_made_again(visit) -> None:
    page = visit("compose")
    quick(page, "compose")
    page.fill("#expression", "texturing(texturing('mug.png', 'wod.png'), 'zebra.png')")
    expect(page.locator(".fault .error")).to_have_text(
        "there is no picture 'wod.png': did you mean wood.png?"
    )
    line, caret = page.locator(".fault pre").text_content().split("\n")
    assert line[caret.index("^") :].startswith("'wod.png'")
    expect(page.locator("#panel-compose .primary")).to_be_disabled()
    page.fill("#expression", "texturing(texturing('mug.png', 'wood.png'), 'zebra.png')")
    expect(page.locator(".fault .error")).to_have_count(0)
    make(page, "compose")
    expect(page.locator("#panel-compose .downloads a")).to_have_count(3)
    expect(page.locator("#panel-compose .node img")).to_have_count(5)
    page.locator(".node[data-expression=\"'zebra.png'\"]").get_by_text("Change").click()
    page.locator("dialog").get_by_text("lava", exact=True).click()
    changed = "texturing(texturing('mug.png', 'wood.png'), 'lava.png')"
    expect(page.locator("#expression")).to_have_value(changed)
    make(page, "compose")
    expect(page.get_by_text("2 of 5 parts were made; the others were known")).to_be_visible()


def test_three_levels_are_saved_opened_and_changed_at_one_leaf(visit, tmp_path) -> None:
    text = "scene(texturing(instruct('mug.png', 'dark'), 'wood.png'), 'beach.png')"
    page = visit("compose")
    page.fill("#expression", text)
    with page.expect_download() as caught:
        page.get_by_text("Save", exact=True).click()
    caught.value.save_as(tmp_path / "saved.json")
    page = visit("compose")
    page.locator('#panel-compose input[accept=".json"]').set_input_files(tmp_path / "saved.json")
    expect(page.locator("#expression")).to_have_value(text)
    quick(page, "compose", steps=2, seeds="5")
    make(page, "compose")
    expect(page.get_by_text(re.compile("6 parts were made"))).to_be_visible()
    page.fill("#expression", text.replace("beach", "snow"))
    make(page, "compose")
    expect(page.get_by_text("2 of 6 parts were made; the others were known")).to_be_visible()
    page.fill("#expression", text.replace("beach", "snow").replace("wood", "gold"))
    make(page, "compose")
    expect(page.get_by_text("3 of 6 parts were made; the others were known")).to_be_visible()


def test_the_tree_is_built_by_clicking(visit) -> None:
    page = visit("compose")
    page.get_by_text("Start over").click()
    page.locator("dialog").get_by_text("texturing", exact=True).click()
    expect(page.locator("#expression")).to_have_value("texturing(_, _)")
    page.locator(".node.empty").first.get_by_text("Fill").click()
    page.locator("dialog").get_by_text("car", exact=True).click()
    expect(page.locator("#expression")).to_have_value("texturing('car.png', _)")
    page.locator(".tree > li > .node").get_by_text("Use").click()
    page.locator("dialog").get_by_text("texture", exact=True).first.click()
    expect(page.locator("#expression")).to_have_value("texturing(_, texturing('car.png', _))")


def test_numbers_of_the_tree_are_moved_by_sliders_and_texts_are_written(visit) -> None:
    page = visit("compose")
    quick(page, "compose", steps=2)
    page.fill("#expression", "texturing('mug.png', text('a red fish'))")
    strength = page.get_by_label("strength of texturing")
    expect(strength).to_have_value("1")
    make(page, "compose")
    expect(page.locator("#panel-compose .downloads a")).to_have_count(3)
    expect(page.locator("#panel-compose .node img")).to_have_count(3)
    strength.fill("0.6")  # what is made is made again at once
    moved = "texturing('mug.png', text('a red fish'), strength=0.6)"
    expect(page.locator("#expression")).to_have_value(moved)
    expect(page.locator("#panel-compose")).to_contain_text("1 of 3 parts were made")
    said = page.locator(".node", has_text="“a red fish”")
    said.get_by_role("button", name="Text", exact=True).click()
    page.locator("dialog").get_by_label("Text").fill("it's wood")
    page.locator("dialog").get_by_text("Use this").click()
    spelled = moved.replace("'a red fish'", r"'it\'s wood'")
    expect(page.locator("#expression")).to_have_value(spelled)
    page.get_by_text("Start over").click()
    page.locator("dialog").get_by_text("slerp", exact=True).click()
    expect(page.locator("#expression")).to_have_value("slerp(_, _, 0.5)")


def test_a_composition_is_copied_saved_and_opened(visit, tmp_path) -> None:
    page = visit("compose")
    text = page.locator("#expression").input_value()
    page.get_by_text("Copy as command").click()
    expect(page.get_by_text("Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("pops run ") and copied.endswith(" --seeds 18")
    expect(page.get_by_text("Copied")).to_be_hidden()
    quick(page, "compose", steps=3)  # what is set is part of what is copied next
    page.get_by_text("Copy as Python").click()
    expect(page.get_by_text("Copied")).to_be_visible()
    assert "steps=3" in page.evaluate("navigator.clipboard.readText()")
    assert "/textures/wood.png'" in copied
    with page.expect_download() as caught:
        page.get_by_text("Save", exact=True).click()
    path = tmp_path / "saved.json"
    caught.value.save_as(path)
    page.fill("#expression", "'mug.png'")
    page.locator('#panel-compose input[accept=".json"]').set_input_files(path)
    expect(page.locator("#expression")).to_have_value(text)


def test_a_job_is_cancelled_and_makes_way(visit) -> None:
    page = visit()
    quick(page, steps=250, seeds="1, 2, 3, 4, 5, 6, 7, 8")
    make(page)
    expect(page.locator("#panel-apply .progress .words")).to_contain_text("drawing: step")
    page.locator("#panel-apply .progress button").click()
    expect(page.locator("#panel-apply .progress")).to_be_hidden()
    page.get_by_label("Drawing steps").first.fill("4")
    page.get_by_label("Seeds", exact=True).fill("18")
    make(page)
    expect(page.locator(".figure a")).to_be_visible()
    expect(page.locator("#panel-apply .result")).to_have_count(1)


def test_bad_uploads_are_refused_in_one_line_and_the_input_stays(visit, tmp_path) -> None:
    files = {
        "drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG drawing"),
        "pickle.png": (pickle.dumps([1, 2]), "pickle.png is not a picture"),
        "weights.pth": (pickle.dumps([1]), "as .safetensors files only"),
        "made.safetensors": (b"no", "cut short or is not an embedding file"),
        "bomb.png": (png_that_says(30_000), "more than 100 megapixels"),
        "large.png": (bytes(21 * 2**20), "large.png is too large: at most 20 MB"),
    }
    page = visit()
    for name, (content, said) in files.items():
        (tmp_path / name).write_bytes(content)
        put(page, "object", tmp_path / name)
        expect(page.locator('[data-slot="object"] .error')).to_contain_text(said)
        expect(page.locator('[data-slot="object"] .caption')).to_have_text("Mug", ignore_case=True)
    page.locator('[data-slot="object"] .thumb[title="car"]').click()
    expect(page.locator('[data-slot="object"] .error')).to_be_hidden()


def test_two_visitors_get_their_own(visit, tmp_path) -> None:
    pages = [visit(), visit()]
    for page, name in zip(pages, ("one", "two"), strict=True):
        put(page, "object", picture(tmp_path / f"{name}.png", COLOURS[name]))
        expect(page.locator('[data-slot="object"] .caption')).to_have_text(name)
        quick(page)
    for page in pages:
        make(page)
    for page, name in zip(pages, ("one", "two"), strict=True):
        alt = f"texturing('{name}.png', 'wood.png')"
        expect(page.locator("#panel-apply .result img")).to_have_attribute("alt", alt)
    assert pixels(pages[0], "#panel-apply .result img") != pixels(
        pages[1], "#panel-apply .result img"
    )
    pages[1].click("#tab-compose")
    pages[1].fill("#expression", "texturing('one.png', _)")
    expect(pages[1].locator(".fault .error")).to_contain_text("no picture 'one.png'")


def test_a_grid_fills_and_is_one_figure(visit) -> None:
    page = visit("grid")
    quick(page, "grid", steps=2)
    for side in ("rows", "columns"):
        page.locator(f'[data-side="{side}"] .wrapped .thumb').first.click()  # one fewer
    page.get_by_label("Show the mean").check()
    expect(page.locator("#panel-grid .primary")).to_have_text("Make the grid of 2 \u00d7 2")
    make(page, "grid")
    expect(page.locator(".table td img")).to_have_count(8)
    expect(page.locator(".table > a")).to_have_count(2)


def enlarge(page: Page, place: str) -> None:
    page.locator(f"{place} .enlarge").first.click()
    expect(page.locator("dialog.viewer img").first).to_be_visible()


def test_a_cell_of_a_grid_is_made_large_and_becomes_an_input(visit) -> None:
    page = visit("grid")
    quick(page, "grid", steps=1)
    make(page, "grid")
    expect(page.locator(".table > a")).to_have_count(1)
    enlarge(page, ".table td")
    shown = page.locator("dialog.viewer code")
    expect(shown).to_have_text("texturing('car.png', 'gold.png')")
    for key, words in (
        ("ArrowRight", "texturing('car.png', 'wood.png')"),
        ("End", "texturing('rabbit.png', 'zebra.png')"),
        ("ArrowRight", "texturing('car.png', 'gold.png')"),
        ("ArrowLeft", "texturing('rabbit.png', 'zebra.png')"),
    ):
        page.keyboard.press(key)
        expect(shown).to_have_text(words)
    expect(page.locator("dialog.viewer .moves")).to_have_text("9 of 9")
    page.locator("dialog.viewer").get_by_text("Use as input").click()
    expect(page.locator("dialog.viewer")).to_have_count(0)
    page.locator("dialog").get_by_text("rows", exact=True).click()
    expect(page.locator("#panel-grid .primary")).to_have_text("Make the grid of 4 \u00d7 3")
    enlarge(page, ".table td")
    page.locator("dialog.viewer").get_by_text("Use as input").click()
    page.locator("dialog").get_by_text("object", exact=True).first.click()
    expect(page.locator("#panel-apply")).to_be_visible()
    expect(page.locator('[data-slot="object"] .caption')).to_contain_text("seed 18")
    page.locator("#panel-apply .primary").click()
    nested = "texturing(texturing('car.png', 'gold.png'), 'wood.png')"
    expect(page.locator("#panel-apply .result img").first).to_have_attribute("alt", nested)


def test_results_are_listed_with_favourites_and_compared_and_outlive_a_reload(visit) -> None:
    page = visit()
    quick(page, steps=1, seeds="1, 2, 3")
    make(page)
    expect(page.locator(".figure a")).to_be_visible()
    page.locator("#panel-apply .result").nth(1).get_by_label("Favourite").click()
    page.click("#tab-history")
    cards = page.locator("#panel-history .result")
    expect(cards).to_have_count(3)
    expect(cards.first.locator("figcaption")).to_contain_text("seed 3")  # the newest
    compare = page.locator("#panel-history .bar").get_by_text(re.compile("^Compare"))
    expect(compare).to_be_disabled()
    for at in (0, 2):
        cards.nth(at).get_by_label("Compare").check()
    compare.click()
    expect(page.locator("dialog.viewer img")).to_have_count(2)
    expect(page.locator("dialog.viewer figcaption")).to_contain_text(["seed 3", "seed 1"])
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    page.reload()
    page.wait_for_selector("html[data-ready]")
    expect(cards).to_have_count(3)
    page.get_by_role("radio", name="favourites").click()
    expect(cards).to_have_count(1)
    expect(cards.get_by_label("Favourite")).to_have_attribute("aria-pressed", "true")
    expect(cards.locator("figcaption")).to_contain_text("seed 2")
    page.get_by_text("Clear all but favourites").click()
    page.get_by_role("radio", name="all").click()
    expect(cards).to_have_count(1)


def test_a_result_of_the_history_is_a_part_of_a_composition(visit) -> None:
    page = visit()
    quick(page, steps=1)
    make(page)
    expect(page.locator(".figure a")).to_be_visible()
    page.click("#tab-compose")
    page.locator(".node[data-expression=\"'mug.png'\"]").get_by_text("Change").click()
    page.locator("dialog").get_by_text("seed 18", exact=True).click()
    name = "texturing_mug_wood_s18.safetensors"
    expect(page.locator("#expression")).to_have_value(re.compile(f"'{name}'"))
    quick(page, "compose", steps=1)
    make(page, "compose")
    expect(page.locator("#panel-compose .downloads a")).to_have_count(3)
    expect(page.get_by_text(f"What is copied names {name}")).to_be_visible()
    enlarge(page, "#panel-compose .node")
    expect(page.locator("dialog.viewer .moves")).to_contain_text("of ")


def test_pictures_are_found_by_a_picture_by_words_and_by_a_result(visit, served) -> None:
    engine = served[1].engine
    said = engine.text("a purple hat", seeds=[18])
    ((nearest,),) = Index(engine.stack.spec.index).find(said.image_embeds, 1)
    page = visit("find")
    page.locator('[data-slot="picture"] .thumb[title="car"]').click()
    page.get_by_label("Pictures", exact=True).fill("3")
    make(page, "find")
    found = page.locator("#panel-find .result figcaption")
    expect(found).to_have_count(3)
    expect(found.first).to_have_text("1: car (1.000)")
    page.get_by_role("radio", name="words").click()
    page.get_by_label("Words", exact=True).fill("a purple hat")
    make(page, "find")
    expect(found).to_have_count(3)
    expect(found.first).to_have_text(f"1: {nearest.path.stem} ({nearest.score:.3f})")
    page.click("#tab-apply")
    quick(page, steps=1)
    make(page)
    expect(page.locator(".figure a")).to_be_visible()
    page.locator("#panel-apply .result").get_by_text("Find").click()
    expect(page.locator("#panel-find")).to_be_visible()
    expect(found.first).to_contain_text("1: mug")
    page.locator("#panel-find .result").first.get_by_text("Use as input").click()
    page.locator("dialog").get_by_text("object", exact=True).first.click()
    expect(page.locator('[data-slot="object"] .caption')).to_have_text("mug")


DEEP = "'mug.png'"
for _texture in ("wood", "gold", "zebra", "ice", "lava", "brick"):
    DEEP = f"texturing({DEEP}, '{_texture}.png')"


@pytest.mark.parametrize("text", ["texturing('mug.png', 'wood.png')", DEEP])
def test_the_result_of_any_tree_is_in_sight(text: str, visit) -> None:
    page = visit("compose")
    page.fill("#expression", text)
    expect(page.locator(f'.node[data-expression="{text}"]')).to_be_visible()
    result = page.locator(".tree > li > .node").bounding_box()
    forest = page.locator(".forest").bounding_box()
    assert forest["x"] <= result["x"]
    assert result["x"] + result["width"] <= forest["x"] + forest["width"] + 1
    widths = "(all) => all.map((one) => one.offsetWidth)"
    sliders = page.eval_on_selector_all(".node .slider input", widths)
    assert sliders and min(sliders) >= 70  # wide enough to be moved


def test_a_renderer_s_name_is_not_cut_off(visit) -> None:
    for tab in ("apply", "compose", "grid"):
        page = visit(tab)
        panel = page.locator(f"#panel-{tab}")
        panel.locator(".settings summary").click()
        needs, has = panel.get_by_label("Renderer").evaluate(
            """(box) => {
                 const probe = document.body.appendChild(document.createElement('span'));
                 probe.style.font = getComputedStyle(box).font;
                 probe.textContent = box.selectedOptions[0].textContent;
                 const width = probe.getBoundingClientRect().width;
                 probe.remove();
                 const { paddingLeft, paddingRight } = getComputedStyle(box);
                 const room = box.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight);
                 return [width, room - 16];  // of which the arrow takes its part
               }"""
        )
        assert needs <= has


def test_a_picture_to_start_from_is_asked_for_by_the_renderer_that_takes_one(
    visit, tmp_path
) -> None:
    page = visit()
    quick(page)
    settings = page.locator("#panel-apply .settings")
    settings.locator("details").evaluate("(box) => (box.open = true)")
    start = settings.get_by_label("Start from")
    expect(start).to_be_hidden()
    settings.get_by_label("Renderer").select_option("img2img")
    expect(settings.get_by_label("Mask")).to_be_hidden()
    settings.get_by_label("Change").fill("0.6")
    drawn = []
    for colour in ("teal", "maroon"):  # no example has such a name
        start.set_input_files(picture(tmp_path / f"{colour}.png", colour))
        expect(settings.locator(".chosen img")).to_have_attribute("alt", colour)
        make(page)
        expect(page.locator(".figure a")).to_be_visible()
        drawn.append(pixels(page, "#panel-apply .result img"))
    assert drawn[0] != drawn[1]
    settings.get_by_label("Renderer").select_option("kandinsky")
    expect(start).to_be_hidden()
    make(page)
    expect(page.locator(".figure a")).to_be_visible()  # nothing is sent that it does not take


def test_a_picture_to_start_from_is_copied_saved_and_opened(visit, tmp_path) -> None:
    page = visit("compose")
    settings = page.locator("#panel-compose .settings")
    settings.locator("details").evaluate("(box) => (box.open = true)")
    settings.get_by_label("Renderer").select_option("img2img")
    settings.get_by_label("Start from").set_input_files(picture(tmp_path / "teal.png", "teal"))
    expect(page.get_by_text("What is copied names teal.png")).to_be_visible()
    page.get_by_text("Copy as command").click()
    expect(page.get_by_text("Copied", exact=True)).to_be_visible()
    assert "--init teal.png" in page.evaluate("navigator.clipboard.readText()")
    with page.expect_download() as caught:
        page.get_by_text("Save", exact=True).click()
    caught.value.save_as(tmp_path / "saved.json")
    page.reload()
    page.locator('#panel-compose input[accept=".json"]').set_input_files(tmp_path / "saved.json")
    expect(settings.locator(".chosen img")).to_have_attribute("alt", "teal")
    expect(settings.get_by_label("Renderer")).to_have_value("img2img")


def test_samplers_are_those_of_the_server(visit) -> None:
    from pops.settings.sampling import SAMPLERS

    page = visit()
    options = page.locator("#panel-apply").get_by_label("Sampler").locator("option")
    expect(options).to_have_text(list(SAMPLERS))


@pytest.mark.parametrize("tab", ["apply", "compose", "grid", "find", "history", "about"])
def test_nothing_is_wider_than_a_phone(tab: str, visit) -> None:
    page = visit(tab, PHONE, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    if tab == "apply":
        quick(page)
        make(page)
        expect(page.locator(".figure a")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_the_keyboard_alone_is_enough(visit) -> None:
    page = visit()
    quick(page)
    page.locator("#tab-apply").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#panel-compose")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    page.locator('[data-slot="texture"] .thumb[title="gold"]').focus()
    page.keyboard.press("Enter")
    page.locator("#panel-apply .primary").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#panel-apply .result img")).to_have_attribute(
        "alt", "texturing('mug.png', 'gold.png')"
    )
    page.locator("#panel-apply .result").get_by_text("Use as input").focus()
    page.keyboard.press("Enter")
    expect(page.locator("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)


def test_what_can_be_pressed_has_a_name_and_pictures_have_words(visit) -> None:
    page = visit()
    for tab in ("apply", "compose", "grid", "find", "history", "about"):
        page.click(f"#tab-{tab}")
        nameless = page.evaluate(
            """[...document.querySelectorAll('button, a, input, textarea, select, img')]
               .filter((e) => e.offsetParent && !e.ariaHidden)
               .filter((e) => !(e.textContent.trim() || e.ariaLabel || e.title || e.labels?.length
                 || e.placeholder || e.hasAttribute('alt') || e.querySelector('img[alt]')))
               .map((e) => e.outerHTML)"""
        )
        assert nameless == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_their_ground(scheme: str, visit) -> None:
    """A contrast of 4.5 to 1 for ink and for what is said softly (WCAG 2, level AA)."""
    page = visit(color_scheme=scheme)
    colours = page.evaluate(
        """() => ['ink', 'soft', 'accent', 'bad', 'paper'].map((name) => {
             const probe = document.body.appendChild(document.createElement('i'));
             probe.style.color = `var(--${name})`;
             return getComputedStyle(probe).color.match(/[\\d.]+/g).map(Number);
           })"""
    )
    *words, ground = [_luminance(colour) for colour in colours]
    assert all((max(word, ground) + 0.05) / (min(word, ground) + 0.05) >= 4.5 for word in words)


def _luminance(colour: list[float]) -> float:
    parts = [value / 255 for value in colour[:3]]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_colours_can_be_chosen_and_are_kept(visit) -> None:
    page = visit(color_scheme="light")
    page.click("#theme")
    page.click("#theme")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(23, 24, 26)"
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_the_password_opens_the_studio(browser: Browser) -> None:
    with running(password="open sesame") as (url, _):
        context = browser.new_context(viewport=PHONE)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(url)
        for given in ("guess", "open sesame"):
            page.get_by_label("Password").fill(given)
            page.get_by_role("button").click()
            if given == "guess":
                expect(page.get_by_text("That is not the password.")).to_be_visible()
                expect(page.get_by_text("Too many wrong passwords")).to_be_hidden()
        page.wait_for_selector("html[data-ready]")
        expect(page.locator("#panel-apply .primary")).to_be_visible()
        context.close()


def test_a_page_that_is_left_cancels_its_job(visit, served) -> None:
    page = visit()
    quick(page, steps=250, seeds="1, 2, 3, 4, 5, 6, 7, 8")
    make(page)
    expect(page.locator("#panel-apply .progress .words")).to_contain_text("drawing: step")
    page.close()
    after = served[1].queue.submit(lambda job: None)
    for _ in range(200):
        if after.ended:
            break
        time.sleep(0.1)
    assert after.ended
