"""Data sets: official formats, bad archives, a user's own files."""

import gzip
import hashlib
import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from icelib import catalog, data, paths, readers, sources, synthetic
from icelib import images as image_files
from icelib.errors import SourceError
from icelib.sources import Npm, Web, archive


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "DOWNLOADS", tmp_path / "data" / "downloads")
    monkeypatch.setattr(paths, "DATASETS", tmp_path / "data" / "sets")
    paths.DOWNLOADS.mkdir(parents=True)
    return tmp_path


def images(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), np.uint8)


def tar(path, members):
    with tarfile.open(path, "w:gz") as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))


def test_cifar10_reads_the_official_binary_format(tmp_path):
    x, y = images(60), np.arange(60) % 10
    records = [bytes([label]) + image.transpose(2, 0, 1).tobytes() for image, label in zip(x, y, strict=True)]
    names = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
    tar(
        tmp_path / "c.tar.gz",
        {f"cifar-10-batches-bin/{n}": b"".join(records[10 * i : 10 * i + 10]) for i, n in enumerate(names)},
    )
    found = readers.read_cifar10((tmp_path / "c.tar.gz", Web("", "")))
    assert np.array_equal(found["train"][0], x[:50]) and np.array_equal(found["train"][1], y[:50])
    assert np.array_equal(found["test"][0], x[50:]) and np.array_equal(found["test"][1], y[50:])


def test_cifar10_reads_the_npm_package(tmp_path):
    x, y = images(60), np.arange(60) % 10
    members = {}
    for i, name in enumerate([f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]):
        sprite = io.BytesIO()
        Image.fromarray(x[10 * i : 10 * i + 10].reshape(10, 1024, 3)).save(sprite, "png")
        members[f"package/{name}.png"] = sprite.getvalue()
    members["package/train_lables.json"] = json.dumps(y[:50].tolist()).encode()
    members["package/test_lables.json"] = json.dumps(y[50:].tolist()).encode()
    tar(tmp_path / "c.tgz", members)
    found = readers.read_cifar10((tmp_path / "c.tgz", Npm("", "", "")))
    assert np.array_equal(found["train"][0], x[:50]) and np.array_equal(found["test"][0], x[50:])
    assert np.array_equal(found["train"][1], y[:50]) and np.array_equal(found["test"][1], y[50:])


def test_cifar100_reads_the_official_binary_format_with_fine_labels(tmp_path):
    x, fine = images(20), np.arange(20) * 5
    records = [bytes([7, label]) + image.transpose(2, 0, 1).tobytes() for image, label in zip(x, fine, strict=True)]
    members = {"train": records[:15], "test": records[15:]}
    tar(tmp_path / "c.tar.gz", {f"cifar-100-binary/{k}.bin": b"".join(v) for k, v in members.items()})
    found = readers.read_cifar100((tmp_path / "c.tar.gz", Web("", "")))
    assert np.array_equal(found["train"][0], x[:15]) and np.array_equal(found["train"][1], fine[:15])
    assert np.array_equal(found["test"][0], x[15:]) and np.array_equal(found["test"][1], fine[15:])


def test_mnist_is_padded_and_grey_from_both_sources(tmp_path):
    x, y = images(7)[:, :28, :28, 0], np.arange(7, dtype=np.uint8)
    header = lambda a: bytes([0, 0, 8, a.ndim]) + np.array(a.shape, ">i4").tobytes() + a.tobytes()
    for name, array in (("i.gz", x), ("l.gz", y)):
        (tmp_path / name).write_bytes(gzip.compress(header(array)))
    web = readers.read_mnist((tmp_path / "i.gz", Web("", "")), (tmp_path / "l.gz", Web("", "")))["test"]
    tar(
        tmp_path / "m.tgz",
        {"package/data/t10k-images-idx3-ubyte": header(x), "package/data/t10k-labels-idx1-ubyte": header(y)},
    )
    npm = readers.read_mnist(*[(tmp_path / "m.tgz", Npm("", "", ""))] * 2)["test"]
    for found, labels in (web, npm):
        assert (
            np.array_equal(found[:, 2:30, 2:30, 1], x)
            and found.sum() == 3 * x.sum(dtype=int)
            and np.array_equal(labels, y)
        )


