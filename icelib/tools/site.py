"""The executed notebooks as web pages that need no network, no server and no script: ``python -m icelib.tools.site``.

The site shows what is in ``reports/``, of the scale of params.yaml and of the recorded ones that it names, and executes
nothing. It is made anew as a whole each time, and equal reports give equal bytes.
"""

import argparse
import base64
import contextlib
import copy
import mimetypes
import subprocess
import sys
from collections import Counter
from functools import cache
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

import nbformat
from bs4 import BeautifulSoup
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from math_core import LatexError, LatexToMathML
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter
from traitlets.config import Config

from icelib.config import runs
from icelib.report import claims
from icelib.util import paths
from icelib.util.errors import readable_errors
from icelib.util.files import read_json, replacing_folder

TEMPLATES = paths.PACKAGE / "templates"
GENERATOR = "icelib.tools.site"  # by which a site of ours is known
MAKE = "`make results` makes it"
VERDICTS = (claims.HOLDS, claims.FAILS, claims.OPEN, claims.NOT_TESTED)
# What is shown of an output that comes in several forms. Widgets and scripts are not among them: without a
# kernel they are dead, and they come with a picture or a text.
SHOWN = ["text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/latex", "text/plain"]


class Page(NamedTuple):
    """A notebook of the site: the paper's claim, verdicts counted in words, and its h2 headings as (id, text)."""

    name: str
    title: str
    scale: str
    claim: Markup = Markup()
    found: str = ""
    body: Markup = Markup()
    sections: tuple = ()
    missing: bool = False  # the claim tells why


def build():
    """Write the site to ``site/``, all or nothing; return notes: what is missing, and links that lead nowhere.

    Raises ValueError if there is no report at all, or ``site/`` is there and is no earlier site.
    """
    params, index = runs.load(), paths.SITE / "index.html"
    if paths.SITE.exists() and not (index.is_file() and f'content="{GENERATOR}"' in index.read_text()):
        raise ValueError(f"{paths.relative(paths.SITE)} exists and is no site that we made; move it away")
    files, notes = {}, []
    listed = [_page(path.stem, params.scale, "", files, notes) for path in sorted(paths.NOTEBOOKS.glob("*.ipynb"))]
    if all(page.missing for page in listed):
        where = paths.relative(paths.reports(params.scale))
        raise ValueError(f"there is no executed notebook in {where}; `make results` (or `dvc repro`) makes them")
    for scale in params.recorded:
        names = sorted(path.stem for path in paths.reports(scale).glob("*.ipynb"))
        none = Page(scale, scale, scale, f"{paths.relative(paths.reports(scale))} is missing; {MAKE}", missing=True)
        listed += [_page(name, scale, f"{scale}-", files, notes) for name in names] or [none]
    files["style.css"] = _style().encode()
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    template = environment.get_template("page.html.j2")
    scales = {scale: _about(scale, scale == params.scale) for scale in (params.scale, *params.recorded)}
    order = [Page("index", "ICE companion", params.scale), *listed, None]
    for number, page in enumerate(order[:-1]):
        content = {"page": page, "before": order[number - 1] if number else None, "after": order[number + 1]}
        html = template.render(generator=GENERATOR, listed=listed, scales=scales, **content)
        files[f"{page.name}.html"] = html.encode()
    with replacing_folder(paths.SITE) as new:
        for place, content in files.items():
            (new / place).parent.mkdir(parents=True, exist_ok=True)
            (new / place).write_bytes(content)
    return [*(page.claim for page in listed if page.missing), *notes]


def _page(notebook, scale, prefix, files, notes):
    """Convert one report; add the pictures and copies that it needs to `files` (dict of place to bytes)."""
    path, name, own = paths.reports(scale) / f"{notebook}.ipynb", f"{prefix}{notebook}", {}
    where = paths.relative(path)
    try:
        content = nbformat.read(path, as_version=4)
        if not any(cell.get("outputs") for cell in content.cells):
            raise ValueError("no cell has an output")
        tree = BeautifulSoup(_exporter().from_notebook_node(content)[0], features="html.parser")
        _fold(tree)
        _figures(tree, name, paths.figures(scale), own)
        dead = _connect(tree, path.parent, prefix, own)
    except FileNotFoundError:
        return Page(name, name, scale, f"{where} is missing; {MAKE}", missing=True)
    except Exception as error:  # JSON's, the schema's, nbformat's own have no common class
        told = f"{where} cannot be shown ({error}); remove it and run `make results`"
        return Page(name, name, scale, told, missing=True)
    files |= own
    notes += [f"{where}: the link to {address!r} leads to no file of the project" for address in dead]
    sections = tuple((heading["id"], _text(heading)) for heading in tree.select(".jp-MarkdownCell h2[id]"))
    title = _text(tree.h1) if tree.h1 else name
    return Page(name, title, scale, _claim(tree), _found(tree), Markup(tree), sections)


