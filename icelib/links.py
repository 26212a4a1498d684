"""Links of a notebook, as they must read in the site: to other pages, and to files of the project."""

import base64
import mimetypes
import posixpath
import re
from urllib.parse import quote, unquote, urlsplit

from icelib import paths


class Links:
    """Where the site's pages are, and which files of the project they need beside them.

    Parameters
    ----------
    pages : dict of (str, str or None) to str
        For the name of a notebook and its scale, if it has one, the page's place in the site. Where a
        page without a scale names a notebook that has several, the first is meant.

    Attributes
    ----------
    files : dict of str to pathlib.Path
        For a place in the site, the file of the project that is linked to there.
    """

    def __init__(self, pages):
        self.pages = pages
        self.files = {}
        self._places = {}  # of headings, on each page
        self._fragments = []  # links to headings

    def connect(self, soup, here, scale=None):
        """Turn links and pictures of a notebook into those of its page.

        Links to notebooks lead to their pages, those to other files to copies in the site; pictures are
        embedded. Code in the text that names a notebook, a module or a figure becomes a link too.

        Parameters
        ----------
        soup : bs4.BeautifulSoup
            Changed in place. Its links start at ``notebooks/``, as in Jupyter.
        here : str
            The page's place in the site.
        scale : str or None

        Raises
        ------
        ValueError
            If a link leads to nothing in the project, or a picture needs a network.
        """
        for code in soup.find_all("code"):
            place = None if code.find_parent(["a", "pre"]) else self._named(code.get_text(), scale)
            if place and place != here:
                code.wrap(soup.new_tag("a", href=relative(place, here)))
                code.parent["class"] = "connected"
        for link in soup.find_all("a", href=True):
            if "connected" in link.get("class", ()):
                del link["class"]
            else:
                link["href"] = self._target(link["href"], here, scale)
        for picture in soup.find_all("img", src=True):
            picture["src"] = self._embedded(picture["src"])
        self._places.setdefault(here, set()).update(unquote(tag["id"]) for tag in soup.find_all(id=True))

    def check(self):
        """Raise ValueError if a link leads to a heading that is not there."""
        for here, place, fragment in self._fragments:
            if fragment not in self._places.get(place, ()):
                raise ValueError(f"{here} links to #{fragment} of {place}, where there is no such heading")

    def _target(self, url, here, scale):
        parts = urlsplit(url)
        if parts.scheme or parts.netloc:
            return url
        if not parts.path:
            place = here
        else:
            path = _project_file(url, paths.NOTEBOOKS / unquote(parts.path))
            place = self._page(path.stem, scale) if path.suffix == ".ipynb" else self._copy(path)
        fragment = ""
        if parts.fragment:
            self._fragments.append((here, place, unquote(parts.fragment)))
            fragment = f"#{parts.fragment}"
        return fragment if place == here and fragment else relative(place, here) + fragment

    def _page(self, notebook, scale):
        places = {of: place for (name, of), place in self.pages.items() if name == notebook}
        return places.get(scale, next(iter(places.values()), None))

    def _named(self, text, scale):
        if page := self._page(text, scale):
            return page
        if module := re.fullmatch(r"icelib\.(\w+)(\.\w+)*", text):
            text = f"icelib/{module[1]}.py"
        path = paths.ROOT / text
        if re.fullmatch(r"(icelib|figures)(/\w[\w.-]*)+", text) and path.is_file():
            return self._copy(path)
        return None

    def _copy(self, path):
        name = path.relative_to(paths.ROOT).as_posix()
        place = f"files/{name}.html" if lexer(path) else f"files/{name}"
        self.files[place] = path
        return place

    def _embedded(self, url):
        parts = urlsplit(url)
        if parts.scheme == "data":
            return url
        if parts.scheme or parts.netloc:
            raise ValueError(f"the picture {url} needs a network; put it into the project, and link to it there")
        path = _project_file(url, paths.NOTEBOOKS / unquote(parts.path))
        kind = mimetypes.guess_type(path.name)[0]
        return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def relative(place, here):
    """Return the address of `place` as a link on the page `here`, both places in the site."""
    return quote(posixpath.relpath(place, posixpath.dirname(here) or "."))


def lexer(path):
    """Return the lexer of Pygments that colours a source file, or None for what a browser shows or saves as it is."""
    from pygments.lexers import get_lexer_for_filename
    from pygments.util import ClassNotFound

    try:
        return get_lexer_for_filename(path.name)
    except ClassNotFound:
        return None


def _project_file(url, path):
    path = path.resolve()
    if not (path.is_file() and path.is_relative_to(paths.ROOT)):
        raise ValueError(f"there is a link to {url!r}, which is no file of the project")
    return path
