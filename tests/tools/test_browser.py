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

SEEN = """(async () => {
    const drawn = element => { const box = element.getBoundingClientRect(); return box.width > 0 && box.height > 0 };
    const large = await Promise.all([...document.querySelectorAll('main img')].map(async image => {
        const opened = new Image();
        opened.src = image.closest('a').href;
        await opened.decode();
        return opened.naturalWidth >= Math.max(400, image.getBoundingClientRect().width);
    }));
    const wide = [...document.querySelectorAll('main > *')].filter(e => e.getBoundingClientRect().right > innerWidth);
    return {
        formulas: document.querySelectorAll('math').length,
        unseen: [...document.querySelectorAll('math')].filter(math => !drawn(math)).length,
        faulty: document.querySelectorAll('merror').length,
        pictures: document.images.length,
        small: large.filter(is => !is).length,
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

# Of the middle of a page: the button of the contents can be pressed where the window is narrow, and a link to the last
# section leads there and closes them.
MIDDLE = """(async () => {
    const rest = () => new Promise(done => setTimeout(done, 200)), at = element => element.getBoundingClientRect();
    const reached = element => {
        const box = at(element);
        return element.contains(document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2));
    };
    const menu = document.querySelector('#contents'), button = document.querySelector('header button');
    scrollTo(0, document.documentElement.scrollHeight / 2);
    await rest();
    const narrow = at(button).width > 0, pressed = !narrow || reached(button);
    if (narrow) { button.click(); await rest(); }
    const link = [...menu.querySelectorAll('details[open] a')].at(-1);
    link.scrollIntoView({block: 'nearest'});
    const shown = reached(link), middle = scrollY;
    link.click();
    await rest();
    const heading = document.getElementById(decodeURIComponent(link.hash.slice(1)));
    const below = narrow ? at(document.querySelector('header')).bottom : 0;
    return {
        middle: middle > 3 * innerHeight, pressed, shown, open: at(menu).width > 0,
        there: at(heading).top >= below && at(heading).bottom <= innerHeight,
    };
})()"""

# Whether heads and first cells stay in sight where tables that are larger than their boxes are scrolled to their ends.
STICKY = """[...document.querySelectorAll('.wide')].map(box => {
    const at = element => element.getBoundingClientRect(), table = box.querySelector('table');
    box.scrollTo(1e5, 1e5);
    const cell = table.querySelector('[rowspan]') ? box : table.rows[table.rows.length - 1].cells[0];
    return {
        scrolled: box.scrollLeft > 0 && box.scrollTop > 0,
        held: Math.abs(at(table.tHead).top - at(box).top) < 2 && Math.abs(at(cell).left - at(box).left) < 2,
    };
})"""


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
    """No word in the console, formulas drawn, figures open large, nothing beyond the edge of a wide or narrow window.

    Heads of tables stay in sight, and from the middle of the longest page the contents lead to its end.
    """
    formulas = pictures = scrolled = 0
    heights = {}
    for path in sorted(folder.glob("*.html")):
        for width in (1400, 390):
            browser.resize(width, 900)
            browser.open(path.as_uri())
            browser.evaluate("document.fonts.ready.then(() => true)")
            seen = browser.evaluate(SEEN)
            good = {"unseen": 0, "faulty": 0, "missing": 0, "small": 0, "font": True, "overflow": False}
            assert {name: seen[name] for name in good} == good, (path.name, width)
            narrow = width < 1000
            assert browser.evaluate(MENU) == [not narrow, True, not narrow], (path.name, width)
            browser.picture(tmp_path / f"{path.stem}-{width}.png")
            tables = browser.evaluate(STICKY)
            assert all(table["held"] for table in tables), (path.name, width)
            scrolled += sum(table["scrolled"] for table in tables)
            heights[path] = browser.evaluate("document.documentElement.scrollHeight")
        formulas, pictures = formulas + seen["formulas"], pictures + seen["pictures"]
    there = sum(path.read_text().count("<img ") for path in folder.glob("*.html"))
    assert formulas > 100 and pictures == there > 5 and scrolled > 0
    for width in (1400, 390):
        browser.resize(width, 900)
        browser.open(max(heights, key=heights.get).as_uri())
        good = {"middle": True, "pressed": True, "shown": True, "open": width > 1000, "there": True}
        assert browser.evaluate(MIDDLE) == good, width
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
