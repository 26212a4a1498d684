"""Pages that need neither network nor script: notebooks through nbconvert, with formulas as MathML."""

import base64
from functools import cache

from bs4 import BeautifulSoup
from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from markupsafe import Markup
from math_core import LatexError, LatexToMathML
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments import highlight
from pygments.formatters import HtmlFormatter
from traitlets.config import Config

from icelib import paths
from icelib.links import lexer, relative

TEMPLATES = paths.PACKAGE / "templates"
GENERATOR = "icelib.site"  # by which a page of ours is known
# What is shown of an output that comes in several forms. Widgets and scripts are not among them: without a
# kernel they are dead, and they come with a picture or a text.
SHOWN = ["text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/latex", "text/plain"]


def mathml(formula, display):
    """Convert a formula from LaTeX to MathML, which browsers draw themselves.

    Parameters
    ----------
    formula : str
        Without its dollar signs.
    display : bool
        Whether it stands on a line of its own.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If it is no LaTeX, or has a command that cannot be drawn.
    """
    try:
        return LatexToMathML(fancy_error=False).convert_with_local_state(formula, displaystyle=display)
    except LatexError as error:
        raise ValueError(f"the formula ${formula.strip()}$ cannot be converted: {error}") from None


class _Renderer(IPythonRenderer):
    """Markdown as nbconvert has it, with formulas as MathML."""

    def inline_math(self, body):
        return mathml(body, display=False)

    def block_math(self, body):
        # a span, since it stands in a paragraph; it scrolls where the window is narrow
        return f'<span class="equation">{mathml(body, display=True)}</span>'

    def latex_environment(self, name, body):
        return self.block_math(f"\\begin{{{name}}}{body}\\end{{{name}}}")


def markdown(source):
    """Convert Markdown with formulas to HTML; raise ValueError as `mathml`."""
    return MarkdownWithMath(renderer=_Renderer(escape=False)).render(source)


class _Exporter(HTMLExporter):
    @pass_context
    def markdown2html(self, context, source):
        return markdown(source)


def cells(notebook):
    """Convert the cells of an executed notebook, its figures in them.

    Parameters
    ----------
    notebook : nbformat.NotebookNode

    Returns
    -------
    bs4.BeautifulSoup

    Raises
    ------
    ValueError
        If a formula cannot be converted.
    """
    html, _ = _exporter().from_notebook_node(notebook)
    return soup(html)


@cache
def _exporter():
    return _Exporter(
        config=Config({"NbConvertBase": {"display_data_priority": SHOWN}}),
        template_file=str(TEMPLATES / "cells.html.j2"),
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )


def soup(html):
    """Parse HTML (a bs4.BeautifulSoup); tables, which may be wide, get a box that scrolls."""
    tree = BeautifulSoup(html, features="html.parser")
    for table in tree.find_all("table"):
        table.wrap(tree.new_tag("div", attrs={"class": "wide"}))
    return tree


def page(place, title, body, before=None, after=None, up=None):
    """Put a page around its content.

    Parameters
    ----------
    place : str
        The page's place in the site.
    title : str
    body : bs4.BeautifulSoup
        Its headings of second order become a list of the page's parts.
    before, after, up : (str, str), optional
        Place and title of the pages to read before and after this one, and of the list that it is in.

    Returns
    -------
    str
    """
    parts = [(heading["id"], text(heading)) for heading in body.select("h2[id]")]
    around = {"before": before, "after": after, "up": up}
    return render("page", place, title=title, body=Markup(body), parts=parts, generator=GENERATOR, **around)


def text(heading):
    """Return a heading (bs4.Tag) as text, without the mark that links to it."""
    return heading.get_text().removesuffix("¶")


def render(template, place, **content):
    """Fill a template of ``icelib/templates``; in it, ``to`` turns a place in the site into a link."""
    return (
        _environment()
        .get_template(f"{template}.html.j2")
        .render(place=place, to=lambda other: relative(other, place), **content)
    )


@cache
def _environment():
    return Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)


def source(place, path):
    """Return the page, at `place` in the site, that shows a source file of the project (`path`)."""
    code = highlight(path.read_text(), lexer(path), HtmlFormatter(linenos="inline"))
    return page(place, str(paths.relative(path)), soup(f"<h1>{paths.relative(path)}</h1>{code}"))


def style():
    """Return the style sheet of all pages, with the font of formulas in it.

    Few machines have a font that can stretch a brace. Browsers take a font that is a file of its own only from
    a server, not from a folder.
    """
    font = base64.b64encode((TEMPLATES / "font" / "STIXTwoMath.woff2").read_bytes()).decode()
    face = f'@font-face {{ font-family: "STIX Two Math"; src: url("data:font/woff2;base64,{font}"); }}'
    code = HtmlFormatter().get_style_defs(".highlight")
    return "\n".join([(TEMPLATES / "style.css").read_text(), code, face, ""])
