"""Published archives: the official formats in miniature, damaged and hostile ones."""

import io
import os
import pickle
import struct
import tarfile
import warnings
import zipfile

import numpy as np
import pytest
import scipy.io
from PIL import Image

from icelib import catalog, data, paths, photographs, pickles, readers, tinyimages
from icelib.errors import SourceError
from icelib.sources import Web
from tests.test_data import images, root, tar  # noqa: F401

PYTHON = Web("https://example.org/cifar-python.tar.gz", "")
WEB = Web("https://example.org/archive", "")


def encoded(array, kind="png"):
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind)
    return file.getvalue()


def python2_batch(table, labels, key):
    """A dictionary as Python 2 pickled it for CIFAR: byte strings, protocol 2, numpy's old module."""
    text = lambda s: b"U" + bytes([len(s)]) + s
    whole = lambda i: b"J" + struct.pack("<i", i)
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
        b"(K\x01" + whole(len(table)) + whole(table.shape[1]) + b"\x86"
        b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R(K\x03" + text(b"|") + b"NNN" + whole(-1) * 2 + b"K\x00tb"
        b"\x89T" + struct.pack("<i", table.nbytes) + table.tobytes() + b"tb"
    )
    numbers = b"](" + b"".join(whole(int(label)) for label in labels) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(key) + numbers + b"u."


@pytest.mark.parametrize(
    "write", [python2_batch, lambda x, y, key: pickle.dumps({"data": x, key.decode(): y.tolist()}, 4)]
)
def test_cifar_reads_pickled_batches(tmp_path, write):
    x, y = images(60), np.arange(60) % 10
    table = x.transpose(0, 3, 1, 2).reshape(60, -1)
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    batches = {n: write(table[10 * i : 10 * i + 10], y[10 * i : 10 * i + 10], b"labels") for i, n in enumerate(names)}
    tar(tmp_path / "10.tgz", {f"cifar-10-batches-py/{name}": batch for name, batch in batches.items()})
    found = readers.read_cifar10((tmp_path / "10.tgz", PYTHON))
    assert np.array_equal(found["train"][0], x[:50]) and np.array_equal(found["train"][1], y[:50])
    assert np.array_equal(found["test"][0], x[50:]) and np.array_equal(found["test"][1], y[50:])

    parts = {"train": slice(0, 40), "test": slice(40, 60)}
    tar(
        tmp_path / "100.tgz",
        {f"cifar-100-python/{k}": write(table[part], y[part], b"fine_labels") for k, part in parts.items()},
    )
    found = readers.read_cifar100((tmp_path / "100.tgz", PYTHON))
    assert np.array_equal(found["test"][0], x[40:]) and np.array_equal(found["train"][1], y[:40])


class Harmful:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_calls_something_is_refused_uncalled(tmp_path, protocol):
    mark = tmp_path / "called"
    for harm in (Harmful(os.system, f"touch '{mark}'"), Harmful(eval, f"open({str(mark)!r}, 'w')")):
        with pytest.raises(
            ValueError, match=r"the pickle asks for (posix|nt|builtins|__builtin__)\.(system|eval); only"
        ):
            pickles.load(pickle.dumps({"data": harm}, protocol))
    assert not mark.exists()


def test_a_pickle_that_calls_something_ends_the_preparation_with_its_name(root, monkeypatch):  # noqa: F811
    tar(paths.DOWNLOADS / "bad-python.tgz", {"cifar-100-python/train": pickle.dumps(Harmful(os.system, "false"))})
    source = Web("https://example.org/bad-python.tgz", "md5:" + md5(paths.DOWNLOADS / "bad-python.tgz"))
    record = catalog.DataSet("t", "terms", "as it is", readers.read_cifar100, ((source,),))
    monkeypatch.setitem(catalog.DATASETS, "bad", record)
    with pytest.raises(SourceError, match=r"bad: .*bad-python.tgz.* cannot be decoded: the pickle asks for"):
        data.prepare("bad")


def md5(path):
    import hashlib

    return hashlib.md5(path.read_bytes()).hexdigest()


def test_a_damaged_pickle_is_refused():
    with pytest.raises(ValueError, match="not a readable pickle"):
        pickles.load(pickle.dumps({"data": images(2)}, 4)[:-100])


def test_svhn_reads_matlab_files_and_its_ten_is_zero(tmp_path):
    for seed, name in enumerate(("test", "train")):
        x, y = images(12, seed), (np.arange(12) % 10 + 1).astype(np.uint8)
        scipy.io.savemat(tmp_path / f"{name}.mat", {"X": x.transpose(1, 2, 3, 0), "y": y[:, None]}, do_compression=True)
    found = readers.read_svhn((tmp_path / "test.mat", WEB), (tmp_path / "train.mat", WEB))
    for seed, name in enumerate(("test", "train")):
        assert np.array_equal(found[name][0], images(12, seed))
        assert found[name][1].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2]


def test_a_matlab_file_of_something_else_is_refused(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"X": np.zeros((32, 32, 3, 4))})
    with pytest.raises(ValueError, match=r"a.mat: array 'X' is double \(32, 32, 3, 4\), expected uint8"):
        readers.read_svhn((tmp_path / "a.mat", WEB))


