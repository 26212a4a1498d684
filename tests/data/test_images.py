"""A user's own files: what is read, and what is refused with its name."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from icelib.data import datasets
from icelib.data import images as image_files
from icelib.util import paths
from tests.data.conftest import images


@pytest.fixture
def prepare(root, monkeypatch):
    """Prepare a set named ``mine`` from a path."""

    def own(path):
        sets = {"mine": SimpleNamespace(path=str(path))}
        monkeypatch.setattr(datasets.runs, "load", lambda: SimpleNamespace(own_datasets=sets))
        datasets.prepare("mine")

    return own


def test_own_npz_is_prepared_and_loaded(root, prepare):
    x, y = images(5), np.arange(5)
    np.savez(root / "mine.npz", images=x, labels=y)
    prepare("mine.npz")
    found, labels = datasets.load("mine")
    assert np.array_equal(found, x) and np.array_equal(labels, y)
    about = datasets.about("mine")
    assert about["splits"]["all"]["images"] == 5 and (about["source"], about["terms"]) == ("mine.npz", "user's own")


def test_own_folder_is_resized_and_its_subfolders_are_classes(root):
    for i, name in enumerate(["cats/b.png", "ants/a.png", "cats/a.jpg"]):
        path = root / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((50, 80, 3), 40 * i, np.uint8)).save(path)
    (root / "photos" / "cats" / "._b.png").write_bytes(b"what macOS leaves")
    found, labels, classes = image_files.read_own(root / "photos")
    assert classes == ["ants", "cats"] and labels.tolist() == [0, 1, 1]  # in order of path: ants/a, cats/a, cats/b
    assert found.shape == (3, 32, 32, 3) and found[:, 0, 0, 0].tolist() == pytest.approx([40, 80, 0], abs=2)
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(root / "photos" / "loose.png")
    assert image_files.read_own(root / "photos")[1] is None


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (50, 80), (333, 33), (256, 256), (31, 47), (1023, 767)])
def test_images_are_resized_as_torchvision_does_it(size):
    from torchvision.transforms import v2

    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8))
    expected = v2.Compose([v2.Resize(32, antialias=True), v2.CenterCrop(32)])(image)
    assert np.array_equal(image_files.shrink(image), expected)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"labels": np.zeros(3, int)}, "has no array 'images'"),
        ({"images": np.zeros((3, 28, 28, 3), np.uint8)}, r"uint8 \(3, 28, 28, 3\), expected uint8 \(N, 32, 32, 3\)"),
        ({"images": np.zeros((3, 32, 32, 3))}, r"float64 \(3, 32, 32, 3\), expected uint8"),
        ({"images": np.zeros((0, 32, 32, 3), np.uint8)}, "N ≥ 1"),
        ({"images": images(3), "labels": np.zeros(2, int)}, r"int64 \(2,\), expected integers .* of shape \(3,\)"),
        ({"images": images(3), "labels": np.zeros(3)}, "labels are float64"),
        ({"images": images(3), "labels": np.array([0, -1, 2])}, r"labels are int64 \(3,\) from -1 to 2"),
        ({"images": images(3), "labels": np.array([0, 1, 2**63], np.uint64)}, "to 9223372036854775808, expected"),
        ({"images": np.array([{}], dtype=object)}, "not a readable .npz file"),
    ],
)  # fmt: skip
def test_bad_own_arrays_are_refused(root, prepare, arrays, message):
    np.savez(root / "mine.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        prepare("mine.npz")
    assert not (paths.DATASETS / "mine").exists()


def test_unreadable_own_files_are_refused(root, prepare):
    (root / "mine.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"mine.npz is not a readable .npz file"):
        prepare("mine.npz")
    with pytest.raises(ValueError, match="none.npz is missing"):
        prepare("none.npz")
    (root / "empty").mkdir()
    with pytest.raises(ValueError, match="empty holds no images"):
        prepare("empty")
    (root / "empty" / "x.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"x.png is not a readable image"):
        prepare("empty")
    Image.fromarray(np.zeros((2, 3000, 3), np.uint8)).save(root / "empty" / "x.png")
    with pytest.raises(ValueError, match=r"x.png is not a readable image: it has 3,000×2 pixels"):
        prepare("empty")


def test_names_are_checked(root, prepare):
    with pytest.raises(ValueError, match="'mnist' is not prepared"):
        datasets.load("mnist")
    np.savez(root / "mine.npz", images=images(5))
    prepare("mine.npz")
    with pytest.raises(ValueError, match="unknown data set.*'mime'.*did you mean 'mine'"):
        datasets.prepare("mime")
    with pytest.raises(ValueError, match=r"data set 'mine' has no split 'test'; expected one of \['all'\]"):
        datasets.load("mine", "test")


def test_damaged_prepared_set_is_noticed(root, prepare):
    np.savez(root / "mine.npz", images=images(5))
    prepare("mine.npz")
    path = paths.DATASETS / "mine" / "all.npz"
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"all.npz"):
        datasets.load("mine")
    np.savez(path, images=images(5, seed=1))
    with pytest.raises(ValueError, match=r"mine/all.npz: SHA-256 of the images is not .*mine/about.json has it"):
        datasets.load("mine")
