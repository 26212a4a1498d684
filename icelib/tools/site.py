"""The executed notebooks as web pages that need no network, no server and no script: ``python -m icelib.tools.site``.

The site shows what is in ``reports/`` and executes nothing. It is made anew as a whole each time, and equal reports
give equal bytes.
"""

import argparse
import base64
import contextlib
import mimetypes
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

import nbformat
from bs4 import BeautifulSoup
from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from markupsafe import Markup
from math_core import LatexError, LatexToMathML
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter
from traitlets.config import Config

from icelib.config import runs
from icelib.util import paths
from icelib.util.errors import readable_errors
from icelib.util.files import read_json

TEMPLATES = paths.PACKAGE / "templates"
GENERATOR = "icelib.tools.site"  # by which a site of ours is known
# What is shown of an output that comes in several forms. Widgets and scripts are not among them: without a
# kernel they are dead, and they come with a picture or a text.
SHOWN = ["text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/latex", "text/plain"]


class Page(NamedTuple):
    """A notebook of the site: its title, the paragraph below it, and its h2 headings as (id, text)."""

    name: str
    title: str
    claim: Markup = Markup()
    body: Markup = Markup()
    sections: tuple = ()
    missing: bool = False  # the claim tells why


def build():
    """Write the site to ``site/``, all or nothing; return notes: what is missing, and links that lead nowhere.

    Raises ValueError if there is no report at all, or ``site/`` is there and is no earlier site.
    """
    scale, index = runs.load().scale, paths.SITE / "index.html"
    if paths.SITE.exists() and not (index.is_file() and f'content="{GENERATOR}"' in index.read_text()):
        raise ValueError(f"{paths.relative(paths.SITE)} exists and is no site that we made; move it away")
    files, notes = {}, []
    listed = [_page(path.stem, paths.reports(scale), files, notes) for path in sorted(paths.NOTEBOOKS.glob("*.ipynb"))]
    missing = [page.claim for page in listed if page.missing]
    if len(missing) == len(listed):
        where = paths.relative(paths.reports(scale))
        raise ValueError(f"there is no executed notebook in {where}; `make results` (or `dvc repro`) makes them")
    files["style.css"] = _style().encode()
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    template = environment.get_template("page.html.j2")
    order, origin = [Page("index", f"ICE companion, {scale} scale"), *listed, None], _origin(scale)
    for number, page in enumerate(order[:-1]):
        content = {"page": page, "before": order[number - 1] if number else None, "after": order[number + 1]}
        html = template.render(generator=GENERATOR, listed=listed, origin=origin, **content)
        files[f"{page.name}.html"] = html.encode()
    with tempfile.TemporaryDirectory(dir=paths.SITE.parent, prefix=".writing-") as folder:
        new = Path(folder) / "new"
        for place, content in files.items():
            (new / place).parent.mkdir(parents=True, exist_ok=True)
            (new / place).write_bytes(content)
        if paths.SITE.exists():
            paths.SITE.rename(Path(folder) / "old")
        new.rename(paths.SITE)
    return [*missing, *notes]


def _page(name, reports, files, notes):
    """Convert one report; add the pictures and copies that it needs to `files` (dict of place to bytes)."""
    where, own = paths.relative(reports / f"{name}.ipynb"), {}
    try:
        notebook = nbformat.read(reports / f"{name}.ipynb", as_version=4)
        if not any(cell.get("outputs") for cell in notebook.cells):
            raise ValueError("no cell has an output")
        tree = BeautifulSoup(_exporter().from_notebook_node(notebook)[0], features="html.parser")
        _fold(tree)
        _figures(tree, name, own)
        dead = _connect(tree, own)
    except FileNotFoundError:
        return Page(name, name, f"{where} is missing; `make results` makes it", missing=True)
    except Exception as error:  # JSON's, the schema's, nbformat's own have no common class
        return Page(name, name, f"{where} cannot be shown ({error}); remove it and run `make results`", missing=True)
    files |= own
    notes += [f"{where}: the link to {address!r} leads to no file of the project" for address in dead]
    claim = Markup(tree.p.decode_contents()) if tree.p else Markup()
    sections = tuple((heading["id"], _text(heading)) for heading in tree.select(".jp-MarkdownCell h2[id]"))
    return Page(name, _text(tree.h1) if tree.h1 else name, claim, Markup(tree), sections)


def _fold(tree):
    """Fold code, leave scripts out, and give tables, which may be wide, a box that scrolls."""
    [script.decompose() for script in tree.find_all("script")]
    for cell in tree.select(".jp-CodeCell > .jp-Cell-inputWrapper"):
        folded = tree.new_tag("details", attrs={"class": "code"})
        summary = tree.new_tag("summary", string=f"Code, {len(cell.pre.get_text().strip().splitlines())} lines")
        folded.extend([summary, cell.find(class_="highlight")])
        cell.replace_with(folded)
    for table in tree.find_all("table"):
        table.wrap(tree.new_tag("div", attrs={"class": "wide"}))