def test_random_images_stay_on_disk_until_they_are_used(tmp_path):
    np.save(tmp_path / "r.npy", images(9))
    found, labels = readers.read_npy((tmp_path / "r.npy", WEB))["train"]
    assert isinstance(found, np.memmap) and np.array_equal(found, images(9)) and labels is None


def test_arrays_that_lie_are_refused(tmp_path):
    np.save(tmp_path / "object.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "float.npy", np.zeros((2, 32, 32, 3)))
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**12, 32, 32, 3)})
    (tmp_path / "absurd.npy").write_bytes(header.getvalue() + bytes(1000))
    for name, message in [("object", "object"), ("float", "float64"), ("absurd", "greater than file size")]:
        with pytest.raises(ValueError, match=message):
            readers.read_npy((tmp_path / f"{name}.npy", WEB))


def test_a_file_that_inflates_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "MEMBER_LIMIT", 10_000)
    tar(tmp_path / "c.tgz", {"cifar-100-binary/train.bin": bytes(20_000)})
    with pytest.raises(ValueError, match="cifar-100-binary/train.bin holds more than 10,000 bytes"):
        readers.read_cifar100((tmp_path / "c.tgz", WEB))
    monkeypatch.setattr(photographs, "FILE_LIMIT", 10_000)
    tar(tmp_path / "d.tgz", {"dtd/images/a/a.jpg": bytes(20_000)})
    with pytest.raises(ValueError, match="a.jpg has 20,000 bytes, at most 10,000 are read"):
        photographs.read_textures((tmp_path / "d.tgz", WEB))


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (50, 80), (333, 33), (256, 256), (31, 47), (1023, 767)])
def test_photographs_are_resized_as_torchvision_does_it(size):
    from torchvision.transforms import v2

    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8))
    expected = v2.Compose([v2.Resize(32, antialias=True), v2.CenterCrop(32)])(image)
    assert np.array_equal(photographs.shrink(image), expected)


def test_textures_reads_all_kinds_and_no_hidden_files(tmp_path):
    flat = lambda value: encoded(np.full((40, 60, 3), value, np.uint8), "jpeg")
    tar(
        tmp_path / "dtd.tar.gz",
        {
            "dtd/labels/train1.txt": b"zigzagged/z.jpg",
            "dtd/images/zigzagged/z.jpg": flat(200),
            "dtd/images/banded/b.jpg": flat(100),
            "dtd/images/banded/a.jpg": flat(50),
            "dtd/images/banded/._a.jpg": b"not an image",
            "dtd/images/waffled/.directory": b"",
        },
    )
    found, kinds = photographs.read_textures((tmp_path / "dtd.tar.gz", WEB))["all"]
    assert found[:, 0, 0, 0].tolist() == [50, 100, 200] and kinds.tolist() == [0, 0, 1]  # in order of names


def test_places_reads_an_uncompressed_tar_with_grey_images(tmp_path):
    with tarfile.open(tmp_path / "val_256.tar", "w") as file:
        for name, array in [("2", np.full((256, 256), 9, np.uint8)), ("1", np.full((256, 256, 3), 7, np.uint8))]:
            content = encoded(array, "jpeg")
            info = tarfile.TarInfo(f"val_256/Places365_val_0000000{name}.jpg")
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    found, labels = photographs.read_places365((tmp_path / "val_256.tar", WEB))["validation"]
    assert found.shape == (2, 32, 32, 3) and found[:, 5, 5, 2].tolist() == [7, 9] and labels is None


def test_odin_sets_are_cropped_but_never_resized(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (36, 36, 3), np.uint8)
    tar(tmp_path / "LSUN.tar.gz", {"LSUN/test/2.png": encoded(x), "LSUN/test/1.png": encoded(x[2:34, 2:34])})
    found, _ = photographs.read_odin((tmp_path / "LSUN.tar.gz", WEB))["test"]
    assert np.array_equal(found[0], x[2:34, 2:34]) and np.array_equal(found[1], x[2:34, 2:34])
    tar(tmp_path / "small.tar.gz", {"LSUN/test/1.png": encoded(x[:30])})
    with pytest.raises(ValueError, match=r"LSUN/test/1.png: an image has 36×30 pixels, expected at least 32×32"):
        photographs.read_odin((tmp_path / "small.tar.gz", WEB))


def test_tiny_imagenet_reads_the_training_images_of_a_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as file:
        for kind, name, value in [("n02", "n02_1", 2), ("n01", "n01_0", 1), ("n02", "n02_0", 3)]:
            content = encoded(np.full((64, 64, 3), 10 * value, np.uint8))
            file.writestr(f"tiny-imagenet-200/train/{kind}/images/{name}.JPEG", content)
        file.writestr("tiny-imagenet-200/val/images/val_0.JPEG", content)
    found, labels = photographs.read_tiny_imagenet((tmp_path / "t.zip", WEB))["train"]
    assert found[:, 0, 0, 0].tolist() == [10, 30, 20] and labels.tolist() == [0, 1, 1]


