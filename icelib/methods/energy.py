"""Energy (eq. 0.5), scored by the energy (eq. 0.4)."""

from icelib.losses import energy as loss
from icelib.scores import energy as score

TITLE, HEAD, OUTLIERS = "Energy", "linear", True
