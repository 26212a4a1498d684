"""A user's own files: what is read, and what is refused with its name."""

import hashlib
import struct
import zlib
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

    def own(path, sha256=None):
        sets = {"mine": SimpleNamespace(path=str(path), sha256=sha256)}
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


def test_names_of_classes_stand_in_an_own_npz(root, prepare):
    np.savez(root / "mine.npz", images=images(3), labels=[2, 0, 2], classes=["ant", "bee", "cow"])
    prepare("mine.npz")
    assert datasets.about("mine")["classes"] == ["ant", "bee", "cow"]
    assert datasets.load("mine")[1].tolist() == [2, 0, 2]


def test_an_own_file_is_the_one_that_was_declared(root, prepare):
    np.savez(root / "mine.npz", images=images(3))
    declared = hashlib.sha256((root / "mine.npz").read_bytes()).hexdigest()
    prepare("mine.npz", declared)
    before = paths.DATASETS.joinpath("mine/about.json").read_bytes()
    np.savez(root / "mine.npz", images=images(3, seed=1))
    found = hashlib.sha256((root / "mine.npz").read_bytes()).hexdigest()
    with pytest.raises(ValueError, match=f"own_datasets.mine: mine.npz has SHA-256 {found}, expected {declared}"):
        prepare("mine.npz", declared)
    (root / "folder").mkdir()
    for path, what in (("folder", "a folder"), ("none.npz", "missing")):
        with pytest.raises(ValueError, match=f"own_datasets.mine: {path} is {what}, expected a file"):
            prepare(path, declared)
    assert paths.DATASETS.joinpath("mine/about.json").read_bytes() == before


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
        ({"images": images(3), "labels": [0, 1, 2], "classes": ["a", "b"]}, "a label is 2, expected less than .* 2$"),
        ({"images": images(3), "labels": [0, 1, 1], "classes": ["a", "a"]}, r"classes are <U1 \(2,\), expected names"),
        ({"images": images(3), "labels": [0, 1, 1], "classes": [3, 7]}, r"classes are int64 \(2,\), expected names"),
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


RAMP = np.linspace(0, 65535, 64).astype(np.uint16)[None].repeat(64, 0)


def save(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)


