"""The static site, made from small stand-ins of executed notebooks; `test_browser` looks at it."""

import base64
import hashlib
import io
import json
import os
import re
import shutil
from functools import cache
from urllib.parse import unquote

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup
from PIL import Image

from icelib import chapters, pages, paths, site
from tests.conftest import SOURCE, tiny_params

TABLE = """## The paper's Table 2, tiny scale

- Played by digits.

In percent.

### In short: CIFAR10 in the paper, digits here

| Method | AUROC ↑ ours |
|:--|:--|
| ICE ‡ | 76.44 |

### CIFAR10 in the paper, digits here

| Method | all of it |
|:--|:--|
| ICE ‡ | 12.34 |
"""


def picture():
    content = io.BytesIO()
    Image.new("RGB", (900, 300), "steelblue").save(content, "png")
    return content.getvalue()


def execute(path, report, before=()):
    """Write what an execution of a notebook could have left: outputs of every kind below its first code cell."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1:1] = before
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source]
    for number, cell in enumerate(code, 1):
        cell.execution_count, cell.outputs = number, []
    wide = "<tr>" + "<td>a wide cell of a table</td>" * 30 + "</tr>"
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "a"}, "text/plain": "FloatSlider(value=1.0)"}
    code[0].outputs = [
        nbformat.v4.new_output("stream", name="stdout", text="a line\n"),
        nbformat.v4.new_output("display_data", {"image/png": base64.b64encode(picture()).decode()}),
        nbformat.v4.new_output("display_data", {"text/html": f"<table>{wide}</table>", "text/plain": "a table"}),
        nbformat.v4.new_output("display_data", {"text/markdown": "**agrees**: $p(z|1)$ as in `03_benchmark`"}),
        nbformat.v4.new_output("display_data", {"text/latex": r"$\displaystyle \mathbf w^\top \mathbf z$"}),
        nbformat.v4.new_output("display_data", {"application/javascript": "alert(1)", "text/plain": "a script"}),
        nbformat.v4.new_output("display_data", widget),
    ]
    report.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, report)


def make(root, monkeypatch, notebooks):
    """Make a project of some notebooks, with stand-ins for all that the site is made from."""
    for name in ("ROOT", "PARAMS", "NOTEBOOKS", "FIGURES", "REPORTS", "SITE"):
        monkeypatch.setattr(paths, name, root / getattr(paths, name).relative_to(SOURCE))
    (root / "notebooks").mkdir(parents=True)
    for path in notebooks:
        shutil.copy(path, paths.NOTEBOOKS)
    shutil.copytree(SOURCE / "icelib", root / "icelib", ignore=shutil.ignore_patterns("__pycache__"))
    paths.PARAMS.write_text(yaml.safe_dump(tiny_params(root)))
    paths.FIGURES.mkdir()
    for name in site.NEEDED:
        (paths.FIGURES / name).write_text("a caption\n\nsmall print\n")
    (paths.FIGURES / "fig1.png").write_bytes(picture())
    (paths.FIGURES / "table2.md").write_text(TABLE)
    last = {"accuracy": 0.5, "validation": {"outliers": {"auroc": 0.625}, "jigsaw": {"auroc": 0.75}}}
    for chapter in chapters.declared():
        for execution in chapter.executions:
            values = execution.run or chapter
            names = [
                name for name in ("scale", "known", "network", "protocol", "method", "seed") if hasattr(values, name)
            ]
            lines = [f"{name} = {str(getattr(values, name))!r}" for name in names if getattr(values, name) is not None]
            injected = nbformat.v4.new_code_cell("\n".join(lines), metadata={"tags": ["injected-parameters"]})
            execute(paths.NOTEBOOKS / f"{chapter.notebook}.ipynb", execution.report, [injected] if lines else [])
            if execution.run:
                paths.history(execution.run).parent.mkdir(parents=True, exist_ok=True)
                paths.history(execution.run).write_text(json.dumps({"epochs": [last]}))
    made = [path for name in ("reports", "results", "figures") for path in (root / name).rglob("*") if path.is_file()]
    outs = [
        {"path": path.relative_to(root).as_posix(), "md5": hashlib.md5(path.read_bytes()).hexdigest()} for path in made
    ]
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"all": {"cmd": "true"}}}))
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {"all": {"cmd": "true", "outs": outs}}}))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The site of all our notebooks, with the project that it was made from beside it."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        root = tmp_path_factory.mktemp("site") / "a project"
        make(root, monkeypatch, sorted((SOURCE / "notebooks").glob("*.ipynb")))
        site.build()
    return root / "site"


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A project with one notebook, which a test may spoil."""
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [
        nbformat.v4.new_markdown_cell("# A title\n\n**The claim.** Something."),
        nbformat.v4.new_code_cell("1 + 1"),
    ]
    nbformat.write(notebook, tmp_path / "01_small.ipynb")
    make(tmp_path / "project", monkeypatch, [tmp_path / "01_small.ipynb"])
    return paths.NOTEBOOKS / "01_small.ipynb"


