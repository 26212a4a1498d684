"""Each file in examples/ runs, and does what its docstring promises."""

import runpy

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torchvision.models import resnet

from icelib import GaussianHead
from tests.conftest import SOURCE


def main(name, *arguments):
    return runpy.run_path(str(SOURCE / "examples" / name))["main"]([str(argument) for argument in arguments])


def test_own_training():
    found, rounded = main("own_training.py"), main("own_training.py", "--bf16")
    for accuracy, auroc in (found["ICE"], rounded["ICE"]):
        assert accuracy >= 98 and auroc >= 95
        assert auroc > found["plain"][1] + 2
    assert rounded["ICE"] == pytest.approx(found["ICE"], abs=1)  # both in percent


@pytest.fixture(scope="module")
def painted(tmp_path_factory):
    """Pictures of several sizes and formats, of one colour each, with noise."""
    random, folder = np.random.default_rng(0), tmp_path_factory.mktemp("own images")
    for name, count, colour in (
        ("known/red", 20, (200, 40, 40)),
        ("known/green", 20, (40, 200, 40)),
        ("outliers", 10, (40, 40, 200)),
        ("outliers/more", 10, (128, 128, 128)),
        ("new/known", 8, (200, 40, 40)),
        ("new/unseen", 8, (200, 40, 200)),
    ):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = np.array(colour) + random.normal(0, 25, (*random.integers(24, 60, 2), 3))
            picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            picture.save(folder / name / f"{i}.{'png' if i % 2 else 'JPG'}", quality=95)
    return folder


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A residual network of torchvision with three layers instead of sixteen; returns what makes one."""

    def model(name=None, weights=None):
        network = resnet.ResNet(resnet.BasicBlock, [1, 1, 1, 1])
        network.layer4, network.fc = torch.nn.Identity(), torch.nn.Linear(256, 1)
        return network

    monkeypatch.setattr(torchvision.models, "get_model", model)
    return model


SMALL = ("--size", "32", "--batch", "8", "--learning-rate", "0.03")


def test_finetune_own_images(painted, tmp_path, capsys):
    out = tmp_path / "ice.pt"
    folders = painted / "known", painted / "outliers", "--score", painted / "new"
    found = main("finetune_own_images.py", *folders, *SMALL, "--epochs", "6", "--out", out)
    scores = {name: [row for row in found["rows"] if row[0].parent.name == name] for name in ("known", "unseen")}
    assert found["accuracy"] == 1 and len(scores["known"]) == len(scores["unseen"]) == 8
    assert np.mean([row[1] for row in scores["known"]]) > np.mean([row[1] for row in scores["unseen"]])
    assert sum(row[2] == "outlier" for row in scores["unseen"]) >= 6
    assert {row[2] for row in scores["known"]} <= {"red", "outlier"}
    assert "epoch 6 of 6: cross_entropy" in capsys.readouterr().out

    saved = torch.load(out, weights_only=True)
    assert saved["classes"] == ["green", "red"]
    head = GaussianHead(256, 2)
    head.load_state_dict({name.removeprefix("1."): v for name, v in saved["state"].items() if name.startswith("1.")})
    assert (head(torch.zeros(1, 256)) < 0).all()


def test_finetune_own_images_from_weights(painted, tmp_path, small):
    """The weights given are those that training starts from: at a learning rate of 0 they stay."""
    given = small()
    torch.save(given.state_dict(), tmp_path / "given.pt")
    folders = painted / "known", painted / "outliers", "--weights", tmp_path / "given.pt"
    main("finetune_own_images.py", *folders, *SMALL[:-1], "0", "--epochs", "1", "--out", tmp_path / "ice.pt")
    state = torch.load(tmp_path / "ice.pt", weights_only=True)["state"]
    assert all(torch.equal(state[f"0.{name}"], p) for name, p in given.named_parameters() if "fc" not in name)


def fill(folder, **counts):
    """Small images in folders of so many, all different; what systems leave beside them; returns the folder."""
    for name, count in counts.items():
        (folder / name / ".ipynb_checkpoints").mkdir(parents=True)
        (folder / name / "._0.png").write_bytes(b"what macOS leaves")
        for i in range(count):
            Image.new("RGB", (40, 36), (20 * i, 3 * len(name), 90)).save(folder / name / f"{i}.png")
        Image.new("RGB", (40, 36)).save(folder / name / ".ipynb_checkpoints" / "0-checkpoint.png")
    (folder / ".ipynb_checkpoints").mkdir()
    return folder


def test_a_fifth_of_each_class_is_held_out(tmp_path):
    divided = runpy.run_path(str(SOURCE / "examples" / "finetune_own_images.py"))["divided"]
    held_out, training, classes = divided(fill(tmp_path / "known", ant=1, bee=4, cow=11))
    assert classes == ["ant", "bee", "cow"]
    assert [label for _, label in held_out] == [2, 2] and [label for _, label in training] == [0] + 4 * [1] + 9 * [2]
    assert len({path for path, _ in held_out + training}) == 16
    assert all(path.parent.name == classes[label] for path, label in held_out + training)


def test_classes_of_one_image_and_a_rest_of_one_are_trained_on(tmp_path):
    known, outliers = fill(tmp_path / "known", ant=6, bee=1), fill(tmp_path / "outliers", more=2)
    options = ("--size", "32", "--batch", "5", "--epochs", "1", "--out", tmp_path / "ice.pt")
    found = main("finetune_own_images.py", known, outliers, *options, "--score", outliers)
    assert found["accuracy"] in (0, 1) and len(found["rows"]) == 2


REFUSED = {
    "few": r"has images \{'ant': 4, 'bee': 1\}; expected five or more of a class, of which a fifth is held out",
    "loose": r"has images beside its folders; expected each in the folder of its class",
    "empty": r"bee holds no images, and the folders beside it do",
    "deep": r"\d.png is not a readable image: it has mode I;16 .* expected 8 bits a channel",
    "damaged": r"\d.png is not a readable image: cannot identify image file",
    "nothing": r"nothing holds no images; expected files such as NAME.png or NAME.jpg",
}


@pytest.mark.parametrize("what", REFUSED)
def test_images_that_cannot_be_meant_are_refused(tmp_path, what):
    known = fill(tmp_path / "known", ant=4 if what == "few" else 6, bee=1)
    outliers = fill(tmp_path / "outliers", more=2)
    if what == "loose":
        Image.new("RGB", (40, 40)).save(known / "a.png")
    elif what == "empty":
        (known / "bee" / "0.png").rename(tmp_path / "0.png")
    elif what == "deep":
        for path in known.glob("ant/[0-9].png"):
            Image.fromarray(np.full((32, 32), 1000, np.uint16)).save(path)
    elif what == "damaged":
        for path in known.glob("ant/[0-9].png"):
            path.write_bytes(b"no image")
    elif what == "nothing":
        outliers = tmp_path / "nothing"
        outliers.mkdir()
    with pytest.raises(ValueError, match=REFUSED[what]):
        main("finetune_own_images.py", known, outliers, *SMALL)
