"""How seed-mean curves scatter, estimated from the replicates alone, without a law.

Sigma of one replicate = diag(evaluation noise) + base intercept + RL intercept + RL slope + AR(1), the base intercept
shared with the policy before RL. Fitted by restricted maximum likelihood to the residuals about the mean curve.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from harness.analysis.data.arrays import Array
from harness.analysis.data.curves import Curves

NOISE_FLOOR = 1e-8  # variance; cells that are all wrong or all right have no estimated noise
CORRELATIONS = (0.0, 0.4, 0.7, 0.9)  # of AR(1) between neighbouring budgets; the profile over it is nearly flat


@dataclass(frozen=True)
class MeanCurve:
    """What laws are fitted to.

    z: [K] log10 budgets. y: [K + 1] mean accuracy, before RL first (NaN where not evaluated). covariance:
    [K + 1, K + 1] of y. replicates: [n, K + 1] the curves it is the mean of.
    """

    z: Array
    y: Array
    covariance: Array
    replicates: Array

    @property
    def has_zero(self) -> bool:
        """Whether the policy before RL was evaluated for every replicate."""
        return bool(np.isfinite(self.y[0]))

    def at(self, budgets: slice | NDArray[np.bool_]) -> "MeanCurve":
        """The same mean at some of its budgets above 0."""
        keep = np.append(0, 1 + np.arange(len(self.z))[budgets])
        return MeanCurve(self.z[budgets], self.y[keep], self.covariance[np.ix_(keep, keep)], self.replicates[:, keep])


def mean_curve(curves: Curves) -> MeanCurve:
    """The mean over replicates with its covariance; a single replicate has its evaluation noise only."""
    replicates = np.column_stack([curves.r0, curves.accuracy])
    noise = np.column_stack([curves.r0_noise, curves.noise])
    if not np.isfinite(replicates[:, 0]).all():
        replicates[:, 0] = noise[:, 0] = np.nan
    z = np.log10(curves.x)
    used = np.isfinite(replicates[0])
    covariance = np.full((len(used), len(used)), np.nan)
    covariance[np.ix_(used, used)] = replicate_covariance(replicates[:, used], noise[:, used].mean(0), z) / len(
        replicates
    )
    return MeanCurve(z, replicates.mean(0), covariance, replicates)


def replicate_covariance(replicates: Array, noise: Array, z: Array) -> Array:
    """Covariance of one replicate [J, J] from replicates [n, J] and noise [J], J = K or K + 1 with x = 0 first."""
    fixed = np.diag(np.maximum(noise, NOISE_FLOOR))
    degrees = len(replicates) - 1
    if degrees < 1:
        return fixed
    residuals = replicates - replicates.mean(0)
    sample = residuals.T @ residuals / degrees
    excess = max(float(np.trace(sample - fixed)) / len(noise), 1e-7)
    fits = [_fit(_components(z, len(noise), rho), fixed, sample, excess) for rho in CORRELATIONS]
    return min(fits, key=lambda fit: fit[0])[1]


def _components(z: Array, size: int, rho: float) -> Array:
    """[4, J, J]: base intercept, RL intercept, RL slope, AR(1) after RL began."""
    after = np.concatenate([np.zeros(size - len(z)), np.ones(len(z))])
    slope = np.concatenate([np.zeros(size - len(z)), (z - z[0]) / max(z[-1] - z[0], 1e-9)])
    lag = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
    near = np.where(lag == 0, 1.0, rho**lag) * np.outer(after, after)
    return np.stack([np.ones((size, size)), np.outer(after, after), np.outer(slope, slope), near])


def _fit(components: Array, fixed: Array, sample: Array, excess: float) -> tuple[float, Array]:
    """The restricted deviance per degree of freedom and the covariance that minimises it."""

    def deviance(log_weights: Array) -> tuple[float, Array]:
        weights = np.exp(log_weights)
        covariance = fixed + np.tensordot(weights, components, 1)
        inverse = np.linalg.inv(covariance)
        _, log_determinant = np.linalg.slogdet(covariance)
        inner = inverse - inverse @ sample @ inverse
        gradient = weights * np.tensordot(components, inner, 2)
        return float(log_determinant + np.sum(inverse * sample)), gradient

    start = np.full(len(components), np.log(excess / len(components)))
    found = minimize(deviance, start, jac=True, method="L-BFGS-B", bounds=[(-23.0, 0.0)] * len(start))
    return float(found.fun), fixed + np.tensordot(np.exp(found.x), components, 1)
