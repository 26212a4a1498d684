"""ICE (eq. 0.15) on the Gaussian head (eq. 0.11)."""

from icelib.losses import ice as loss
from icelib.scores import max_likelihood as score

TITLE, HEAD, OUTLIERS = "ICE", "gaussian", True
