"""A variant of ours: BCE, half of whose outliers have been given the power spectrum of known images."""

from icelib.methods.bce import HEAD, OUTLIERS, loss, score
from icelib.methods.matched import prepare

TITLE = "matched BCE (ours)"
