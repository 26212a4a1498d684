"""A variant of ours: ICE, half of whose outliers have been given the power spectrum of known images."""

from icelib.methods.ice import HEAD, OUTLIERS, loss, score
from icelib.methods.matched import prepare

TITLE = "matched ICE (ours)"
