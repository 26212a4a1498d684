"""A variant of ours: outlier exposure of the class, beside the likelihood ratio of known against outlier."""

from icelib.methods.oe_binary import loss, score
from icelib.methods.ratio import RatioHead

TITLE, HEAD, OUTLIERS = "OE × likelihood ratio (ours)", RatioHead, True
