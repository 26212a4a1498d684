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


def test_images_that_would_be_cut_off_are_refused(painted, tmp_path):
    for name in ("a", "b"):
        (tmp_path / "known" / name).mkdir(parents=True)
        for i in range(4):
            Image.fromarray(np.full((32, 32), 1000, np.uint16)).save(tmp_path / "known" / name / f"{i}.png")
    with pytest.raises(ValueError, match=r"\d\.png has values of mode I;16; expected 8 bits"):
        main("finetune_own_images.py", tmp_path / "known", painted / "outliers", *SMALL)
    with pytest.raises(SystemExit, match=r"nothing has no image; expected one of \.jpg"):
        (tmp_path / "nothing").mkdir()
        main("finetune_own_images.py", painted / "known", tmp_path / "nothing", *SMALL)
