"""Downloads that break off, go on, or bring the wrong bytes, from a server on this machine."""

import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from icelib import paths
from icelib.errors import SourceError
from icelib.sources import Web, archive
from tests.test_data import root  # noqa: F401

CONTENT = np.random.default_rng(0).bytes(3 << 20)


class Server:
    """Serves `content`; knows ranges or not; cuts the answers after so many bytes each."""

    def __init__(self):
        self.content, self.ranges, self.cuts, self.asked = CONTENT, True, [], []
        this = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                wanted = self.headers.get("Range")
                this.asked.append(wanted)
                start = int(re.match(r"bytes=(\d+)-$", wanted)[1]) if wanted and this.ranges else 0
                size = len(this.content)
                if start >= size:
                    self.send_response(416)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(206 if wanted and this.ranges else 200)
                if wanted and this.ranges:
                    self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
                self.send_header("Content-Length", str(size - start))
                self.end_headers()
                body = this.content[start:]
                self.wfile.write(body[: this.cuts.pop(0)] if this.cuts else body)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def source(self, content=CONTENT):
        digest = "md5:" + hashlib.md5(content).hexdigest()
        return Web(f"http://127.0.0.1:{self.http.server_port}/file.bin", digest)


@pytest.fixture
def server(root, monkeypatch):  # noqa: F811
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


def part():
    return paths.DOWNLOADS / "file.bin.part"


def test_a_download_is_whole_and_leaves_nothing_beside_it(server):
    path, _ = archive([server.source()])
    assert path.read_bytes() == CONTENT and list(paths.DOWNLOADS.iterdir()) == [path]


def test_a_connection_that_breaks_is_gone_on_from(server):
    server.cuts = [1 << 20, 1 << 20]
    path, _ = archive([server.source()])
    assert path.read_bytes() == CONTENT and server.asked == [None, "bytes=1048576-", "bytes=2097152-"]


def test_what_came_is_kept_for_the_next_command(server):
    server.cuts = [1 << 20] + [0] * 10
    with pytest.raises(SourceError, match="1,048,576 bytes are kept, and the same command goes on from there"):
        archive([server.source()])
    assert part().read_bytes() == CONTENT[: 1 << 20] and not (paths.DOWNLOADS / "file.bin").exists()
    server.cuts, server.asked = [], []
    assert archive([server.source()])[0].read_bytes() == CONTENT
    assert server.asked == ["bytes=1048576-"] and not part().exists()


def test_a_server_without_ranges_sends_the_whole_file_again(server):
    server.ranges, server.cuts = False, [1 << 20]
    path, _ = archive([server.source()])
    assert path.read_bytes() == CONTENT and server.asked == [None, "bytes=1048576-"]


def test_a_longer_leftover_is_cut_by_a_server_without_ranges(server):
    server.ranges = False
    part().write_bytes(bytes(4 << 20))
    assert archive([server.source()])[0].read_bytes() == CONTENT


def test_a_whole_leftover_is_taken_as_it_is(server):
    part().write_bytes(CONTENT)
    assert archive([server.source()])[0].read_bytes() == CONTENT and len(server.asked) == 1


@pytest.mark.parametrize("leftover", [bytes(1000), bytes(3 << 20), bytes(4 << 20)])
def test_a_damaged_leftover_is_dropped_and_the_file_fetched_anew(server, leftover):
    part().write_bytes(leftover)
    assert archive([server.source()])[0].read_bytes() == CONTENT
    assert server.asked == [f"bytes={len(leftover)}-", None] and not part().exists()


def test_wrong_bytes_are_refused_and_not_gone_on_from(server):
    server.content = CONTENT[:-1] + b"x"
    with pytest.raises(SourceError) as caught:
        archive([server.source()])
    message, expected = str(caught.value), server.source()
    assert "checksum md5:" in message and f"expected {expected.digest}; the download is incomplete" in message
    assert f"put file.bin into {paths.DOWNLOADS}" in message
    assert f"file.bin from {expected.url}, {expected.digest}" in message
    assert list(paths.DOWNLOADS.iterdir()) == []
    server.content = CONTENT
    assert archive([expected])[0].read_bytes() == CONTENT


def test_a_missing_file_is_a_reason_and_leaves_what_there_was(server):
    part().write_bytes(b"beginning")
    server.http.RequestHandlerClass.do_GET = lambda self: self.send_error(404)
    with pytest.raises(SourceError, match="404"):
        archive([server.source()])
    assert part().read_bytes() == b"beginning"
