"""The report as a reader meets it: in a headless Chromium, from disk."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from report_results import FRAMES, FlatFrames, colour_of, result

from codec import registry
from codec.evaluation import compare
from codec.metrics import spec_of
from codec.report import Preview, make_preview
from codec.report.page import report_page

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="no playwright: pip install -e '.[dev]'"
)
from browser import opened  # noqa: E402

WIDTHS = (1280, 400)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report whose frames are of one colour each."""
    file = tmp_path_factory.mktemp("page") / "report.html"
    preview = make_preview(result(), FlatFrames(), ["ours", "x265"])
    file.write_text(
        report_page(result(), compare(result(), ["x265"], ["ours"]), preview), encoding="utf-8"
    )
    return file


def looked_at(page: sync_api.Page) -> sync_api.Page:
    """With the comparison on the screen and decoded."""
    page.locator("#compare").scroll_into_view_if_needed()
    page.locator(".stage .wait").wait_for(state="hidden")
    return page


def colour_at(page: sync_api.Page, x: float, y: float = 0.25) -> tuple[int, ...]:
    """The canvas's colour at a place in 0..1 of it."""
    script = """([x, y]) => { const canvas = document.querySelector(".stage canvas");
        const context = canvas.getContext("2d");
        const pixel = context.getImageData(x * canvas.width, y * canvas.height, 1, 1);
        return [...pixel.data].slice(0, 3); }"""
    return tuple(page.evaluate(script, [x, y]))


def is_frame(found: tuple[int, ...], what: str, frame: int) -> bool:
    """Whether a colour is that frame's, but for rounding."""
    return all(abs(a - b) <= 4 for a, b in zip(found, colour_of(what, frame), strict=True))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_it_opens_and_fits(browser: sync_api.Browser, report: Path, width: int, scheme: str):
    """Catches console errors, requests, a page that scrolls sideways, and a scheme that is not
    followed.
    """
    with opened(
        browser, report, viewport={"width": width, "height": 900}, color_scheme=scheme
    ) as page:
        looked_at(page)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        red = (
            page.evaluate("getComputedStyle(document.body).backgroundColor")
            .split("(")[1]
            .split(",")[0]
        )
        assert (int(red) > 128) == (scheme == "light")
        assert page.locator("#curves-chart [data-series]").count() == 2


def test_a_curve_hides_and_its_values_are_told(browser: sync_api.Browser, report: Path):
    """Catches a name that hides another curve or one of another chart, a log switch that does
    nothing, unreachable values.
    """
    with opened(browser, report) as page:
        name = page.locator("#curves .legend button", has_text="x265")
        name.press("Enter")
        assert name.get_attribute("aria-pressed") == "false"
        assert page.locator("#curves-chart [data-series]").all_inner_texts() != []
        for chart, drawn in (("curves", 0), ("complexity", 1), ("time-bits", 1)):
            assert page.locator(f"#{chart} [data-series='x265']").count() == drawn
            assert page.locator(f"#{chart} [data-series='ours']").count() == 1
        rule = page.locator("#curves-rule")
        assert "against x265" not in rule.inner_text()
        name.click()
        assert "ours +50.0 % against x265" in rule.inner_text()
        before = page.locator("#curves-chart svg.plot path").first.get_attribute("d")
        page.get_by_label("log rate axis").press("Space")
        assert (
            page.locator("#curves-chart svg.plot [data-series] path").first.get_attribute("d")
            != before
        )
        page.locator("#curves-controls select").first.select_option("one_1")
        page.locator("#curves-chart svg.plot").focus()
        page.keyboard.press("ArrowRight")
        tip = page.locator("#curves-chart .tip")
        assert "ours, quality 0" in tip.inner_text() and "PSNR RGB 30 dB" in tip.inner_text()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowRight")
        assert "x265, quality 1" in tip.inner_text()
        page.locator("#curves-chart [data-series='ours'] circle").last.hover()
        assert "ours, quality 3" in tip.inner_text()


def test_frames_are_told_by_their_number(browser: sync_api.Browser, report: Path):
    """Catches scores of every second frame drawn as if of every frame, and bits that are bytes."""
    with opened(browser, report) as page:
        for chart, said in (
            ("bits", "ours 2, frame 1\n2.4 kbit"),
            ("quality", "ours 2, frame 2\n0.2"),
        ):
            page.locator("#time-controls select").last.select_option("lpips_alex")
            page.locator(f"#time-{chart} svg.plot").focus()
            page.keyboard.press("ArrowRight")
            page.keyboard.press("ArrowRight")
            assert page.locator(f"#time-{chart} .tip").inner_text().strip() == said


