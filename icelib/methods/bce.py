"""BCE of Table 3: a sigmoid for each class, scored by the largest."""

from icelib.losses import binary_cross_entropy as loss
from icelib.scores import max_logit as score

TITLE, HEAD, OUTLIERS = "BCE", "linear", True
