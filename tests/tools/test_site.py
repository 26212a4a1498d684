"""The static site, made from small stand-ins of executed notebooks; `test_browser` looks at it."""

import base64
import io
import json
import re
from types import SimpleNamespace
from urllib.parse import unquote

import nbformat
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from icelib.config import runs
from icelib.tools import site
from icelib.util import paths
from tests.conftest import SOURCE


def picture():
    content = io.BytesIO()
    Image.new("RGB", (900, 300), "steelblue").save(content, "png")
    return content.getvalue()


def execute(path, report, before=()):
    """Write what an execution of a notebook could have left: outputs of every kind below its first code cell."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1:1] = before
    wide = "<tr>" + "<td>a wide cell of a table</td>" * 30 + "</tr>"
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "a"}, "text/plain": "FloatSlider(value=1.0)"}
    code = next(cell for cell in notebook.cells if cell.cell_type == "code" and cell.source)
    code.outputs = [
        nbformat.v4.new_output("stream", name="stdout", text="a line\n"),
        *(nbformat.v4.new_output("display_data", data) for data in (
            {"image/png": base64.b64encode(picture()).decode()},
            {"text/html": f"<table>{wide}</table><script>alert(1)</script>", "text/plain": "a table"},
            {"text/markdown": "**agrees**: $p(z|1)$"},
            {"text/latex": r"$\displaystyle \mathbf w^\top \mathbf z$"},
            {"application/javascript": "alert(1)", "text/plain": "a script"},
            widget,
        )),
    ]  # fmt: skip
    report.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, report)


def make(root, monkeypatch, notebooks):
    """Make a project of some notebooks with their reports."""
    for name in ("ROOT", "NOTEBOOKS", "SITE"):
        monkeypatch.setattr(paths, name, root / getattr(paths, name).relative_to(SOURCE))
    monkeypatch.setattr(runs, "load", lambda: SimpleNamespace(scale="tiny"))
    for path in notebooks:
        files = {path: root / "notebooks" / path.name}
        text = path.read_text()
        for link in re.findall(r"\]\((\.\./[^)#]+)\)", text):
            files[(path.parent / link).resolve()] = root / link.removeprefix("../")
        for source, target in files.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
        execute(path, paths.reports("tiny") / path.name)
    history = {"environment": {"device": "a machine", "torch": "1.0"}, "epochs": []}
    (paths.results("tiny") / "history").mkdir(parents=True)
    (paths.results("tiny") / "history" / "run.json").write_text(json.dumps(history))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The site of all our notebooks; no link of theirs leads nowhere."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        root = tmp_path_factory.mktemp("site") / "a project"
        make(root, monkeypatch, sorted((SOURCE / "notebooks").glob("*.ipynb")))
        assert site.build() == []
    return root / "site"


@pytest.fixture(scope="module")
def pages(built):
    return {path: parsed(path) for path in built.glob("*.html")}


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A project with two notebooks, which a test may spoil."""
    for name in ("01_small", "02_other"):
        cells = [nbformat.v4.new_markdown_cell(f"# The title of {name}\n\n**The claim.** $x$ is small.\n\n## Part")]
        nbformat.write(
            nbformat.v4.new_notebook(cells=[*cells, nbformat.v4.new_code_cell("1 + 1")]), tmp_path / f"{name}.ipynb"
        )
    make(tmp_path / "project", monkeypatch, sorted(tmp_path.glob("*.ipynb")))
    return paths.reports("tiny") / "01_small.ipynb"


def parsed(path):
    return BeautifulSoup(path.read_text(), "html.parser")


def test_the_first_page_tells_titles_claims_and_where_the_numbers_come_from(small):
    site.build()
    page = parsed(paths.SITE / "index.html")
    assert [link["href"] for link in page.select("dt a")] == ["01_small.html", "02_other.html"]
    assert page.dd.get_text() == "The claim. x is small." and page.dd.math
    assert page.find(class_="origin").get_text() == "networks trained on a machine with PyTorch 1.0"


def test_previous_and_next_at_both_ends_lead_through_all_pages(built, pages):
    place, seen = built / "index.html", []
    while after := pages[place].find_all("a", rel="next"):
        following = built / unquote(after[0]["href"])
        back = pages[following].find_all("a", rel="prev")
        assert len(after) == len(back) == 2 and built / back[0]["href"] == place
        place = following
        seen.append(place.stem)
    assert seen == sorted(path.stem for path in (SOURCE / "notebooks").glob("*.ipynb"))


def test_the_sidebar_has_every_notebook_and_its_sections(built, pages):
    page = pages[built / "02_training.html"]
    names = [link["href"] for link in page.select("#contents > a")]
    assert names == ["index.html", *sorted(path.name for path in built.glob("0*.html"))]
    sections = [heading["id"] for heading in page.select("main h2[id]")]
    assert [unquote(link["href"])[1:] for link in page.select("#contents details[open] a")] == sections
    assert page.select_one("#contents [aria-current]")["href"] == "02_training.html"


def test_nothing_comes_from_elsewhere_and_every_link_leads_somewhere(built, pages):
    """No script, no address of a network, no path of this machine; headings that are linked to exist."""
    headings = {path: {unquote(tag["id"]) for tag in page.find_all(id=True)} for path, page in pages.items()}
    for path, page in pages.items():
        assert not page.find("script"), path.name
        text = path.read_text()
        assert str(SOURCE) not in text and str(built.parent) not in text, path.name
        for tag in page.find_all(["link", "img"]):
            address = tag.get("src") or tag["href"]
            assert address == "data:," or (built / unquote(address)).is_file(), address
        for link in page.find_all("a", href=True):
            if link["href"].startswith("https://"):
                continue
            place, _, heading = unquote(link["href"]).partition("#")
            target = built / place if place else path
            assert target.is_file(), (path.name, link["href"])
            assert not heading or heading in headings[target], link["href"]