def test_frames_are_of_the_metric_s_tuning(browser: sync_api.Browser, report: Path):
    """Catches PSNR of the psycho-visual tuning, bits of another file than the quality, and a
    caption that says other points.
    """
    with opened(browser, report) as page:
        fair = (("psnr_rgb", "psnr", 3, 2400, r"\+33"), ("lpips_alex", "default", 2, 1320, "−27"))
        for metric, tune, quality, rate, gap in fair:
            page.locator("#time-controls select").last.select_option(metric)
            said = page.locator("#time-rule").inner_text()
            assert re.search(
                rf"ours 2 \([\d.]+ bpp\); x265 {quality} \([\d.]+ bpp, {gap} %, tune {tune}\)", said
            )
            page.locator("#time-bits svg.plot").focus()
            page.keyboard.press("ArrowRight")
            page.keyboard.press("ArrowDown")
            page.keyboard.press("ArrowLeft")
            tip = page.locator("#time-bits .tip").inner_text()
            assert (
                f"x265 {quality}, frame 0" in tip
                and f"{8 * (rate // FRAMES) / 1000:.3g} kbit" in tip
            )


def test_a_mean_is_over_the_clips_that_have_the_metric(browser: sync_api.Browser, tmp_path: Path):
    """Catches no mean at all where one clip is too small for a metric, and a mean that does not say
    over what it is.
    """
    made = result()
    scores = {p.place: None if p.clip == "one_1" else 0.9 + p.quality / 50 for p in made.points}
    made = replace(
        made,
        points=[replace(p, metrics=p.metrics | {"ms_ssim": scores[p.place]}) for p in made.points],
    )
    (tmp_path / "report.html").write_text(
        report_page(made, compare(made, ["x265"], ["ours"]), Preview()), encoding="utf-8"
    )
    with opened(browser, tmp_path / "report.html") as page:
        assert "over 1 of 2 clips" not in page.locator("#curves-rule").inner_text()
        page.locator("#curves-controls select").last.select_option("ms_ssim")
        assert page.locator("#curves-chart [data-series='x265'] rect").count() == 4
        assert (
            "over 1 of 2 clips: not every codec has MS-SSIM RGB on the others"
            in page.locator("#curves-rule").inner_text()
        )


def test_the_comparison_is_there_before_it_is_scrolled_to(browser: sync_api.Browser, report: Path):
    """Catches empty lists and 'decoding …' in what is printed or photographed whole, and rates that
    are silently unequal.
    """
    with opened(browser, report) as page:
        assert page.locator("#compare-tool select").nth(2).input_value() == "ours"
        page.locator(".stage .wait").wait_for(state="hidden")
        assert page.evaluate("scrollY") == 0 and is_frame(colour_at(page, 0.4), "ours", 0)
        assert page.locator(".tag.left").inner_text() == "ours 0, 0.195 bpp"
        ratio = page.locator(".facts .ratio.bad")
        assert "0.733 (−27 %), so this is no comparison at equal rate" in ratio.inner_text()
        page.get_by_label("Right").select_option("source")
        page.locator(".facts", has_text="original").wait_for()
        assert ratio.count() == 0


@pytest.mark.parametrize("width", WIDTHS)
def test_the_summary_fits_with_all_metrics(browser: sync_api.Browser, tmp_path: Path, width: int):
    """Catches columns that are cut, with nothing that says so, where there are as many metrics as
    we have.
    """
    made = result()
    specs = {name: spec_of(name) for name in registry.names_of("metric")}
    scores = {name: 33.0 if spec.best is None else 0.5 for name, spec in specs.items()}
    points = [
        replace(p, metrics={name: value * (0.9 + p.quality / 50) for name, value in scores.items()})
        for p in made.points
    ]
    made = replace(made, points=points)
    (tmp_path / "report.html").write_text(
        report_page(made, compare(made, ["x265"], ["ours"]), Preview()), encoding="utf-8"
    )
    with opened(
        browser, tmp_path / "report.html", viewport={"width": width, "height": 900}
    ) as page:
        assert page.locator(".overview").first.locator("td").count() == len(specs)
        wider = """[...document.querySelectorAll("#summary .scroll")]
            .filter((one) => one.scrollWidth > one.clientWidth).length"""
        assert page.evaluate(wider) == 0


