"""User studies: blinded pages, and what is made of the answers."""

import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from pops.cli import main as cli
from pops.evaluation.study.report import agreement
from pops.io.files import folder_lock

Capture = pytest.CaptureFixture[str]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
COLOURS = {"a": "red", "b": "blue"}


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for folder, colour in COLOURS.items():
        for number in range(6):
            path = tmp_path / folder / "sub" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), colour).save(path)
    Image.new("RGB", (8, 8), "gray").save(tmp_path / "a" / "alone.png")
    return tmp_path


def make(root: Path, *more: str) -> Path:
    out = root / "study"
    folders = [str(root / "a"), str(root / "b")]
    assert cli.main(["eval", "study", *folders, f"--out={out}", *more]) == 0
    return out


def shown(out: Path) -> dict[str, object]:
    page = (out / "page" / "index.html").read_text()
    found: dict[str, object] = json.loads(re.search(r"const STUDY = (\{.*\});", page)[1])  # type: ignore[index]
    return found


def test_a_study_shows_every_pair_and_does_not_tell_who_made_what(folders: Path) -> None:
    out = make(folders, "--question=Which is </script> better?")
    page = (out / "page" / "index.html").read_text()
    study, key = shown(out), json.loads((out / "key.json").read_text())
    assert study["question"] == "Which is </script> better?" and page.count("</script>") == 1
    assert len(study["pairs"]) == 6 == len(key["pairs"])  # type: ignore[arg-type]
    for word in (str(folders), "first", "second", "sub/"):
        assert word not in json.dumps(study)
    lefts = set()
    for pair in study["pairs"]:  # type: ignore[attr-defined]
        sides = key["pairs"][pair["id"]]
        lefts.add(sides["left"])
        for side in ("left", "right"):
            with Image.open(out / "page" / "pictures" / pair[side]) as picture:
                wanted = COLOURS["a" if sides[side] == "first" else "b"]
                assert picture.getpixel((0, 0)) == Image.new("RGB", (1, 1), wanted).getpixel((0, 0))
    assert lefts == {"first", "second"}


def test_a_count_draws_some_pairs_and_a_study_is_not_overwritten(
    folders: Path, capsys: Capture
) -> None:
    out = make(folders, "--count=3")
    assert len(shown(out)["pairs"]) == 3  # type: ignore[arg-type]
    assert cli.main(["eval", "study", str(folders / "a"), str(folders / "b"), f"--out={out}"]) == 2
    assert "holds a study already" in capsys.readouterr().err


def answer(out: Path, rater: str, methods: list[str]) -> None:
    key = json.loads((out / "key.json").read_text())
    answers = {}
    for (pair, sides), method in zip(key["pairs"].items(), methods, strict=False):
        side = {sides["left"]: "left", sides["right"]: "right"}.get(method, "same")
        answers[pair] = side
    sent = {"study": key["study"], "rater": rater, "answers": answers}
    (out / "answers" / f"{rater}.json").write_text(json.dumps(sent))


