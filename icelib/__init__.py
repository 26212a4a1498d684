"""A reproducible companion of "Towards In-Distribution Compatible Out-of-Distribution Detection" (ICE, AAAI 2023).

The paper's method is at the top: `losses` (eqs. 0.2 to 0.15), `heads` (0.1, 0.11), `models`, `scores`, `metrics`, and
`methods`, a file for each method. The rooms behind it, each of which imports only from those to its right::

    tools → report → evaluation → analysis → training → data → config → methods, models → losses, heads, scores,
    metrics, paper, util

*Known* images are the field's in-distribution (ID) ones, *outliers* its out-of-distribution (OOD) ones; *near* and
*far* outliers are near-OOD and far-OOD, and *auxiliary* outliers those that are trained on.
"""
