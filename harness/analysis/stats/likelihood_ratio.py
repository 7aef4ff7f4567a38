"""Tests of a log-linear claim beyond its slopes: curved laws rejected, held-out budgets predicted."""

import numpy as np
from numpy.typing import NDArray

from harness.analysis.stats.covariance import MeanCurve
from harness.analysis.stats.fitting import fit
from harness.analysis.stats.laws import LAWS

Array = NDArray[np.float64]

CURVED = ("hill", "error_power", "saturating_power", "exponential")


def likelihood_ratio_p(name: str, mean: MeanCurve, simulations: int, rng: np.random.Generator) -> float:
    """p of the law `name` against log_linear: parametric-bootstrap likelihood ratio, simulated from the fitted law.

    The covariance stays frozen. Its estimate has n - 1 degrees of freedom, so each simulated curve is scattered by
    a chi-squared factor with as many (a multivariate t): a normal one would reject too often with few replicates.
    """
    law, line = LAWS[name], LAWS["log_linear"]
    fitted = fit(law, mean)
    observed = fitted.chi2[0] - fit(line, mean).chi2[0]
    if not np.isfinite(observed) or observed <= 0:
        return 1.0
    used = np.isfinite(mean.y)
    centre = np.where(used, 0.0, np.nan)
    at = np.concatenate([[-np.inf], mean.z])
    centre[used] = fitted.predict(at)[0][used]
    if not law.at_zero and used[0]:
        centre[0] = mean.y[0]
    degrees = max(len(mean.replicates) - 1, 1)
    factor = np.linalg.cholesky(mean.covariance[np.ix_(used, used)])
    draws = rng.standard_normal((simulations, int(used.sum()))) @ factor.T
    draws *= np.sqrt(degrees / rng.chisquare(degrees, simulations))[:, None]
    simulated = np.full((simulations, len(used)), np.nan)
    simulated[:, used] = centre[used] + draws
    ratio = fit(law, mean, simulated).chi2 - fit(line, mean, simulated).chi2
    return float((1 + np.sum(ratio >= observed)) / (simulations + 1))