def test_the_slider_moves(browser: sync_api.Browser, report: Path):
    """Catches a split that shows one side twice, sides mixed up, and colours that are not the
    decoder's.
    """
    with opened(browser, report) as page:
        looked_at(page)
        assert is_frame(colour_at(page, 0.4), "ours", 0) and is_frame(
            colour_at(page, 0.6), "x265", 0
        )
        slider = page.locator("#split")
        slider.focus()
        for _ in range(25):
            page.keyboard.press("ArrowRight")
        assert slider.input_value() == "75" and is_frame(colour_at(page, 0.6), "ours", 0)
        box = page.locator(".stage canvas").bounding_box()
        page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + box["height"] / 2)
        page.mouse.down()
        page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + box["height"] / 2)
        page.mouse.up()
        assert slider.input_value() == "30" and is_frame(colour_at(page, 0.4), "x265", 0)


def test_frames_step_and_play(browser: sync_api.Browser, report: Path):
    """Catches frames out of order, a video that does not play or does not stop, and keys that do
    nothing.
    """
    with opened(browser, report) as page:
        canvas = looked_at(page).locator(".stage canvas")
        canvas.focus()
        for frame in range(1, FRAMES):
            page.keyboard.press("ArrowRight")
            assert is_frame(colour_at(page, 0.3), "ours", frame) and is_frame(
                colour_at(page, 0.7), "x265", frame
            )
        page.keyboard.press("ArrowRight")
        assert page.locator(".transport output").inner_text() == f"1 / {FRAMES}"
        seen = "() => document.querySelector('.transport output').textContent"
        page.locator("#play").click()
        page.wait_for_function(f"({seen})().startsWith('3')")
        page.wait_for_function(f"({seen})().startsWith('1')")
        page.locator("#play").click()
        stopped = page.evaluate(seen)
        page.wait_for_timeout(200)
        assert page.evaluate(seen) == stopped


def test_every_view_shows_what_it_says(browser: sync_api.Browser, report: Path):
    """Catches a difference that is not one, flicker that does not change, sides mixed up, and an
    original that is missing.
    """
    with opened(browser, report) as page:
        looked_at(page)
        page.get_by_label("View").select_option("side")
        assert is_frame(colour_at(page, 0.25), "ours", 0) and is_frame(
            colour_at(page, 0.75), "x265", 0
        )
        page.get_by_label("Right").select_option("source")
        page.locator(".facts", has_text="original").wait_for()
        assert is_frame(colour_at(page, 0.75), "source", 0)
        page.get_by_label("View").select_option("difference")
        page.get_by_label("Amplified").select_option("1")
        expected = [
            abs(a - b) for a, b in zip(colour_of("ours", 0), colour_of("source", 0), strict=True)
        ]
        assert all(abs(a - b) <= 8 for a, b in zip(colour_at(page, 0.5), expected, strict=True))
        page.get_by_label("View").select_option("flicker")
        for name in ("original", "ours"):
            page.wait_for_function(
                f"document.querySelector('.stage .tag.left').textContent.startsWith('{name}')"
            )
        page.get_by_label("View").select_option("split")
        page.locator(".stage canvas").focus()
        page.keyboard.press("+")
        assert page.get_by_label("Zoom").input_value() == "2"


def test_everything_has_a_name_and_is_reached_by_tab(browser: sync_api.Browser, report: Path):
    """Catches a control that a screen reader cannot name or a keyboard cannot reach."""
    with opened(browser, report) as page:
        looked_at(page)
        nameless = """[...document.querySelectorAll("select, button, input, canvas, svg.plot")]
            .filter((one) => !(one.getAttribute("aria-label") || one.labels?.length
                || one.textContent.trim())).map((one) => one.outerHTML)"""
        assert page.evaluate(nameless) == []
        wanted = page.evaluate("""[...document.querySelectorAll(
                "a, select, button, input, .stage canvas, svg.plot, summary")]
            .filter((one) => one.checkVisibility()).length""")
        page.evaluate(
            "document.activeElement.blur(); window.scrollTo(0, 0); window.seen = new Set()"
        )
        for _ in range(wanted + 5):
            page.keyboard.press("Tab")
            page.evaluate("seen.add(document.activeElement)")
        assert page.evaluate("seen.size - seen.has(document.body)") >= wanted
