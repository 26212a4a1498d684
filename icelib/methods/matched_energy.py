"""A variant of ours: Energy, half of whose outliers have been given the power spectrum of known images."""

from icelib.methods.energy import HEAD, OUTLIERS, loss, score
from icelib.methods.matched import prepare

TITLE = "matched Energy (ours)"