def _claim(tree):
    """Take the first paragraph without the words in bold that it begins with: the index has its own."""
    claim = copy.copy(tree.p)
    if claim and claim.strong:
        claim.strong.decompose()
    return Markup(claim.decode_contents().strip() if claim else "")


def _found(tree):
    """Count the verdicts of the tables of claims, in words; "" if there are none."""
    counts, ends = Counter(), [claims.HEADS[0], claims.HEADS[-1]]
    for table in tree.find_all("table"):
        heads = [head.get_text() for head in table.select("thead th")]
        if [*heads[:1], *heads[-1:]] == ends:
            counts.update(row.find_all("td")[-1].get_text() for row in table.select("tbody tr"))
    order = dict.fromkeys([*VERDICTS, *counts])
    return ", ".join(f"{verdict} {counts[verdict]}" for verdict in order if counts[verdict])


def _fold(tree):
    """Fold code, leave scripts out, and give tables, which may be wide, a box that scrolls."""
    [tag.decompose() for tag in tree.select("script, style[scoped]")]  # pandas' style: the page's own is enough
    for cell in tree.select(".jp-CodeCell > .jp-Cell-inputWrapper"):
        folded = tree.new_tag("details", attrs={"class": "code"})
        lines = len(cell.pre.get_text().strip().splitlines())
        summary = tree.new_tag("summary", string=f"Code, {lines} line{'s' * (lines != 1)}")
        folded.extend([summary, cell.find(class_="highlight")])
        cell.replace_with(folded)
    for table in tree.find_all("table"):
        table.wrap(tree.new_tag("div", attrs={"class": "wide"}))


def _figures(tree, name, saved, files):
    """Make embedded pictures files of their own, which open large: as saved in the folder `saved`, if they are."""
    for number, picture in enumerate(tree.select('img[src^="data:"]'), 1):
        head, _, content = picture["src"].removeprefix("data:").partition(",")
        place = f"figures/{name}-{number}{mimetypes.guess_extension(head.split(';')[0]) or ''}"
        files[place] = base64.b64decode(content)
        picture["src"] = quote(place)
        if picture.get("alt", "No description").startswith("No description"):  # as nbconvert has it
            picture["alt"] = "Figure drawn by the code above"
        picture.wrap(tree.new_tag("a", href=quote(place), attrs={"class": "figure"}))
    for caption in tree.select("figcaption[data-figure]"):  # by report.figures.save
        picture, path = caption.find_previous("img"), saved / f"{caption['data-figure']}.png"
        picture["alt"] = caption.get_text().partition(". ")[0]
        if path.is_file():
            picture.parent["href"] = _copy(path, files)


def _copy(path, files):
    """Take a file of the project into the site; return its address there."""
    place = f"files/{path.relative_to(paths.ROOT).as_posix()}"
    files[place] = path.read_bytes()
    return quote(place)


def _connect(tree, reports, prefix, files):
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
            target = f"{prefix * (reports / path.name).exists()}{path.stem}.html"  # else that of params.yaml
            tag["href"] = quote(target) + (f"#{parts.fragment}" if parts.fragment else "")
        else:
            place = _copy(path, files)
            if tag.name == "img":
                tag["src"] = place
                tag = tag.wrap(tree.new_tag("a", attrs={"class": "figure"}))
            tag["href"] = place
    return dead


def _about(scale, own):
    """Tell what a scale is, on what its networks were trained, and the commit of its reports: a text for each."""
    folder = paths.results(scale) if own else paths.RECORDED / scale
    params = runs.load() if own else runs.load(folder / "params.yaml")
    what = "the scale of params.yaml" if own else f"recorded: made of {paths.relative(folder)} alone"
    known, seeds = "; ".join(task.title for task in params.tasks.values()), ", ".join(map(str, params.seeds))
    histories = [read_json(path) for path in sorted((folder / "history").glob("*.json"))]
    machines = {(x["environment"]["device"], x["environment"]["torch"]) for x in histories if "environment" in x}
    told = [f"{what}. Known classes: {known}. Seeds: {seeds}"]
    told += [f"networks trained on {device} with PyTorch {torch}" for device, torch in sorted(machines)]
    commit = _git("log", "-1", "--format=commit %h of %as", "--", paths.reports(scale))
    changed = ", and changed since" if commit and _git("status", "--porcelain", "--", paths.reports(scale)) else ""
    return [*told, f"reports recorded in {commit or 'no commit yet'}{changed}"]


def _git(*command):
    with contextlib.suppress(OSError, subprocess.CalledProcessError):  # no git, or no repository
        answer = subprocess.run(["git", *command], cwd=paths.ROOT, capture_output=True, text=True, check=True)
        return answer.stdout.strip()
    return ""


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


@cache
def _exporter():
    return HTMLExporter(
        config=Config({"NbConvertBase": {"display_data_priority": SHOWN}}),
        template_file=str(TEMPLATES / "cells.html.j2"),
        filters={"markdown2html": lambda source: MarkdownWithMath(renderer=_Renderer(escape=False)).render(source)},
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
