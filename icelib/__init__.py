"""A reproducible companion of "Towards In-Distribution Compatible Out-of-Distribution Detection" (ICE, AAAI 2023).

The paper's method is at the top: `losses` (eqs. 0.2 to 0.15), `heads` (0.1, 0.11), `models`, `scores`, `metrics`, and
`methods`, a file for each method. The rooms behind it, each of which imports only from those to its right::

    tools → report → evaluation → analysis → training → data → config → methods, models → losses, heads, scores,
    metrics, paper, util

*Known* images are the field's in-distribution (ID) ones, *outliers* its out-of-distribution (OOD) ones; *near* and
*far* outliers are near-OOD and far-OOD, and *auxiliary* outliers those that are trained on.

For a training loop of one's own, `ICELoss` shows how::

    from icelib import GaussianHead, ICELoss
"""

from icelib.heads import GaussianHead, LinearHead
from icelib.losses import BCELoss, EnergyLoss, ICELoss, ICEMinusLoss, OutlierExposureLoss, OutlierLoss

__all__ = [
    "BCELoss", "EnergyLoss", "GaussianHead", "ICELoss", "ICEMinusLoss", "LinearHead", "OutlierExposureLoss",
    "OutlierLoss",
]  # fmt: skip
