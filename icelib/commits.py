"""What git can tell of a file: the commit that recorded it, and the commits that hold given contents."""

import functools
import hashlib
import subprocess
from typing import NamedTuple

from icelib import paths


class Commit(NamedTuple):
    """A commit: abbreviated hash, date of the author (YYYY-MM-DD) and first line of the message."""

    name: str
    date: str
    subject: str

    def __str__(self):
        return f"{self.name} of {self.date} ({self.subject})"


def why_silent():
    """Say why git cannot be asked here, or that its history is incomplete; empty if it can be."""
    try:
        inside = _git("rev-parse", "--show-prefix", "--is-shallow-repository")
    except FileNotFoundError:
        return "git is not installed"
    except subprocess.CalledProcessError:
        return "this folder is no git repository"
    prefix, shallow = inside.split("\n")[:2]
    if prefix:
        return "this folder lies in another git repository"
    try:
        _git("rev-parse", "--verify", "HEAD")
    except subprocess.CalledProcessError:
        return "the git repository has no commit yet"
    return "the clone is shallow: `git fetch --unshallow` brings the history" if shallow == "true" else ""


def recorded(path):
    """Return the last commit that changed a file (relative to the project), or None."""
    line = _git("log", "-1", "--format=%h%x09%as%x09%s", "--", path).strip("\n")
    return Commit(*line.split("\t", 2)) if line else None


def is_committed(path):
    """Whether a file (relative to the project) is as the last commit has it."""
    return bool(_git("ls-files", "--", path)) and not _git("status", "--porcelain", "--", path)


def content(commit, path):
    """Return the bytes of a file (path from the project) in a commit, or None."""
    try:
        return _git("show", f"{commit}:{path}", text=False)
    except subprocess.CalledProcessError:
        return None


def holding(*files):
    """Find the commits in which files have given contents.

    Parameters
    ----------
    *files : tuple of (str, str)
        Path and MD5 of its content.

    Returns
    -------
    list of Commit
        Of those that changed any of the files, the newest first. The contents are the same in
        the commits up to the next one that changed a file.
    """
    names = [path for path, _ in files]
    history = _git("log", "--topo-order", "--full-history", "--format=%h%x09%as%x09%s", "--", *names).splitlines()
    candidates = [Commit(*line.split("\t", 2)) for line in history]
    asked = "".join(f"{commit.name}:{path}\n" for commit in candidates for path in names)
    blobs = iter(_git("cat-file", "--batch-check=%(objectname)", input=asked).splitlines())
    return [
        commit
        for commit in candidates
        # the list first: each file's blob must be taken from the iterator, whatever the first ones are
        if all([_md5(next(blobs)) == md5 for _, md5 in files])
    ]


@functools.cache
def _md5(blob):
    if blob.endswith(" missing"):
        return None
    return hashlib.md5(_git("cat-file", "blob", blob, text=False), usedforsecurity=False).hexdigest()


def _git(*arguments, text=True, **options):
    command = ["git", "-c", "core.quotepath=off", *arguments]
    return subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=text, check=True, **options).stdout