@cache
def parsed(path):
    return BeautifulSoup(path.read_text(), "html.parser")


def test_every_notebook_and_every_run_has_a_page(built):
    """What is expected in reports/ is what the stages of dvc.yaml write there."""
    runs = ["wideresnet-scratch-plain", "wideresnet-scratch-ice", "densenet-scratch-ice", "wideresnet-finetune-ice"]
    expected = {f"tiny/02_training-few-{run}-0.html" for run in runs} | {"index.html", "02_training.html"}
    stages = yaml.safe_load((SOURCE / "dvc.yaml").read_text())["stages"]
    for stage in stages.values():
        for out in stage.get("outs", []):
            if str(out).startswith("reports/") and "02_training" not in str(out):
                expected.add(out.replace("reports/", "").replace("${item.scale}", "tiny").replace(".ipynb", ".html"))
    found = {path.relative_to(built).as_posix() for path in built.rglob("*.html")}
    assert {path for path in found if not path.startswith("files/")} == expected and len(expected) == 14
    report = "reports/${item.scale}/02_training-${item.known}-${item.network}-${item.protocol}-${item.method}-${item.seed}.ipynb"
    assert report in stages["train_few"]["outs"]


def test_the_first_page_has_results_and_reading_list(built):
    page = parsed(built / "index.html")
    assert "76.44" in page.get_text() and "12.34" not in page.get_text(), "the short table, not the whole"
    (figure,) = page.find_all("img")
    assert figure["src"].startswith("data:image/png") and figure["alt"] == "a caption"
    links = [link["href"] for link in page.select("dt a")]
    assert links[:3] == ["01_toy_analysis.html", "02_training.html", "03_benchmark.html"] and len(links) == 9
    assert "The claim." in page.find("dd").get_text()


def test_previous_and_next_lead_through_all_pages(built):
    place, seen = built / "index.html", []
    while after := parsed(place).find("a", rel="next"):
        following = place.parent / unquote(after["href"])
        back = parsed(following).find("a", rel="prev")
        assert not seen or (following.parent / unquote(back["href"])).resolve() == place.resolve()
        place = following
        seen.append(place.stem)
    assert len(seen) == 9 and seen[0] == "01_toy_analysis" and seen[-1] == "09_beyond_ice"
    run = parsed(built / "tiny/02_training-few-wideresnet-scratch-ice-0.html")
    assert run.find("a", string="Training one network")["href"] == "../02_training.html"
    assert "few-wideresnet-scratch-ice-0" in run.title.get_text()
    row = parsed(built / "02_training.html").find("a", string="few-wideresnet-scratch-ice-0").find_parent("tr")
    assert [cell.get_text() for cell in row.find_all("td")][-4:] == ["1", "50.0", "62.5", "75.0"]


def test_nothing_comes_from_elsewhere_and_every_link_leads_somewhere(built):
    """No script, no address of a network, no path of this machine; headings that are linked to exist."""
    for path in built.rglob("*.html"):
        page = parsed(path)
        assert not page.find("script"), path.name
        text = path.read_text()
        assert str(SOURCE) not in text and str(built.parent) not in text, path.name
        for tag in page.find_all(["link", "img"]):
            address = tag.get("src") or tag["href"]
            assert address.startswith("data:") or (path.parent / address).is_file(), address
        for link in page.find_all("a", href=True):
            place, _, heading = unquote(link["href"]).partition("#")
            target = (path.parent / place).resolve() if place else path
            assert target.is_file() and target.is_relative_to(built), (path.name, link["href"])
            if heading and "files" not in target.parts:
                assert heading in {unquote(tag["id"]) for tag in parsed(target).find_all(id=True)}