def _figures(tree, name, files):
    """Make embedded pictures files of their own, which open at full size."""
    for number, picture in enumerate(tree.select('img[src^="data:"]'), 1):
        head, _, content = picture["src"].removeprefix("data:").partition(",")
        place = f"figures/{name}-{number}{mimetypes.guess_extension(head.split(';')[0]) or ''}"
        files[place] = base64.b64decode(content)
        picture["src"] = quote(place)
        if picture.get("alt", "No description").startswith("No description"):  # as nbconvert has it
            picture["alt"] = "Figure drawn by the code above"
        picture.wrap(tree.new_tag("a", href=quote(place), attrs={"class": "figure"}))


def _connect(tree, files):
    """Turn a notebook's links into its page's, with copies of files; return those that lead nowhere, now text."""
    dead = []
    for tag in tree.select("a[href]:not(.figure), :not(.figure) > img[src]"):
        address = tag.get("href") or tag["src"]
        parts = urlsplit(address)
        elsewhere = bool(parts.scheme or parts.netloc)
        if tag.name == "a" and (elsewhere or not parts.path):
            continue
        path = (paths.NOTEBOOKS / unquote(parts.path)).resolve()
        if elsewhere or not (path.is_file() and path.is_relative_to(paths.ROOT)):
            dead.append(address)
            tag.replace_with(tag.get_text() or tag.get("alt", ""))
        elif tag.name == "a" and path.parent == paths.NOTEBOOKS:
            tag["href"] = f"{quote(path.stem)}.html" + (f"#{parts.fragment}" if parts.fragment else "")
        else:
            place = f"files/{path.relative_to(paths.ROOT).as_posix()}"
            files[place] = path.read_bytes()
            if tag.name == "img":
                tag["src"] = quote(place)
                tag = tag.wrap(tree.new_tag("a", attrs={"class": "figure"}))
            tag["href"] = quote(place)
    return dead


def _origin(scale):
    """Tell on what the networks were trained, by their histories, and the commit that recorded the reports."""
    histories = [read_json(path) for path in sorted((paths.results(scale) / "history").glob("*.json"))]
    machines = {(x["environment"]["device"], x["environment"]["torch"]) for x in histories if "environment" in x}
    told = [f"networks trained on {device} with PyTorch {torch}" for device, torch in sorted(machines)]
    command = ["git", "log", "-1", "--format=commit %h of %as", "--", paths.reports(scale)]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):  # no git, or no repository
        answer = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, check=True).stdout.strip()
        told += [f"reports recorded in {answer}"] if answer else []
    return "; ".join(told)


def _text(heading):
    return heading.get_text().removesuffix("¶")  # the mark that links to it


def _style():
    """Return the style sheet, with the font of formulas in it: few machines have one that can stretch a brace."""
    font = base64.b64encode((TEMPLATES / "font" / "STIXTwoMath.woff2").read_bytes()).decode()
    face = f'@font-face {{ font-family: "STIX Two Math"; src: url("data:font/woff2;base64,{font}"); }}'
    return "\n".join([(TEMPLATES / "style.css").read_text(), HtmlFormatter().get_style_defs(".highlight"), face, ""])


def mathml(formula, display):
    """Convert a formula from LaTeX, without dollar signs, to MathML; raise ValueError if it cannot be drawn."""
    try:
        converter = LatexToMathML(fancy_error=False, macros={"widetilde": r"\tilde{#1}"})  # which it lacks
        return converter.convert_with_local_state(formula, displaystyle=display)
    except LatexError as error:
        raise ValueError(f"the formula ${formula.strip()}$ cannot be converted: {error}") from None


class _Renderer(IPythonRenderer):
    """Markdown as nbconvert has it, with formulas as MathML, which browsers draw themselves."""

    def inline_math(self, body):
        return mathml(body, display=False)

    def block_math(self, body):
        # a span, since it stands in a paragraph; it scrolls where the window is narrow
        return f'<span class="equation">{mathml(body, display=True)}</span>'

    def latex_environment(self, name, body):
        return self.block_math(f"\\begin{{{name}}}{body}\\end{{{name}}}")


class _Exporter(HTMLExporter):
    @pass_context
    def markdown2html(self, context, source):
        return MarkdownWithMath(renderer=_Renderer(escape=False)).render(source)


@cache
def _exporter():
    return _Exporter(
        config=Config({"NbConvertBase": {"display_data_priority": SHOWN}}),
        template_file=str(TEMPLATES / "cells.html.j2"),
        exclude_output_prompt=True,
    )


def main():
    """Make the site, and say where it is and what is missing."""
    argparse.ArgumentParser(description="Make the static site in site/ from the executed notebooks.").parse_args()
    with readable_errors():
        notes = build()
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"{paths.relative(paths.SITE)}/index.html is made; open it in a browser")


if __name__ == "__main__":
    main()
