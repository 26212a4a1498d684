"""The executed notebooks as a static site that is read without a network: ``python -m icelib.site``.

The site shows what is in ``reports/`` and executes nothing. It is made anew as a whole each time, and equal
reports give equal bytes.
"""

import argparse
import re
import tempfile
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from icelib import chapters, pages, paths
from icelib.errors import readable_errors
from icelib.files import read_json
from icelib.links import Links, lexer

TITLE = "ICE companion"
ABOUT = (
    "A reproducible companion of *Towards In-Distribution Compatible Out-of-Distribution Detection* (B. Wu, J. Jiang "
    "et al., AAAI 2023): its notebooks as the pipeline executed them, with the paper's numbers beside ours."
)
TABLES = [f"{name}.{suffix}" for name in ("table1", "table2", "table2_extended", "table3") for suffix in ("csv", "tex")]
NEEDED = ["fig1.png", "fig1.txt", "table2.md", *TABLES]  # of figures/
CHANGED = "not as dvc.lock records it: executed by hand, or changed since the pipeline made it"


class Shown(NamedTuple):
    """An executed notebook as HTML: its title, the paragraph below it, and all of it."""

    title: str
    claim: Markup
    body: object


def build():
    """Write the site to ``site/``, all or nothing.

    Returns
    -------
    index : pathlib.Path
        Its first page.
    changed : list of pathlib.Path
        What it was made from and dvc.lock does not have (`chapters.unrecorded`); the site says so too.

    Raises
    ------
    ValueError
        If something that the pipeline makes is missing, with what makes it; if a report is broken, or a
        link in it leads nowhere; if ``site/`` is there and is no earlier site.
    """
    index = paths.SITE / "index.html"
    if paths.SITE.exists() and not (index.is_file() and f'content="{pages.GENERATOR}"' in index.read_text()):
        raise ValueError(f"{paths.relative(paths.SITE)} exists and is no site that we made; move it away")
    contents, changed = _contents()
    with tempfile.TemporaryDirectory(dir=paths.SITE.parent, prefix=".writing-") as folder:
        new = Path(folder) / "new"
        for place, content in contents.items():
            (new / place).parent.mkdir(parents=True, exist_ok=True)
            (new / place).write_bytes(content)
        if paths.SITE.exists():
            paths.SITE.rename(Path(folder) / "old")
        new.rename(paths.SITE)
    return index, changed


def _contents():
    """Return the content of every file of the site, by its place, and what dvc.lock does not have."""
    listed, others = chapters.declared(), [paths.FIGURES / name for name in NEEDED]
    chapters.check_complete(listed, others)
    changed = chapters.unrecorded(listed, others)
    links = Links({(chapter.notebook, chapter.scale): chapter.place for chapter in listed})
    shown = {
        execution.place: _show(execution, chapter, links, execution.report in changed)
        for chapter in listed
        for execution in chapter.executions
    }
    titles = {chapter.place: _title(chapter, shown) for chapter in listed}
    written = {"index.html": _index(listed, titles, shown, links, changed)}
    for chapter in listed:
        written |= _chapter(chapter, titles, shown)
    links.check()
    written |= {place: pages.source(place, path) for place, path in links.files.items() if lexer(path)}
    files = {place: text.encode() for place, text in (written | {"style.css": pages.style()}).items()}
    return files | {place: path.read_bytes() for place, path in links.files.items() if not lexer(path)}, changed


def _show(execution, chapter, links, changed):
    notebook = chapters.executed(execution, chapter)
    try:
        body = pages.cells(notebook)
        if body.h1 is None or body.p is None:
            raise ValueError("expected a title (#) and a paragraph in its first cell")
        title, claim = pages.text(body.h1), Markup(body.p.decode_contents())
        if changed:
            body.h1.insert_after(pages.soup(pages.markdown(f"**This notebook is {CHANGED}.**")))
        links.connect(body, execution.place, execution.run.scale if execution.run else chapter.scale)
    except ValueError as error:
        raise ValueError(f"{paths.relative(execution.report)}: {error}") from None
    return Shown(title, claim, body)


def _title(chapter, shown):
    return shown[chapter.executions[0].place].title + (f" ({chapter.scale} scale)" if chapter.scale else "")


def _chapter(chapter, titles, shown):
    """Return the pages of a chapter, by their places."""
    place, title, around = chapter.place, titles[chapter.place], _around(chapter.place, titles)
    if chapter.executions[0].place == place:
        return {place: pages.page(place, title, shown[place].body, **around)}
    rows = [(execution, read_json(paths.history(execution.run))["epochs"]) for execution in chapter.executions]
    table = pages.soup(pages.render("runs", place, title=title, rows=rows))
    names = {execution.place: f"{execution.run.name} ({execution.run.scale} scale)" for execution in chapter.executions}
    return {place: pages.page(place, title, table, **around)} | {
        each: pages.page(each, name, shown[each].body, up=(place, title), **_around(each, names))
        for each, name in names.items()
    }


def _around(place, titles):
    """Return place and title of the pages before and after one."""
    places = list(titles)
    number = places.index(place)
    found = {"before": places[number - 1] if number else None, "after": (places[number + 1 :] or [None])[0]}
    return {name: (other, titles[other]) for name, other in found.items() if other}


def _index(listed, titles, shown, links, changed):
    """Return the first page: the results in short, and the chapters."""
    caption = (paths.FIGURES / "fig1.txt").read_text().split("\n\n")[0]
    files = ", ".join(f"[{name}](../figures/{name})" for name in TABLES)
    names = ", ".join(f"`{paths.relative(path)}`" for path in changed[:8]) + ", …" * (len(changed) > 8)
    told = [f"**Shown here, but {CHANGED}:** {names}"] if changed else []
    pieces = [
        ABOUT,
        *told,
        f"![{caption}](../figures/fig1.png)",
        f"*{caption}*",
        "## Results",
        _results(),
    ]
    pieces += [f"The tables whole are in `03_benchmark` and `04_ablations`; as files: {files}."]
    results = pages.soup(pages.markdown("\n\n".join(pieces)))
    links.connect(results, "index.html")
    entries = []
    for chapter in listed:
        claim = pages.soup(shown[chapter.executions[0].place].claim)
        links.connect(claim, "index.html", chapter.scale)
        entries.append((chapter.notebook, chapter.place, titles[chapter.place], Markup(claim)))
    contents = pages.render("index", "index.html", title=TITLE, results=Markup(results), entries=entries)
    return pages.page("index.html", TITLE, pages.soup(contents), after=entries[0][1:3])


def _results():
    """Return the sections "In short" of Table 2, for each scale, with what stands above the table."""
    text = (paths.FIGURES / "table2.md").read_text()
    pieces = []
    for scale in re.split(r"^## ", text, flags=re.M)[1:]:
        about, *sections = re.split(r"^### ", scale, flags=re.M)
        title, told = about.split("\n", 1)
        pieces += [f"### {title}", *(f"#### {section}" for section in sections if section.startswith("In short")), told]
    return "\n\n".join(pieces)


def main():
    """Make the site, and say where it is."""
    argparse.ArgumentParser(description="Make the static site in site/ from the executed notebooks.").parse_args()
    with readable_errors():
        index, changed = build()
        files = [path for path in paths.SITE.rglob("*") if path.is_file()]
    for path in changed:
        print(f"{paths.relative(path)} is {CHANGED}")
    size = sum(path.stat().st_size for path in files) / 1e6
    print(f"{paths.relative(index)}: {len(files)} files, {size:.1f} MB; open it in a browser")


if __name__ == "__main__":
    main()
