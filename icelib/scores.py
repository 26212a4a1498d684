"""Detection scores: logits (N, K) to one value per sample (N,), higher for known samples.

Scores are computed in float64: the largest softmax probability of a confident float32 network is
1.0 for many samples, and such ties would cost resolution where it matters.
"""

import inspect


def apply(score, logits, features):
    """Call a score on logits (N, K), and on features (N, d) where it has a parameter of that name."""
    wants = "features" in inspect.signature(score).parameters
    return score(logits, features=features) if wants else score(logits)


def max_softmax(logits):
    """Maximum softmax probability (MSP): max_i softmax(f)_i, in 1/K…1.

    Source: Hendrycks and Gimpel, 2017; also the score of outlier exposure.
    """
    return logits.double().softmax(1).max(1).values


def energy(logits):
    """Negative energy: log Σ_i exp(f_i) (eq. 0.4), in logit units. Source: Liu et al., 2020."""
    return logits.double().logsumexp(1)


def max_logit(logits):
    """Largest logit max_i f_i; the largest sigmoid probability max_i σ(f_i) has the same order.

    Source: Hendrycks et al., 2022; here the score of sigmoid binary cross-entropy.
    """
    return logits.double().max(1).values


def max_likelihood(logits):
    """ICE's score max_i h_i ≤ 0; its confidence exp(max_i h_i) (eq. 0.13) has the same order.

    Far outliers are ranked although exp(max_i h_i) underflows for them.
    """
    return logits.double().max(1).values
