"""Fit any law to many mean curves at once: generalised least squares by variable projection.

For given shape parameters a law is linear in its two levels, which are solved exactly within their boxes; the shapes
are searched on a dense grid (every grid point is a start) and polished by shrinking grids around the best one.
The loss is the sum, not the mean, of squared whitened residuals: averaging makes optimisers stop early.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.analysis.data.arrays import Array
from harness.analysis.stats.covariance import MeanCurve
from harness.analysis.stats.laws import Law, Window

ROUNDS, POINTS, SHRINK = 7, 5, 0.4  # of the polish: grids of POINTS per shape parameter, each SHRINK of the last


@dataclass(frozen=True)
class Fits:
    """A law fitted to M curves. start, end, chi2: [M]; shape: [M, 2]; at_bound, converged: [M]."""

    law: Law
    window: Window
    start: Array
    end: Array
    shape: Array
    chi2: Array
    at_bound: NDArray[np.bool_]
    converged: NDArray[np.bool_]

    def predict(self, z: Array) -> Array:
        """[M, len(z)] accuracy at budgets 10^z; z = -inf gives R(0)."""
        return self.law.predict(z, self.start, self.end, self.shape, self.window)

    def parameters(self, i: int = 0) -> dict[str, float]:
        """Named parameters of curve i, in the field's convention."""
        named = self.law.describe(float(self.start[i]), float(self.end[i]), self.shape[i], self.window)
        return {name: float(value) for name, value in named.items()}


@dataclass(frozen=True)
class WhitenedRows:
    """Which rows of a mean curve a law sees, and how they are whitened.

    rows: [K + 1] used, the first of x = 0. whiten: [J, J] inverse Cholesky factor of their covariance.
    """

    rows: NDArray[np.bool_]
    whiten: Array
    window: Window


def whitened_rows(law: Law, mean: MeanCurve) -> WhitenedRows:
    """Laws undefined at x = 0 leave R0 free, which is the same as leaving that row out."""
    rows = np.append(law.at_zero and mean.has_zero, np.ones(len(mean.z), bool))
    factor = np.linalg.cholesky(mean.covariance[np.ix_(rows, rows)])
    return WhitenedRows(rows, np.linalg.inv(factor), Window(mean.z))


def fit(law: Law, mean: MeanCurve, y: Array | None = None) -> Fits:
    """The law fitted to curves y [M, K + 1] (default: the mean itself, M = 1) under the covariance of the mean."""
    plan = whitened_rows(law, mean)
    target = (mean.y[None] if y is None else y)[:, plan.rows] @ plan.whiten.T
    grid = law.grid(plan.window)
    shape = grid[np.argmin(_profile(law, plan, grid, target), 0)]
    low, high = np.array(law.shape_bounds(plan.window)).T
    step = (high - low) / np.maximum(np.array(law.counts) - 1, 1)
    shape, moved = _polish(law, plan, shape, target, step, low, high)
    value, start, end = _levels(law, *_gram(law, plan, shape[:, None], target))
    free = high > low
    at_edge = ((shape <= low + 1e-9) | (shape >= high - 1e-9)) & free
    boxes = np.array(law.level_bounds)
    in_box = np.isfinite(boxes) & (boxes[:, :1] < boxes[:, 1:])
    at_box = [(np.abs(level[:, 0, None] - box) < 1e-9) & used for level, box, used in zip((start, end), boxes, in_box)]
    return Fits(
        law,
        plan.window,
        start[:, 0],
        end[:, 0],
        shape,
        value[:, 0],
        at_bound=np.any(np.column_stack([at_edge, *at_box]), 1),
        converged=moved < 0.01,
    )


def _basis(law: Law, plan: WhitenedRows, shape: Array) -> tuple[Array, Array]:
    """Whitened columns that multiply start and end: [..., J] each."""
    s = law.share(plan.window.z, shape, plan.window)
    if plan.rows[0]:
        s = np.concatenate([np.zeros((*s.shape[:-1], 1)), s], -1)
    return (1 - s) @ plan.whiten.T, s @ plan.whiten.T


