"""Whether a line describes a mean curve: a bootstrap goodness-of-fit test against the covariance estimated without a
law, and the size of the deviation."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.analysis.stats.covariance import MeanCurve
from harness.analysis.stats.fitting import fit
from harness.analysis.stats.laws import LAWS

Array = NDArray[np.float64]
DRAWS = 2000  # simulated curves; a line is refitted to all of them in one product
REJECTED_BELOW = 0.01  # p of the test
DEVIATION_THAT_MATTERS = 0.1  # largest distance from the line, as a share of the gain


@dataclass(frozen=True)
class GoodnessOfFit:
    """chi2 of the line with K - 2 degrees of freedom, its bootstrap p, and the largest distance of the mean curve from
    its least-squares line as a share of the gain (the range of the mean curve)."""

    chi2: float
    p: float
    deviation: float

    @property
    def rejects(self) -> bool:
        """Whether the line is rejected and the deviation matters."""
        return self.p < REJECTED_BELOW and self.deviation > DEVIATION_THAT_MATTERS

    def record(self) -> dict[str, float | bool]:
        return {"chi2": self.chi2, "p": self.p, "deviation": self.deviation, "rejects": self.rejects}


def goodness_of_fit(mean: MeanCurve, rng: np.random.Generator, draws: int = DRAWS) -> GoodnessOfFit | None:
    """The test of the line on a mean curve; None below three budgets or one replicate.

    Curves are simulated about the fitted line from a multivariate t whose degrees of freedom are those of the
    covariance, n - 1, as in likelihood_ratio.py; the line is refitted to each.
    """
    if len(mean.z) < 3 or len(mean.replicates) < 2:
        return None
    chi2 = float(fit(LAWS["log_linear"], mean).chi2[0])
    degrees = len(mean.replicates) - 1
    factor = np.linalg.cholesky(mean.covariance[1:, 1:])
    noise = rng.standard_normal((draws, len(mean.z))) * np.sqrt(degrees / rng.chisquare(degrees, draws))[:, None]
    design = np.linalg.solve(factor, np.column_stack([np.ones_like(mean.z), mean.z]))
    orthogonal, _ = np.linalg.qr(design)
    simulated = np.sum(noise**2, 1) - np.sum((noise @ orthogonal) ** 2, 1)
    return GoodnessOfFit(chi2, float((1 + np.sum(simulated >= chi2)) / (draws + 1)), deviation_from_line(mean))


def deviation_from_line(mean: MeanCurve) -> float:
    """Largest distance of the mean curve from its least-squares line, as a share of its range; 0 where it has none."""
    values = mean.replicates[:, 1:].mean(0)
    gain = float(np.ptp(values))
    rest = values - np.polyval(np.polyfit(mean.z, values, 1), mean.z)
    return float(np.max(np.abs(rest)) / gain) if gain > 0 else 0.0
