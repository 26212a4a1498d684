"""Plain training: cross-entropy of known images (eq. 0.2), scored by MSP."""

from icelib.losses import cross_entropy as loss
from icelib.scores import max_softmax as score

TITLE, HEAD, OUTLIERS = "Plain training", "linear", False