@pytest.mark.parametrize(
    "make", [synthetic.gaussian, synthetic.rademacher, synthetic.blobs, synthetic.digits, synthetic.photographs]
)
def test_made_outliers_are_images_and_the_same_each_time(make):
    found, _ = make()["test"]
    assert found.dtype == np.uint8 and found.shape[1:] == (32, 32, 3) and len(found) >= 1200
    assert np.array_equal(found, make()["test"][0])


def test_noise_has_the_moments_of_its_definition():
    gaussian = synthetic.gaussian()["test"][0] / 127.5 - 1
    assert abs(gaussian.mean()) < 1e-2 and abs(gaussian.std() - 0.4797) < 2e-3  # of N(0, 0.5²) clipped to ±1
    rademacher = synthetic.rademacher()["test"][0]
    assert set(np.unique(rademacher)) == {0, 255} and abs(rademacher.mean() - 127.5) < 0.2
    blobs = synthetic.blobs()["test"][0]
    assert not ((blobs > 0) & (blobs < 191)).any() and (blobs == 0).any()


class Served(Web):
    """A source that serves fixed bytes, or fails."""

    content = b""

    def fetch(self, destination):
        if not self.content:
            raise OSError("no route to host")
        destination.write_bytes(self.content)


def served(name, content, published=None):
    digest = "sha256:" + hashlib.sha256(published or content).hexdigest()
    return type("Source", (Served,), {"content": content})(f"https://example.org/{name}", digest)


def test_the_first_source_that_works_is_used_and_kept(root):
    path, source = archive([served("a", b"", b"x"), served("b", b"content")])
    assert source.filename == "b" and path.read_bytes() == b"content"
    assert archive([served("b", b"", b"content")])[0] == path, "a verified file is not fetched again"


def test_all_failures_are_listed_with_the_folder_for_files_put_by_hand(root):
    with pytest.raises(SourceError) as caught:
        archive([served("a.tgz", b"", b"x"), served("b.tgz", b"trunc", b"truncated")])
    message = str(caught.value)
    assert "https://example.org/a.tgz: no route to host" in message
    assert "https://example.org/b.tgz: checksum sha256:" in message and "incomplete or altered" in message
    assert "put a.tgz or b.tgz into " + str(paths.DOWNLOADS) in message
    assert list(paths.DOWNLOADS.iterdir()) == [], "nothing half-fetched is left"


def test_one_flipped_byte_in_a_file_put_by_hand_is_refused_and_kept(root):
    content = bytes(1000)
    source = served("a.tgz", content)
    flipped = bytearray(content)
    flipped[500] ^= 1
    (paths.DOWNLOADS / "a.tgz").write_bytes(flipped)
    with pytest.raises(SourceError, match="data/downloads/a.tgz: checksum sha256:.* expected sha256:.*; move it away"):
        archive([source])
    assert (paths.DOWNLOADS / "a.tgz").read_bytes() == flipped, "what a person put there is not overwritten"


def test_a_missing_npm_client_is_a_reason(root, monkeypatch):
    monkeypatch.setattr(sources.shutil, "which", lambda _: None)
    with pytest.raises(SourceError, match="npm package x@1: the npm client is not installed"):
        archive([Npm("x", "1", "sha1:0")])


def test_an_npm_client_that_leaves_no_archive_is_a_reason(root, monkeypatch):
    monkeypatch.setattr(sources.shutil, "which", lambda _: "true")
    with pytest.raises(SourceError, match="npm package x@1: npm wrote 0 archives; expected one"):
        archive([Npm("x", "1", "sha1:0")])


def test_unreachable_web_source_is_a_reason(root):
    with pytest.raises(SourceError, match="http://127.0.0.1:9/x: "):
        archive([Web("http://127.0.0.1:9/x", "md5:0")])


def test_wrong_images_are_refused(root, monkeypatch):
    record = catalog.DataSet("t", "terms", "as it is", lambda: {"test": (images(3), None)}, sha256={"test": "0" * 64})
    monkeypatch.setitem(data.DATASETS, "wrong", record)
    with pytest.raises(SourceError, match="wrong: the test images have SHA-256 .*, expected 000"):
        data.prepare("wrong")
    assert not (paths.DATASETS / "wrong").exists()