def test_formulas_are_mathml_and_nothing_is_left_of_latex(built):
    for path in built.rglob("*.html"):
        if "files" in path.parts:
            continue
        page = BeautifulSoup(path.read_text(), "html.parser")
        for tag in page.find_all(["pre", "code", "math"]):
            tag.extract()
        assert not re.search(r"\$.+\$|\\[a-z]{2}", page.get_text()), path.name
    assert len(parsed(built / "01_toy_analysis.html").find_all("math")) > 50


def test_code_in_the_text_that_names_a_thing_is_a_link(built):
    links = {link.get_text(): link["href"] for link in parsed(built / "01_toy_analysis.html").select("a:has(> code)")}
    assert links["icelib.mixing.overlap"] == "files/icelib/mixing.py.html"
    assert links["03_benchmark"] == "03_benchmark.html"
    assert "def overlap" in parsed(built / "files/icelib/mixing.py.html").get_text()
    assert (built / "files/figures/table1.csv").is_file()


def test_outputs_that_need_a_kernel_become_text(built):
    page = parsed(built / "07_paper_audit.html")
    assert "FloatSlider(value=1.0)" in page.get_text() and "a script" in page.get_text()
    assert page.find("img", alt="Figure drawn by the code above")
    assert page.find("div", class_="wide").table


def test_two_sites_are_the_same_bytes(small):
    def content():
        return {path.relative_to(paths.SITE): path.read_bytes() for path in paths.SITE.rglob("*") if path.is_file()}

    site.build()
    first = content()
    (paths.SITE / "old.html").write_text("of a run that is no longer declared")
    site.build()
    assert content() == first and len(first) > 5
    assert not list(paths.ROOT.glob(".writing-*"))


def test_what_is_missing_is_named_and_the_old_site_stays(small):
    site.build()
    (paths.REPORTS / "01_small.ipynb").unlink()
    with pytest.raises(ValueError, match=r"1 of the \d+ files .* missing; `make results` .*\n  reports/01_small.ipynb"):
        site.build()
    assert (paths.SITE / "01_small.html").is_file()


def test_a_folder_of_somebody_else_is_left_alone(small):
    paths.SITE.mkdir()
    (paths.SITE / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="site exists and is no site that we made"):
        site.build()
    assert (paths.SITE / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "text, message",
    [
        (r"$\nonsense{x}$", r"the formula .*nonsense.* cannot be converted"),
        ("[here](no.ipynb)", "there is a link to 'no.ipynb', which is no file of the project"),
        ("[here](../../../etc/passwd)", "which is no file of the project"),
        ("[here](01_small.ipynb#Nowhere)", "links to #Nowhere of 01_small.html, where there is no such heading"),
        ("![a](https://example.org/a.png)", "needs a network"),
    ],
)
def test_what_a_reader_could_not_see_is_an_error(small, text, message):
    execute(small, paths.REPORTS / "01_small.ipynb", [nbformat.v4.new_markdown_cell(text)])
    with pytest.raises(ValueError, match=message):
        site.build()
    assert not paths.SITE.exists()


def test_links_and_pictures_of_a_notebook_work_in_the_site(small):
    text = "## λ now\n\n[a](01_small.ipynb#λ-now) [b](../icelib/losses.py) [c](https://example.org) ![d](../figures/fig1.png)"
    execute(small, paths.REPORTS / "01_small.ipynb", [nbformat.v4.new_markdown_cell(text)])
    site.build()
    page = parsed(paths.SITE / "01_small.html")
    links = {link.get_text(): link["href"] for link in page.select("main p a")}
    assert links == {"a": "#%CE%BB-now", "b": "files/icelib/losses.py.html", "c": "https://example.org"}
    assert page.find("img", alt="d")["src"].startswith("data:image/png;base64,")


