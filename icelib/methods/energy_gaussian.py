"""Energy (eq. 0.5) on the Gaussian head: WRN(G) of Table 3."""

from icelib.losses import energy as loss
from icelib.scores import energy as score

TITLE, HEAD, OUTLIERS = "Energy, Gaussian head", "gaussian", True