def test_archive_with_missing_members_is_refused(root, monkeypatch):
    tar(paths.DOWNLOADS / "c.tgz", {"package/nothing": b""})
    digest = "md5:" + hashlib.md5((paths.DOWNLOADS / "c.tgz").read_bytes()).hexdigest()
    record = catalog.DataSet(
        "t", "terms", "as it is", readers.read_cifar10, ((Web("https://example.org/c.tgz", digest),),)
    )
    monkeypatch.setitem(data.DATASETS, "odd", record)
    with pytest.raises(SourceError, match="odd: .*c.tgz.* cannot be decoded"):
        data.prepare("odd")


def test_own_npz_is_prepared_and_loaded(root):
    x, y = images(5), np.arange(5)
    np.savez(root / "mine.npz", images=x, labels=y)
    data.prepare("mine", root / "mine.npz")
    found, labels = data.load("mine")
    assert np.array_equal(found, x) and np.array_equal(labels, y)
    assert data.about("mine")["splits"]["all"]["images"] == 5


def test_own_folder_is_resized_and_its_subfolders_are_classes(root):
    for i, name in enumerate(["cats/b.png", "ants/a.png", "cats/a.jpg"]):
        path = root / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((50, 80, 3), 40 * i, np.uint8)).save(path)
    found, labels, classes = image_files.read_own(root / "photos")
    assert classes == ["ants", "cats"] and labels.tolist() == [0, 1, 1]  # in order of path: ants/a, cats/a, cats/b
    assert found.shape == (3, 32, 32, 3) and found[:, 0, 0, 0].tolist() == pytest.approx([40, 80, 0], abs=2)
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(root / "photos" / "loose.png")
    assert image_files.read_own(root / "photos")[1] is None


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"labels": np.zeros(3, int)}, "has no array 'images'"),
        ({"images": np.zeros((3, 28, 28, 3), np.uint8)}, r"uint8 \(3, 28, 28, 3\), expected uint8 \(N, 32, 32, 3\)"),
        ({"images": np.zeros((3, 32, 32, 3))}, r"float64 \(3, 32, 32, 3\), expected uint8"),
        ({"images": np.zeros((0, 32, 32, 3), np.uint8)}, "N ≥ 1"),
        (
            {"images": images(3), "labels": np.zeros(2, int)},
            r"labels are int64 \(2,\), expected integers from 0 to 2⁶³ − 1 of shape \(3,\)",
        ),
        ({"images": images(3), "labels": np.zeros(3)}, "labels are float64"),
        ({"images": images(3), "labels": np.array([0, -1, 2])}, r"labels are int64 \(3,\) from -1 to 2"),
        ({"images": images(3), "labels": np.array([0, 1, 2**63], np.uint64)}, "to 9223372036854775808, expected"),
        ({"images": np.array([{}], dtype=object)}, "not a readable .npz file"),
    ],
)
def test_bad_own_arrays_are_refused(root, arrays, message):
    np.savez(root / "mine.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        data.prepare("mine", root / "mine.npz")
    assert not (paths.DATASETS / "mine").exists()


def test_unreadable_own_files_are_refused(root):
    (root / "mine.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"mine.npz is not a readable .npz file"):
        data.prepare("mine", root / "mine.npz")
    with pytest.raises(ValueError, match="none.npz is missing"):
        data.prepare("mine", root / "none.npz")
    (root / "empty").mkdir()
    with pytest.raises(ValueError, match="empty holds no images"):
        data.prepare("mine", root / "empty")
    (root / "empty" / "x.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"x.png is not a readable image"):
        data.prepare("mine", root / "empty")


def test_names_are_checked(root):
    with pytest.raises(ValueError, match="unknown data set 'cifar11'"):
        data.prepare("cifar11")
    with pytest.raises(ValueError, match="own_datasets.mnist: this is the name of a published set"):
        data.prepare("mnist", root / "x.npz")
    with pytest.raises(ValueError, match="'mnist' is not prepared"):
        data.load("mnist")


def test_damaged_prepared_set_is_noticed(root):
    np.savez(root / "mine.npz", images=images(5))
    data.prepare("mine", root / "mine.npz")
    path = paths.DATASETS / "mine" / "all.npz"
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"all.npz"):
        data.load("mine")
    np.savez(path, images=images(5, seed=1))
    with pytest.raises(ValueError, match=r"mine/all.npz: SHA-256 of the images is not .*mine/about.json has it"):
        data.load("mine")