def report(out: Path, capsys: Capture) -> dict[str, object]:
    capsys.readouterr()
    assert cli.main(["eval", "study-report", str(out), "--json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def test_two_pictures_of_one_name_are_named_and_hidden_files_are_passed_over(
    folders: Path, capsys: Capture
) -> None:
    (folders / "a" / "sub" / "._0.png").write_bytes(b"left by a system")
    make(folders)
    shutil.rmtree(folders / "study")
    Image.new("RGB", (8, 8), "gray").save(folders / "a" / "sub" / "0.jpg")
    out = f"--out={folders / 'study'}"
    assert cli.main(["eval", "study", str(folders / "a"), str(folders / "b"), out]) == 1
    said = capsys.readouterr().err
    assert "sub/0.jpg and " in said and "sub/0.png have one name but for its ending" in said
    assert not (folders / "study").exists()


def test_a_study_that_cannot_be_made_leaves_nothing_and_two_at_once_are_not_mixed_up(
    folders: Path, capsys: Capture
) -> None:
    given = ["eval", "study", str(folders / "a"), str(folders / "b"), f"--out={folders / 'study'}"]
    whole = (folders / "a" / "sub" / "5.png").read_bytes()
    (folders / "a" / "sub" / "5.png").write_bytes(whole[:40])
    assert cli.main(given) == 1 and "5.png" in capsys.readouterr().err
    assert not (folders / "study").exists()
    (folders / "a" / "sub" / "5.png").write_bytes(whole)
    with folder_lock(folders / "study"):
        assert cli.main(given) == 2
        assert "another run is at work" in capsys.readouterr().err
    assert cli.main(given) == 0
    names = sorted(path.name for path in (folders / "study").iterdir())
    assert names == [".lock", "answers", "key.json", "page"]


def test_a_report_counts_methods_not_sides(folders: Path, capsys: Capture) -> None:
    out = make(folders)
    answer(out, "ann", ["first"] * 5 + ["same"])
    answer(out, "bob", ["first"] * 4 + ["second", "same"])
    found = report(out, capsys)
    shares, preferred = found["shares"], found["preferred"]
    assert [shares[name]["count"] for name in ("first", "second", "same")] == [9, 1, 2]  # type: ignore[index]
    assert preferred["first"]["share"] == 0.9  # type: ignore[index]
    low, high = preferred["first"]["low"], preferred["first"]["high"]  # type: ignore[index]
    assert (round(low, 3), round(high, 3)) == (0.596, 0.982)  # Wilson, by hand
    assert found["raters"] == 2 and found["answers"] == 12
    assert 0.4 < found["agreement"] < 1.0  # type: ignore[operator]


def test_answers_of_another_study_or_twice_are_refused(folders: Path, capsys: Capture) -> None:
    out = make(folders)
    answer(out, "ann", ["first"] * 6)
    (out / "answers" / "copy.json").write_text((out / "answers" / "ann.json").read_text())
    assert cli.main(["eval", "study-report", str(out)]) == 1
    assert "ann has answered already" in capsys.readouterr().err
    (out / "answers" / "copy.json").write_text('{"study": "x", "rater": "z", "answers": {}}')
    assert cli.main(["eval", "study-report", str(out)]) == 1
    assert "belongs to another study" in capsys.readouterr().err


def test_agreement_is_krippendorffs_alpha() -> None:
    pairs = [str(i) for i in range(4)]
    first = dict(zip(pairs, ["first", "second", "first", "same"], strict=True))
    assert agreement([first, first], pairs) == 1.0
    assert agreement([first], pairs) is None
    assert agreement([dict.fromkeys(pairs, "first")] * 2, pairs) is None
    # Of 4 pairs 3 agree; by hand: 1 - observed 2/8 over expected 1 - (3*2 + 3*2 + 2*1) / (8*7)
    other = {**first, "2": "second"}
    expected = 1 - (3 * 2 + 3 * 2 + 2 * 1) / (8 * 7)
    assert agreement([first, other], pairs) == pytest.approx(1 - 0.25 / expected)


@pytest.mark.browser
def test_a_rater_answers_by_keyboard_goes_on_after_a_reload_and_saves(folders: Path) -> None:
    from playwright.sync_api import sync_playwright

    out = make(folders)
    address = (out / "page" / "index.html").resolve().as_uri()
    with sync_playwright() as playwright:
        found = next(filter(None, map(shutil.which, BROWSERS)), None)
        assert found, "no browser: apt-get install chromium"
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = browser.new_page(accept_downloads=True)
        page.set_default_timeout(90_000)  # two cores may be shared
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(address)
        page.fill("#rater", "Ann B.")
        page.click("text=Begin")
        page.wait_for_selector("#left")
        for key in ("ArrowLeft", "ArrowRight", "ArrowDown", "Backspace"):
            page.keyboard.press(key)
        for _ in range(3):  # held, so that it repeats
            page.keyboard.down("ArrowLeft")
        page.keyboard.up("ArrowLeft")
        assert page.inner_text("#count").startswith("4 of 6")
        assert page.eval_on_selector(
            "#left", "image => image.decode().then(() => image.naturalWidth)"
        )
        page.reload()
        page.fill("#rater", "Ann B.")
        page.click("text=Begin")
        assert page.inner_text("#count").startswith("4 of 6")
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        with page.expect_download() as download:
            page.click("text=Save the answers")
        assert download.value.suggested_filename == "answers-ann-b-.json"
        download.value.save_as(out / "answers" / "ann.json")
        browser.close()
    assert not faults
    sent = json.loads((out / "answers" / "ann.json").read_text())
    words = sorted(sent["answers"].values())
    assert sent["rater"] == "Ann B." and words == ["left"] * 2 + ["right"] * 4
