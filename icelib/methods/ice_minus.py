"""ICE⁻ of Table 3: eq. 0.15 without L_ice-id."""

from icelib.losses import ice_minus as loss
from icelib.scores import max_likelihood as score

TITLE, HEAD, OUTLIERS = "ICE⁻", "gaussian", True
