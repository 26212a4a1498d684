"""The static site, made from small stand-ins of executed notebooks; `test_browser` looks at it."""

import base64
import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import matplotlib.pyplot as plt
import nbformat
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from icelib.config import runs
from icelib.report import claims, figures
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
    head, row = "<tr>" + "<th>a head</th>" * 30 + "</tr>", "<tr>" + "<td>a wide cell of a table</td>" * 30 + "</tr>"
    wide = f"<thead>{head}</thead><tbody>{row * 60}</tbody>"
    verdicts = [claims.FAILS, claims.HOLDS, claims.NOT_TESTED, claims.HOLDS]
    tested = claims.table(
        [claims.Claim("p(z|1) in its words", "Table 1", "a measure", "1", "2", verdict) for verdict in verdicts]
    )
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "a"}, "text/plain": "FloatSlider(value=1.0)"}
    code = next(cell for cell in notebook.cells if cell.cell_type == "code" and cell.source)
    code.outputs = [
        nbformat.v4.new_output("stream", name="stdout", text="a line\n"),
        *(nbformat.v4.new_output("display_data", data) for data in (
            {"image/png": base64.b64encode(picture()).decode()},
            {"text/html": f"<table>{wide}</table><script>alert(1)</script>", "text/plain": "a table"},
            {"text/markdown": "**agrees**: $p(z|1)$"},
            {"text/markdown": tested.to_markdown(index=False, disable_numparse=True)},
            {"text/latex": r"$\displaystyle \mathbf w^\top \mathbf z$"},
            {"application/javascript": "alert(1)", "text/plain": "a script"},
            widget,
        )),
    ]  # fmt: skip
    report.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, report)


def make(root, monkeypatch, notebooks, recorded=()):
    """Make a project of some notebooks with their reports, the first of them also of a recorded scale `desk`."""
    for name in ("ROOT", "NOTEBOOKS", "RECORDED", "SITE"):
        monkeypatch.setattr(paths, name, root / getattr(paths, name).relative_to(SOURCE))
    load, task = runs.load, SimpleNamespace(title="ten digits")
    params = SimpleNamespace(scale="tiny", recorded=list(recorded), seeds=[0, 1], tasks={"digits": task})
    monkeypatch.setattr(runs, "load", lambda path=None: load(path) if path else params)
    for path in notebooks:
        files = {path: root / "notebooks" / path.name}
        text = path.read_text()
        for link in re.findall(r"\]\((\.\./[^)#]+)\)", text):
            files[(path.parent / link).resolve()] = root / link.removeprefix("../")
        for source, target in files.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
        execute(path, paths.reports("tiny") / path.name)
    for scale in recorded:
        execute(notebooks[0], paths.reports(scale) / notebooks[0].name)
        (root / "recorded" / scale).mkdir(parents=True)
        shutil.copy(SOURCE / "configs/desk.yaml", root / "recorded" / scale / "params.yaml")
    for folder, machine in {
        "results/tiny": "a machine",
        **{f"recorded/{scale}": "a GPU" for scale in recorded},
    }.items():
        history = {"environment": {"device": machine, "torch": "1.0"}, "epochs": []}
        (root / folder / "history").mkdir(parents=True)
        (root / folder / "history/run.json").write_text(json.dumps(history))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The site of all our notebooks; no link of theirs leads nowhere."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        root = tmp_path_factory.mktemp("site") / "a project"
        make(root, monkeypatch, sorted((SOURCE / "notebooks").glob("*.ipynb")), recorded=["desk"])
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


def test_the_first_page_tells_claims_what_was_found_and_where_the_numbers_come_from(small):
    site.build()
    page = parsed(paths.SITE / "index.html")
    assert [link["href"] for link in page.select("dt a")] == ["01_small.html", "02_other.html"]
    claim, found = [dd.get_text() for dd in page.find_all("dd")[:2]]
    assert claim == "The paper claims: x is small." and page.dd.math
    assert found == "What we found: holds 2, does not hold 1, not tested at this scale 1"
    assert "The claim. x is small." in parsed(paths.SITE / "01_small.html").get_text()
    assert [told.get_text() for told in page.select(".origin")] == [
        "the scale of params.yaml. Known classes: ten digits. Seeds: 0, 1",
        "networks trained on a machine with PyTorch 1.0",
        "reports recorded in no commit yet",
    ]


def test_the_commit_of_the_reports_is_told_and_whether_they_changed_since(small):
    def git(*command):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *command], cwd=paths.ROOT, check=True)

    def last():
        site.build()
        return parsed(paths.SITE / "index.html").select(".origin")[-1].get_text()

    git("init", "-q")
    assert last() == "reports recorded in no commit yet"
    git("add", "reports")
    git("commit", "-q", "-m", "Record")
    told = r"reports recorded in commit [0-9a-f]+ of \d{4}-\d\d-\d\d"
    assert re.fullmatch(told, last())
    small.unlink()
    assert re.fullmatch(f"{told}, and changed since", last())


