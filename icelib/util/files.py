"""Writing files so that a reader never sees half of one."""

import errno
import hashlib
import json
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

from icelib.util import paths

# What a full, read-only or failing disk answers; other errors of a block are not about writing.
DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}


@contextmanager
def replacing(path):
    """Yield a temporary path beside `path` that becomes `path` only if the block succeeds; its folder is made.

    Raises OSError with the name of `path` if it cannot be written, for example on a full disk.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-", suffix=path.suffix)
        os.close(handle)
    except OSError as error:
        raise _cannot_write(path, error) from error
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)  # there is no other way to read it
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise _cannot_write(path, error) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path):
    """Yield a place beside `path` for a folder, which becomes `path` only if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=path.parent) as temporary:
        yield Path(temporary) / path.name
        if path.exists():
            path.rename(Path(temporary) / "old")
        (Path(temporary) / path.name).rename(path)


def write_bytes(path, content):
    """Write `content` (bytes) to `path`, all or nothing."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path, value):
    """Write `value` to `path` as readable JSON, all or nothing; raise ValueError at NaN and infinity."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def read_json(path):
    """Read a JSON file that holds an object; raise ValueError with its name if it is missing or not readable."""
    where, way = paths.relative(path), "remove it and run `dvc repro`"
    try:
        value = json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise ValueError(f"{where} is missing; `dvc repro` makes it") from None
    except ValueError as error:
        raise ValueError(f"{where} is not readable JSON: {error}; {way}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{where} holds a {type(value).__name__}, expected an object; {way}")
    return value


def sha256(array):
    """Return the SHA-256 hexadecimal digest of the bytes of a C-contiguous array."""
    return hashlib.sha256(memoryview(array).cast("B")).hexdigest()


def _cannot_write(path, error):
    return OSError(f"cannot write {paths.relative(path)}: {error.strerror or error}; nothing was changed")
