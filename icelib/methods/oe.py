"""Outlier exposure (eq. 0.3), scored by MSP."""

from icelib.losses import outlier_exposure as loss
from icelib.scores import max_softmax as score

TITLE, HEAD, OUTLIERS = "OE", "linear", True
