"""What the tables say of the paper's claims, as Markdown.

A lead of ours is called open if it is within the noise: where the 95 % intervals of two single
runs overlap, or where several seeds' means differ by less than their deviations add up to.
"""

import pandas as pd

from icelib.captions import MARKS
from icelib.cells import DETECTION, METRICS
from icelib.tables import TRIPLE
