"""What a person sees, in a headless Chromium: ``pytest -m browser``, with ``--basetemp`` to keep the pictures.

The site of stand-ins from `test_site`, and the real one if `make report` has made it; JupyterLab on 01.
"""

import pytest

from tests.conftest import SOURCE
from tests.tools.browser import CHROMIUM, NOTEBOOK, Browser, free_port, lab_options, listens, run_all, until
from tests.tools.test_site import built  # noqa: F401  (a fixture)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on the PATH"),
]

SEEN = """(() => {
    const drawn = element => { const box = element.getBoundingClientRect(); return box.width > 0 && box.height > 0 };
    const wide = [...document.querySelectorAll('main > *')].filter(e => e.getBoundingClientRect().right > innerWidth);
    return {
        formulas: document.querySelectorAll('math').length,
        unseen: [...document.querySelectorAll('math')].filter(math => !drawn(math)).length,
        faulty: document.querySelectorAll('merror').length,
        pictures: document.images.length,
        missing: [...document.images].filter(image => !(image.naturalWidth && drawn(image))).length,
        font: !document.querySelector('math') || [...document.fonts].some(font => font.status == 'loaded'),
        overflow: document.documentElement.scrollWidth > innerWidth || wide.length > 0,
    }
})()"""

MENU = """(() => {  // contents before its button was pressed, after, and after a press in it
    const menu = document.querySelector('#contents'), shown = () => menu.getBoundingClientRect().width > 0;
    const told = [shown()];
    for (const pressed of [document.querySelector('header button'), menu]) { pressed.click(); told.push(shown()) }
    return told;
})()"""


@pytest.fixture
def browser(tmp_path):
    browser = Browser(tmp_path / "browser")
    yield browser
    browser.close()


@pytest.fixture(params=["stand-ins", "make report"])
def folder(request):
    if request.param == "stand-ins":
        return request.getfixturevalue("built")
    if not (SOURCE / "site").exists():
        pytest.skip("no site/; `make report` makes it")
    return SOURCE / "site"


def test_pages_show_everything_from_a_folder_without_network(folder, browser, tmp_path):
    """No word in the console, formulas and pictures drawn, nothing beyond the edge of a wide or a narrow window."""
    formulas = pictures = 0
    for path in sorted(folder.glob("*.html")):
        for width in (1400, 390):
            browser.resize(width, 900)
            browser.open(path.as_uri())
            browser.evaluate("document.fonts.ready.then(() => true)")
            seen = browser.evaluate(SEEN)
            good = {"unseen": 0, "faulty": 0, "missing": 0, "font": True, "overflow": False}
            assert {name: seen[name] for name in good} == good, (path.name, width)
            narrow = width < 1000
            assert browser.evaluate(MENU) == [not narrow, True, not narrow], (path.name, width)
            browser.picture(tmp_path / f"{path.stem}-{width}.png")
        formulas, pictures = formulas + seen["formulas"], pictures + seen["pictures"]
    assert formulas > 100 and pictures > 10
    assert not browser.complaints
    assert {address.split(":")[0] for address in browser.requests} <= {"file", "data"}


def test_in_jupyterlab_the_toy_runs_and_a_slider_redraws_its_figure(project, browser, tmp_path):
    """With the command of `make lab`, a port and a token of its own, and no window."""
    port = free_port()
    (line,) = [line.split() for line in (SOURCE / "Makefile").read_text().splitlines() if "\tjupyter lab" in line]
    server = project.start(*line, *lab_options(port, tmp_path))
    try:
        until(lambda: listens(port), 120)
        run_all(browser, port, next(project.root.glob("notebooks/01_*.ipynb")).name)
        assert browser.evaluate(f"{NOTEBOOK}.content.model.cells.length") > 20
        code = f"{NOTEBOOK}.content.widgets.filter(cell => cell.model.type == 'code')"
        assert browser.evaluate(f"{code}.every(cell => cell.model.executionCount > 0)")
        failed = f"{code}.some(cell => cell.model.sharedModel.outputs.some(out => out.output_type == 'error'))"
        assert not browser.evaluate(failed)

        first = "document.querySelector('.widget-slider .noUi-handle')"
        browser.evaluate(
            f"(() => {{ const cell = {code}.find(c => c.model.sharedModel.source.match(/^sliders\\(/m));"
            f"{NOTEBOOK}.content.activeCellIndex = {NOTEBOOK}.content.widgets.indexOf(cell);"
            f"return {NOTEBOOK}.content.scrollToCell(cell, 'start').then(() => true) }})()"
        )
        until(lambda: browser.evaluate(f"!!{first}"), 60)
        # the picture of the sliders' own output area
        picture = f"{first}.closest('.jp-Cell').querySelector('.jp-OutputArea-output img')?.src"
        before = until(lambda: browser.evaluate(picture), 60)
        value = f"{first}.getAttribute('aria-valuenow')"
        start = browser.evaluate(value)
        browser.picture(tmp_path / "before.png", whole=False)
        browser.evaluate(f"{first}.focus()")
        for _ in range(5):
            browser.press("ArrowRight", 39)
        until(lambda: browser.evaluate(f"({picture} ?? {before!r}) != {before!r}"), 60)
        assert float(browser.evaluate(value)) > float(start)
        browser.picture(tmp_path / "after.png", whole=False)
        assert not [complaint for complaint in browser.complaints if not complaint.startswith("warning")]
    finally:
        server.terminate()
        server.wait(30)