@pytest.mark.parametrize("content, message", [("{}", "is no notebook"), (None, "cell 2 was not executed")])
def test_a_report_that_is_none_is_an_error(small, content, message):
    report = paths.REPORTS / "01_small.ipynb"
    report.write_text(content or small.read_text())
    with pytest.raises(ValueError, match=f"reports/01_small.ipynb.*{message}"):
        site.build()


def spoil(report, change):
    notebook = nbformat.read(report, as_version=4)
    change([cell for cell in notebook.cells if cell.cell_type == "code"], notebook)
    nbformat.write(notebook, report)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda code, _: [cell.update(outputs=[]) for cell in code], "no cell has an output"),
        (
            lambda code, _: code[0].outputs.append(nbformat.v4.new_output("error", ename="OSError")),
            "cell 2 raised OSError",
        ),
        (
            lambda code, _: code[0].outputs[1].data.update({"image/png": base64.b64encode(picture()[:-300]).decode()}),
            "a picture of cell 2 is damaged: ",
        ),
        (
            lambda code, notebook: (code[0].update(source="2"), notebook.cells[0].update(source="# Other\n\nText.")),
            "it is of another notebook: it begins with '# Other', expected '# A title'",
        ),
    ],
)
def test_a_damaged_report_is_an_error(small, change, message):
    spoil(paths.REPORTS / "01_small.ipynb", change)
    with pytest.raises(
        ValueError, match=f"reports/01_small.ipynb: {message}.*; remove the file and run `make results`"
    ):
        site.build()


def test_a_report_that_is_older_than_its_notebook_is_shown(small):
    spoil(paths.REPORTS / "01_small.ipynb", lambda code, _: code[0].update(source="2 + 2"))
    site.build()


def test_what_dvc_lock_does_not_record_is_said_on_its_page_the_first_page_and_by_the_command(
    small, monkeypatch, capsys
):
    monkeypatch.setattr("sys.argv", ["site"])
    site.main()
    pages_before = [(paths.SITE / name).read_text() for name in ("index.html", "01_small.html")]
    assert not any("dvc.lock" in text for text in [*pages_before, capsys.readouterr().out])
    spoil(paths.REPORTS / "01_small.ipynb", lambda code, _: code[0].outputs.pop(0))
    site.main()
    assert f"reports/01_small.ipynb is {site.CHANGED}\n" in capsys.readouterr().out
    first, page = ((paths.SITE / name).read_text() for name in ("index.html", "01_small.html"))
    assert f"Shown here, but {site.CHANGED}:" in first
    assert f"<strong>This notebook is {site.CHANGED}.</strong>" in page
    (paths.ROOT / "dvc.lock").unlink()
    site.main()
    assert f"figures/table2.md is {site.CHANGED}\n" in capsys.readouterr().out


def test_the_report_of_another_run_is_an_error(tmp_path, monkeypatch):
    make(tmp_path / "project", monkeypatch, [SOURCE / "notebooks/02_training.ipynb"])
    ice, plain = (paths.REPORTS / f"tiny/02_training-few-wideresnet-scratch-{x}-0.ipynb" for x in ("ice", "plain"))
    shutil.copy(plain, ice)
    with pytest.raises(ValueError, match="scratch-ice-0.ipynb: it was executed with method = 'plain', expected 'ice'"):
        site.build()


def test_the_command_says_what_it_made_or_what_is_missing(small, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["site"])
    site.main()
    assert re.fullmatch(r"site/index.html: \d+ files, 0\.\d MB; open it in a browser\n", capsys.readouterr().out)
    (paths.FIGURES / "table2.md").unlink()
    with pytest.raises(SystemExit, match="error: 1 of the .*\n  figures/table2.md"):
        site.main()


def test_the_font_of_formulas_comes_with_its_licence():
    assert "SIL OPEN FONT LICENSE" in (pages.TEMPLATES / "font/OFL.txt").read_text()
    assert os.path.getsize(pages.TEMPLATES / "font/STIXTwoMath.woff2") < 300_000 and "font/woff2" in pages.style()