def test_names_in_an_archive_never_become_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tar(tmp_path / "a.tgz", {"../../out.png": encoded(images(1)[0]), "/tmp/x/out.png": encoded(images(1)[0])})
    before = sorted(tmp_path.parent.rglob("*"))
    assert len(photographs.read_odin((tmp_path / "a.tgz", WEB))["test"][0]) == 2
    assert sorted(tmp_path.parent.rglob("*")) == before


def test_an_image_of_absurd_size_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    tar(tmp_path / "a.tgz", {"x/a.png": encoded(np.zeros((64, 64, 3), np.uint8))})
    with warnings.catch_warnings(), pytest.raises(ValueError, match="x/a.png: .*decompression bomb"):
        warnings.simplefilter("error")
        photographs.read_odin((tmp_path / "a.tgz", WEB))


def test_an_archive_without_images_or_with_broken_ones_is_refused(tmp_path):
    tar(tmp_path / "a.tgz", {"dtd/labels/x.txt": b""})
    with pytest.raises(ValueError, match="it holds no images in dtd/images/"):
        photographs.read_textures((tmp_path / "a.tgz", WEB))
    tar(tmp_path / "b.tgz", {"dtd/images/a/a.jpg": b"no image"})
    with pytest.raises(ValueError, match="dtd/images/a/a.jpg: cannot identify"):
        photographs.read_textures((tmp_path / "b.tgz", WEB))


def test_a_wrong_number_of_images_is_refused(root, monkeypatch):  # noqa: F811
    record = catalog.DataSet("t", "terms", "as it is", lambda: {"test": (images(3), None)}, images={"test": 4})
    monkeypatch.setitem(catalog.DATASETS, "few", record)
    with pytest.raises(SourceError, match="few: 3 test images were read, expected 4"):
        data.prepare("few")
    assert not (paths.DATASETS / "few").exists()


def test_every_record_says_where_how_and_on_what_terms():
    names = [source.filename for r in catalog.DATASETS.values() for sources in r.archives for source in sources]
    assert len({n for n in names if not n.endswith(".tgz")}) == len([n for n in names if not n.endswith(".tgz")])
    for name, record in catalog.DATASETS.items():
        assert record.title and record.terms and record.preparation, name
        assert not record.archives or record.images, f"{name}: the number of images is checked"
        for source in (source for sources in record.archives for source in sources):
            algorithm, value = source.digest.split(":")
            assert len(value) == {"md5": 32, "sha1": 40}[algorithm] and int(value, 16)


def tiny_bin(path, count):
    x = images(count, seed=5)
    path.write_bytes(x.transpose(0, 3, 2, 1).tobytes())  # planes, each column by column
    return x


def test_tiny_images_are_drawn_the_same_each_time_without_the_excluded(tmp_path):
    x = tiny_bin(tmp_path / "tiny_images.bin", 50)
    (tmp_path / "cifar.txt").write_text("\n".join(map(str, [1, 2, 7, 50, 7])))
    everything = tinyimages.draw(tmp_path / "tiny_images.bin", 50)
    assert np.array_equal(everything, x)
    left = tinyimages.draw(tmp_path / "tiny_images.bin", 46, tmp_path / "cifar.txt")
    assert np.array_equal(left, np.delete(x, [0, 1, 6, 49], axis=0))
    some = tinyimages.draw(tmp_path / "tiny_images.bin", 20, tmp_path / "cifar.txt")
    assert np.array_equal(some, tinyimages.draw(tmp_path / "tiny_images.bin", 20, tmp_path / "cifar.txt"))
    kept = {image.tobytes() for image in left}
    assert len({image.tobytes() for image in some}) == 20 and all(image.tobytes() in kept for image in some)


def test_a_sample_of_tiny_images_is_a_set_of_ones_own(root):  # noqa: F811
    x = tiny_bin(root / "tiny_images.bin", 8)
    tinyimages.make(root / "tiny_images.bin", root / "tiny80m.npz", 8, None)
    data.prepare("tiny80m", root / "tiny80m.npz")
    assert np.array_equal(data.load("tiny80m")[0], x)


def test_bad_tiny_images_are_refused(tmp_path):
    tiny_bin(tmp_path / "t.bin", 8)
    (tmp_path / "odd.bin").write_bytes(bytes(5000))
    (tmp_path / "high.txt").write_text("3\n9\n")
    (tmp_path / "words.txt").write_text("three\n")
    for arguments, message in [
        (("odd.bin", 1), "odd.bin has 5,000 bytes, expected a multiple of 3072"),
        (("t.bin", 9), "9 images are wanted, expected 1 to 8"),
        (("t.bin", 2, "high.txt"), r"high.txt names record \[3 9\], expected 1 to 8"),
        (("t.bin", 2, "words.txt"), "words.txt: .*expected one number of a record in each line"),
    ]:
        with pytest.raises(ValueError, match=message):
            tinyimages.draw(*[tmp_path / a if isinstance(a, str) else a for a in arguments])