def test_formulas_are_mathml_and_nothing_is_left_of_latex(built, pages):
    for path, page in pages.items():
        text = "".join(each for each in page.find_all(string=True) if not each.find_parent(["pre", "code", "math"]))
        assert not re.search(r"\$.+\$|\\[a-z]{2}", text), path.name
    assert sum(len(page.find_all("math")) for page in pages.values()) > 100
    assert "font/woff2" in (built / "style.css").read_text()
    assert "SIL OPEN FONT LICENSE" in (site.TEMPLATES / "font/OFL.txt").read_text()


def test_code_is_folded_figures_open_and_what_needs_a_kernel_is_text(small):
    site.build()
    page = parsed(paths.SITE / "01_small.html")
    folded = page.find("details", class_="code")
    assert folded.summary.get_text() == "Code, 1 lines" and "1 + 1" in folded.pre.get_text()
    figure = page.select_one("a.figure:has(> img[alt='Figure drawn by the code above'])")
    assert (paths.SITE / figure["href"]).read_bytes() == picture()
    assert "FloatSlider(value=1.0)" in page.get_text() and "a script" in page.get_text()
    assert page.find("div", class_="wide").table and "alert" not in page.get_text()


def test_two_sites_are_the_same_bytes(small):
    def content():
        return {path.relative_to(paths.SITE): path.read_bytes() for path in paths.SITE.rglob("*") if path.is_file()}

    site.build()
    first = content()
    (paths.SITE / "old.html").write_text("of a notebook that is no longer there")
    site.build()
    assert content() == first and len(first) == 6
    assert not list(paths.ROOT.glob(".writing-*"))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda path: path.unlink(), "reports/tiny/01_small.ipynb is missing; `make results` makes it"),
        (lambda path: path.write_text("{"), "reports/tiny/01_small.ipynb cannot be shown"),
        (lambda path: execute(paths.NOTEBOOKS / path.name, path, [nbformat.v4.new_markdown_cell(r"$\nonsense{x}$")]),
         "01_small.ipynb cannot be shown (the formula $\\nonsense{x}$ cannot be converted"),
        (lambda path: path.write_bytes((paths.NOTEBOOKS / path.name).read_bytes()), "no cell has an output"),
    ],
)  # fmt: skip
def test_a_report_that_cannot_be_shown_is_named_and_the_rest_is_built(small, capsys, monkeypatch, spoil, told):
    spoil(small)
    monkeypatch.setattr("sys.argv", ["site"])
    site.main()
    shown = capsys.readouterr()
    assert told in shown.err and shown.out == "site/index.html is made; open it in a browser\n"
    assert told in parsed(paths.SITE / "index.html").get_text()
    assert parsed(paths.SITE / "01_small.html").find("a", rel="next")["href"] == "02_other.html"
    assert parsed(paths.SITE / "02_other.html").find("img")


def test_without_any_report_the_old_site_stays(small, monkeypatch):
    site.build()
    for path in small.parent.iterdir():
        path.unlink()
    monkeypatch.setattr("sys.argv", ["site"])
    with pytest.raises(SystemExit, match="error: there is no executed notebook in reports/tiny; `make results`"):
        site.main()
    assert parsed(paths.SITE / "01_small.html").find("img")


def test_a_failed_build_leaves_the_old_site(small, monkeypatch):
    site.build()
    before = (paths.SITE / "index.html").read_text()
    monkeypatch.setattr(site.Path, "write_bytes", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        site.build()
    assert (paths.SITE / "index.html").read_text() == before and not list(paths.ROOT.glob(".writing-*"))


def test_a_folder_of_somebody_else_is_left_alone(small):
    paths.SITE.mkdir()
    (paths.SITE / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="site exists and is no site that we made"):
        site.build()
    assert (paths.SITE / "mine.txt").read_text() == "mine"


def test_links_and_pictures_of_a_notebook_work_in_the_site(small):
    (paths.ROOT / "figures").mkdir()
    (paths.ROOT / "figures/a b.png").write_bytes(picture())
    links = (
        "[a](#λ-now) [b](02_other.ipynb#Part) [c](https://example.org) [d](../params.yaml) ![e](../figures/a%20b.png)"
    )
    dead = "[f](no.ipynb) [g](../../../etc/passwd) ![h](https://example.org/a.png)"
    (paths.ROOT / "params.yaml").write_text("scale: tiny")
    execute(small, small, [nbformat.v4.new_markdown_cell(f"## λ now\n\n{links}\n\n{dead}")])
    notes = site.build()
    page = parsed(paths.SITE / "01_small.html")
    found = {link.get_text(): link["href"] for link in page.select("main p a:not(.figure)")}
    assert found == {
        "a": "#%CE%BB-now",
        "b": "02_other.html#Part",
        "c": "https://example.org",
        "d": "files/params.yaml",
    }
    assert (paths.SITE / unquote(page.find("img", alt="e")["src"])).read_bytes() == picture()
    assert len(notes) == 3 and "the link to 'no.ipynb' leads to no file of the project" in notes[0]
    assert "f g h" in page.get_text()
