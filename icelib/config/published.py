"""Splits and class names of the data sets that the project can prepare, by name; `icelib.data.datasets` prepares them.

Where no classes stand, images have no labels or the archive names the classes (`tinyimagenet`, `textures`).
"""

from typing import NamedTuple


class Published(NamedTuple):
    """Names of a data set's splits and, in the order of its labels, of its classes."""

    splits: tuple
    classes: tuple = ()


_DIGITS = tuple("0123456789")
_CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck"
_CIFAR100 = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
    caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
    flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
    motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
    poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
    squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
    wardrobe whale willow_tree wolf woman worm"""

PUBLISHED = {
    "cifar10": Published(("train", "test"), tuple(_CIFAR10.split())),
    "cifar100": Published(("train", "test"), tuple(_CIFAR100.split())),
    "mnist": Published(("test",), _DIGITS),
    "svhn": Published(("train", "test"), _DIGITS),
    "textures": Published(("all",)),
    "places365": Published(("validation",)),
    "lsun_crop": Published(("test",)),
    "lsun_resize": Published(("test",)),
    "isun": Published(("test",)),
    "random300k": Published(("train",)),
    "tinyimagenet": Published(("train",)),
    "digits": Published(("test",), _DIGITS),
    "photographs": Published(("test",)),
    "gaussian": Published(("test",)),
    "rademacher": Published(("test",)),
    "blobs": Published(("test",)),
}