def _gram(law: Law, plan: WhitenedRows, shape: Array, target: Array) -> tuple[Array, ...]:
    """Normal equations for each curve's own shapes: shape [M, G, 2], target [M, J] -> five [M, G] and [M, 1]."""
    c0, c1 = _basis(law, plan, shape)
    h0, h1 = np.einsum("mgj,mj->mg", c0, target), np.einsum("mgj,mj->mg", c1, target)
    grams = [np.sum(a * b, -1) for a, b in ((c0, c0), (c0, c1), (c1, c1))]
    return (*grams, h0, h1, np.sum(target**2, -1)[:, None])


def _profile(law: Law, plan: WhitenedRows, grid: Array, target: Array) -> Array:
    """chi2 at every grid shape for every curve: [G, M]."""
    c0, c1 = _basis(law, plan, grid)
    grams = [np.sum(a * b, -1)[:, None] for a, b in ((c0, c0), (c0, c1), (c1, c1))]
    return _levels(law, *grams, c0 @ target.T, c1 @ target.T, np.sum(target**2, -1)[None])[0]


def _levels(
    law: Law, g00: Array, g01: Array, g11: Array, h0: Array, h1: Array, yy: Array
) -> tuple[Array, Array, Array]:
    """Exact least squares in (start, end) within the boxes: the inner optimum, or the best of the four edges."""
    (low0, high0), (low1, high1) = law.level_bounds

    determinant = g00 * g11 - g01 * g01
    safe = determinant > 1e-9 * g00 * g11
    scale = np.where(safe, determinant, 1.0)
    start, end = (g11 * h0 - g01 * h1) / scale, (g00 * h1 - g01 * h0) / scale
    inside = safe & (start >= low0) & (start <= high0) & (end >= low1) & (end <= high1)
    best = np.where(inside, yy - start * h0 - end * h1, np.inf)  # at an inner optimum the loss has this short form
    if inside.all():
        return best, start, end
    g00, g11 = np.maximum(g00, 1e-300), np.maximum(g11, 1e-300)
    edges = [(np.clip((h0 - g01 * p1) / g00, low0, high0), np.asarray(p1)) for p1 in {low1, high1} if np.isfinite(p1)]
    edges += [(np.asarray(p0), np.clip((h1 - g01 * p0) / g11, low1, high1)) for p0 in {low0, high0} if np.isfinite(p0)]
    for p0, p1 in edges:
        value = yy + p0 * (g00 * p0 + 2 * (g01 * p1 - h0)) + p1 * (g11 * p1 - 2 * h1)
        better = ~inside & (value < best)
        best, start, end = np.where(better, value, best), np.where(better, p0, start), np.where(better, p1, end)
    return best, start, end


def _polish(
    law: Law, plan: WhitenedRows, shape: Array, target: Array, step: Array, low: Array, high: Array
) -> tuple[Array, Array]:
    """Shrinking grids around each curve's best shape; also how much the last round still gained in chi2."""
    gained = np.zeros(len(shape))
    if not step.any():
        return shape, gained
    offsets = [np.linspace(-1, 1, POINTS) if width > 0 else np.zeros(1) for width in step]
    cloud = np.stack(np.meshgrid(*offsets, indexing="ij"), -1).reshape(-1, 2)
    before = np.full(len(shape), np.inf)
    for i in range(ROUNDS):
        around = np.clip(shape[:, None] + cloud * step * SHRINK**i, low, high)
        chi2, _, _ = _levels(law, *_gram(law, plan, around, target))
        best = np.argmin(chi2, 1)
        shape = around[np.arange(len(shape)), best]
        gained, before = before - chi2.min(1), chi2.min(1)
    return shape, gained