def test_a_recorded_scale_stands_beside_that_of_params(built, pages):
    page = pages[built / "index.html"]
    assert [heading.get_text() for heading in page.find_all("h2")] == ["tiny scale", "desk scale"]
    told = [text.get_text() for text in page.find("h2", id="desk").find_next_siblings(class_="origin")]
    assert told[0].startswith("recorded: made of recorded/desk alone. Known classes: ") and told[0].endswith(
        ": 0, 1, 2"
    )
    assert told[1] == "networks trained on a GPU with PyTorch 1.0"
    assert [heading.get_text() for heading in page.select("#contents p")] == ["tiny scale", "desk scale"]
    other = pages[built / "desk-01_toy.html"]
    assert other.select_one("main .origin").get_text() == "desk scale" and other.title.get_text().endswith(
        ", desk scale"
    )
    assert other.find("a", rel="prev").get_text().endswith(" (tiny)")
    pictures = [image["src"] for image in other.find_all("img")]
    assert "figures/desk-01_toy-1.png" in pictures


def test_links_of_a_recorded_report_lead_to_its_own_scale_where_it_has_the_page(tmp_path, monkeypatch):
    for name in ("01_small", "02_other"):
        cells = [nbformat.v4.new_markdown_cell("# T\n\n[a](01_small.ipynb#T) [b](02_other.ipynb)")]
        notebook = nbformat.v4.new_notebook(cells=[*cells, nbformat.v4.new_code_cell("1 + 1")])
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
    make(tmp_path / "project", monkeypatch, sorted(tmp_path.glob("*.ipynb")), recorded=["desk"])
    assert site.build() == []
    links = parsed(paths.SITE / "desk-01_small.html").select(".jp-MarkdownCell p a")
    assert [link["href"] for link in links] == ["desk-01_small.html#T", "02_other.html"]
    shutil.rmtree(paths.reports("desk"))
    assert site.build() == ["reports/desk is missing; `make results` makes it"]
    assert "reports/desk is missing" in parsed(paths.SITE / "index.html").get_text()


def test_previous_and_next_at_both_ends_lead_through_all_pages(built, pages):
    place, seen = built / "index.html", []
    while after := pages[place].find_all("a", rel="next"):
        following = built / unquote(after[0]["href"])
        back = pages[following].find_all("a", rel="prev")
        assert len(after) == len(back) == 2 and built / back[0]["href"] == place
        place = following
        seen.append(place.stem)
    assert seen == [*sorted(path.stem for path in (SOURCE / "notebooks").glob("*.ipynb")), "desk-01_toy"]


def test_the_sidebar_has_every_notebook_and_its_sections(built, pages):
    page = pages[built / "02_training.html"]
    names = [link["href"] for link in page.select("#contents > a")]
    assert names == ["index.html", *sorted(path.name for path in built.glob("0*.html")), "desk-01_toy.html"]
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
    assert folded.summary.get_text() == "Code, 1 line" and "1 + 1" in folded.pre.get_text()
    figure = page.select_one("a.figure:has(> img[alt='Figure drawn by the code above'])")
    assert (paths.SITE / figure["href"]).read_bytes() == picture()
    assert "FloatSlider(value=1.0)" in page.get_text() and "a script" in page.get_text()
    assert page.find("div", class_="wide").table and "alert" not in page.get_text()


def test_a_saved_figure_has_its_caption_and_opens_as_it_was_saved(small, monkeypatch):
    shown = []
    monkeypatch.setattr(figures, "get_ipython", lambda: True)
    monkeypatch.setattr(figures, "display", lambda what, **_: shown.append(what))
    plt.close("all")  # what other tests left open
    drawn = plt.figure()
    figures.save(drawn, "toy/fig", "A < B at x_1. More is told.", "One run.")
    assert shown[0] is drawn and not plt.get_fignums()
    notebook = nbformat.read(small, as_version=4)
    data = {"image/png": base64.b64encode(picture()).decode()}, shown[1]
    notebook.cells[-1].outputs = [nbformat.v4.new_output("display_data", each) for each in data]
    nbformat.write(notebook, small)
    site.build()
    page = parsed(paths.SITE / "01_small.html")
    assert page.figcaption.get_text() == "A < B at x_1. More is told.One run."
    link = page.select_one("a.figure")
    assert (paths.SITE / link["href"]).read_bytes() == (paths.figures("tiny") / "toy/fig.png").read_bytes()
    assert (paths.SITE / link.img["src"]).read_bytes() == picture() and link.img["alt"] == "A < B at x_1"


@pytest.mark.parametrize(
    "path", sorted((SOURCE / "reports").glob("*/*.ipynb")), ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_a_report_in_git_is_small_and_of_forms_that_github_shows(path):
    assert path.stat().st_size < 1e6
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            assert output.output_type != "error"
            forms = set(output.get("data", {"text/plain": ""}))
            assert forms <= {"image/png", "text/html", "text/markdown", "text/latex", "text/plain"}, cell.source


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
    monkeypatch.setattr(Path, "write_bytes", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
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
    found = {link.get_text(): link["href"] for link in page.select(".jp-MarkdownCell p a:not(.figure)")}
    assert found == {
        "a": "#%CE%BB-now",
        "b": "02_other.html#Part",
        "c": "https://example.org",
        "d": "files/params.yaml",
    }
    assert (paths.SITE / unquote(page.find("img", alt="e")["src"])).read_bytes() == picture()
    assert len(notes) == 3 and "the link to 'no.ipynb' leads to no file of the project" in notes[0]
    assert "f g h" in page.get_text()