def deep_png(path, channels, kind):
    """A PNG of 16 bits a channel, as Pillow cannot write colours."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in np.stack([RAMP] * channels, 2))
    chunk = lambda name, x: struct.pack(">I", len(x)) + name + x + struct.pack(">I", zlib.crc32(name + x))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 16, kind, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


DEEP = {
    "grey.png": lambda path: save(path, RAMP),
    "rgb.png": lambda path: deep_png(path, 3, 2),
    "grey-alpha.png": lambda path: deep_png(path, 2, 4),
    "rgba.png": lambda path: deep_png(path, 4, 6),
    "grey.tif": lambda path: save(path, RAMP),
    "long.tiff": lambda path: save(path, RAMP.astype(np.int32)),
    "float.tiff": lambda path: save(path, RAMP.astype(np.float32)),
    "twelve-bits.pgm": lambda path: path.write_bytes(b"P5 64 64 4095\n" + (RAMP >> 4).astype(">u2").tobytes()),
    "plain.pgm": lambda path: path.write_bytes(b"P2 2 1 1000\n0 1000\n"),
}


@pytest.mark.parametrize("name", DEEP)
def test_more_than_eight_bits_are_refused(tmp_path, name):
    DEEP[name](tmp_path / name)
    with pytest.raises(ValueError, match=rf"{name} is not a readable image: it has mode .* expected 8 bits a channel"):
        image_files.read_own(tmp_path)


def test_sixteen_bits_of_a_whole_pixel_are_no_more_than_eight(tmp_path):
    pixels, masks = np.full((32, 32), 0b11111_000000_00000, "<u2").tobytes(), (0xF800, 0x07E0, 0x001F)
    header = struct.pack("<IiiHHIIiiIIIII", 40, 32, 32, 1, 16, 3, len(pixels), 0, 0, 0, 0, *masks)
    start = 14 + len(header)
    (tmp_path / "a.bmp").write_bytes(b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + header + pixels)
    assert (image_files.read_own(tmp_path)[0] == (255, 0, 0)).all()


def test_a_colour_ppm_is_scaled_by_its_white(tmp_path):
    for name, bits in (("eight", 8), ("sixteen", 16)):
        values, most = (RAMP >> 16 - bits), 2**bits - 1
        content = np.stack([values] * 3, 2).astype(">u2" if bits > 8 else np.uint8).tobytes()
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.ppm").write_bytes(f"P6 64 64 {most}\n".encode() + content)
    eight, sixteen = (image_files.read_own(tmp_path / name)[0].astype(int) for name in ("eight", "sixteen"))
    assert abs(eight - sixteen).max() <= 1 and eight.max() > 250


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "PA", "RGBA", "CMYK", "YCbCr"])
def test_all_modes_of_eight_bits_give_the_same_grey(tmp_path, mode):
    save(tmp_path / "a.tif", Image.new("L", (40, 40), 255).convert("RGB").convert(mode))
    assert image_files.read_own(tmp_path)[0].min() >= 254


@pytest.mark.parametrize("name", ["a.png", "b.webp", "c.tif"])
def test_transparent_parts_are_white_whatever_colour_they_hide(tmp_path, name):
    pixels = np.zeros((32, 32, 4), np.uint8)
    pixels[:16] = 200, 0, 0, 255
    pixels[16:24] = 0, 0, 0, 128
    save(tmp_path / name, pixels, **({"lossless": True, "exact": True} if name == "b.webp" else {}))
    (found,) = image_files.read_own(tmp_path)[0]
    assert found[0, 0].tolist() == [200, 0, 0] and found[31, 0].tolist() == [255] * 3
    assert abs(found[20, 0].astype(int) - 127).max() <= 1


def test_a_palette_may_be_transparent(tmp_path):
    image = Image.new("P", (32, 32), 1)
    image.putpalette([10, 20, 30, 40, 50, 60])
    save(tmp_path / "a.png", image, transparency=1)
    assert (image_files.read_own(tmp_path)[0] == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_read_upright(tmp_path, orientation):
    upright = Image.fromarray(np.zeros((48, 48), np.uint8))
    upright.paste(255, (0, 0, 24, 24))  # white at the upper left
    stored = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
              5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
              8: Image.Transpose.ROTATE_270}.get(orientation)  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in ("a.png", "b.jpg"):
        save(tmp_path / name, upright if stored is None else upright.transpose(stored), exif=exif)
    for found in image_files.read_own(tmp_path)[0]:
        assert found[:12, :12].min() > 200 and found[20:, 20:].max() < 50


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_a_colour_may_be_transparent(tmp_path, mode):
    image = Image.new(mode, (32, 32), 0)
    save(tmp_path / "a.png", image, transparency=image.getpixel((0, 0)))
    assert (image_files.read_own(tmp_path)[0] == 255).all()


@pytest.mark.parametrize("name", ["a.tif", "b.png", "c.webp"])
def test_of_several_frames_the_first_is_read(tmp_path, name):
    first, second = (Image.new("RGB", (32, 32), (value,) * 3) for value in (40, 200))
    options = {"lossless": True} if name == "c.webp" else {}
    save(tmp_path / name, first, save_all=True, append_images=[second], **options)
    with Image.open(tmp_path / name) as image:
        assert image.n_frames == 2
    found = image_files.read_own(tmp_path)[0]
    assert found.shape == (1, 32, 32, 3) and (found == 40).all()


GREY = np.full((40, 40, 3), 90, np.uint8)
HIDDEN = [
    ".ipynb_checkpoints/a-checkpoint.png", "ant/.ipynb_checkpoints/a-checkpoint.png", ".thumbnails/a.png", "ant/.a.png",
    ".Trash-1000/files/a.png", "__MACOSX/ant/a.png", "bee/@eaDir/a.png/thumb.jpg", "bee/._a.png", ".DS_Store",
]  # fmt: skip


def test_what_is_hidden_is_no_image(tmp_path, capsys):
    for name in ("ant/a.png", "bee/deeper/b.PNG", *HIDDEN):
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith((".DS_Store", "._a.png")):
            (tmp_path / "mine" / name).write_bytes(b"no image")
        else:
            save(tmp_path / "mine" / name, GREY)
    found, labels, classes = image_files.read_own(tmp_path / "mine")
    assert len(found) == 2 and labels.tolist() == [0, 1] and classes == ["ant", "bee"]
    assert not capsys.readouterr().out


def test_links_to_folders_and_files_are_followed(tmp_path):
    for name in ("elsewhere/ant/a.png", "elsewhere/b.png", "mine/cow/a.png"):
        save(tmp_path / name, GREY)
    (tmp_path / "mine" / "ant").symlink_to(tmp_path / "elsewhere" / "ant")
    (tmp_path / "mine" / "bee").mkdir()
    (tmp_path / "mine" / "bee" / "linked.png").symlink_to(tmp_path / "elsewhere" / "b.png")
    (tmp_path / "whole").symlink_to(tmp_path / "mine")
    for folder in ("mine", "whole"):
        _, labels, classes = image_files.read_own(tmp_path / folder)
        assert classes == ["ant", "bee", "cow"] and labels.tolist() == [0, 1, 2]
    (tmp_path / "mine" / "bee" / "broken.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(ValueError, match="broken.png is not a readable image: .*No such file"):
        image_files.read_own(tmp_path / "mine")


@pytest.mark.parametrize("way", ["itself", "each other"])
def test_links_in_a_circle_are_refused(tmp_path, way):
    for name in ("mine/ant/a.png", "other/b.png"):
        save(tmp_path / name, GREY)
    if way == "itself":
        (tmp_path / "mine" / "bee").symlink_to(tmp_path / "mine")
    else:
        (tmp_path / "mine" / "bee").symlink_to(tmp_path / "other")
        (tmp_path / "other" / "back").symlink_to(tmp_path / "mine")
    with pytest.raises(ValueError, match=r"mine/bee.* is a link to a folder that holds it"):
        image_files.read_own(tmp_path / "mine")


def test_files_of_other_kinds_are_told_and_a_class_of_them_alone_refused(tmp_path, capsys):
    for name in ("ant/a.JPEG", "ant/b.gif", "ant/c.gif", "bee/d.Png"):
        save(tmp_path / "mine" / name, GREY)
    (tmp_path / "mine" / "bee" / "README").write_text("words")
    assert image_files.read_own(tmp_path / "mine")[2] == ["ant", "bee"]
    assert "mine: left out what is no image by its name: {'.gif': 2, 'README': 1}" in capsys.readouterr().out
    save(tmp_path / "mine" / "cow" / "a.gif", GREY)
    with pytest.raises(ValueError, match=r"cow holds no images, and the folders beside it do"):
        image_files.read_own(tmp_path / "mine")
