"""The pretraining law L(N, D) = E + A / N^alpha + B / D^beta, fitted to any table of params, tokens and loss.

Form and loss: Hoffmann et al., arXiv 2203.15556, section 3.3 and appendix D.3. The loss is summed, not averaged, since
averaging stopped the original optimiser early (Besiroglu et al., arXiv 2404.10102).
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import polars as pl

from harness.analysis.data.table_checks import TableError

HUBER = 1e-3  # on residuals of log loss
BOOTSTRAPS = 4_000
LEVEL = 0.95
TOLERANCE = 1e-9  # a descent below this share of the loss is converged
STARTS = 100  # grid points descended from: those of least loss
NAMES = ("E", "A", "alpha", "B", "beta")
GRID = (
    (0.0, 5.0, 10.0, 15.0, 20.0),  # log A
    (0.0, 5.0, 10.0, 15.0, 20.0),  # log B
    (-1.0, -0.5, 0.0, 0.5, 1.0),  # log E
    (0.0, 0.5, 1.0, 1.5),  # alpha
    (0.0, 0.5, 1.0, 1.5),  # beta
)

# (theta [b, K], which elements of the batch these are [b]) -> values [b], gradients [b, K]
Objective = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Points:
    """Pretraining results as logs; `cluster` names what is resampled together (a run, or each point by itself)."""

    log_params: np.ndarray  # [n]
    log_tokens: np.ndarray  # [n]
    log_loss: np.ndarray  # [n]
    cluster: np.ndarray  # [n] int


def points(frame: pl.DataFrame) -> Points:
    """The points of a table with columns params, tokens, loss; rows of one `run_id` are resampled together.

    Raises TableError naming the column or row that is wrong, or what the design lacks to identify five parameters.
    """
    missing = [name for name in ("params", "tokens", "loss") if name not in frame.columns]
    if missing:
        raise TableError(
            f"the pretraining law needs columns params, tokens and loss: {', '.join(missing)} not found",
            fix="rename or add what is missing: parameters, training tokens and final loss, one row a run",
        )
    numbers = frame.select(pl.col("params", "tokens", "loss").cast(pl.Float64, strict=False))
    values = numbers.fill_null(np.nan).to_numpy()  # text that is no number is refused below, with its row
    bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)).all(axis=1))
    if len(bad):
        held = dict(zip(("params", "tokens", "loss"), values[bad[0]].tolist()))
        raise TableError(f"row {bad[0] + 1}", f"must be positive and finite: {held}", "leave out runs without a loss")
    for column, name in enumerate(("params", "tokens")):
        if len(np.unique(values[:, column])) < 3:
            raise TableError(f"the pretraining law needs at least 3 different values of {name}: add runs that vary it")
    if len(values) < 6:
        raise TableError(f"five parameters need at least 6 points, the table has {len(values)}")
    labels = frame["run_id"].to_numpy() if "run_id" in frame.columns else np.arange(len(values))
    log_params, log_tokens, log_loss = np.log(values).T
    return Points(log_params, log_tokens, log_loss, np.unique(labels, return_inverse=True)[1])


def log_law(theta: np.ndarray, log_params: np.ndarray, log_tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log L and its gradient for theta [B, 5] = (log A, log B, log E, alpha, beta): ([B, n], [B, n, 5])."""
    a, b, e, alpha, beta = (column[:, None] for column in theta.T)
    terms = np.stack(np.broadcast_arrays(a - alpha * log_params, b - beta * log_tokens, e))
    top = terms.max(axis=0)
    weights = np.exp(terms - top)
    total = weights.sum(axis=0)
    weights /= total
    gradient = np.stack([*weights, -weights[0] * log_params, -weights[1] * log_tokens], axis=-1)
    return top + np.log(total), gradient


def huber_loss(data: Points, counts: np.ndarray) -> Objective:
    """Summed Huber loss of log residuals, and its gradient, with points weighted by counts [B, n]."""

    def value_and_gradient(theta: np.ndarray, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        prediction, gradient = log_law(theta, data.log_params, data.log_tokens)
        residual = prediction - data.log_loss
        size = np.abs(residual)
        loss = np.where(size <= HUBER, 0.5 * residual**2, HUBER * (size - 0.5 * HUBER))
        slope = counts[which] * np.clip(residual, -HUBER, HUBER)
        return (counts[which] * loss).sum(axis=1), np.einsum("bn,bnk->bk", slope, gradient)

    return value_and_gradient


def minimise(value_and_gradient: Objective, theta: np.ndarray, steps: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """BFGS on a whole batch of starts at once (Nocedal and Wright, algorithm 6.1, halving the step until Armijo holds).

    theta [B, K]; returns the best points [B, K] and values [B]. Values never rise and batch elements do not interact;
    one that has converged, or finds no lower point along its direction, is left alone from then on.
    """
    theta = theta.copy()
    active = np.arange(len(theta))
    value, gradient = value_and_gradient(theta, active)
    size = np.maximum(np.linalg.norm(gradient, axis=1), 1e-12)
    inverse = np.eye(theta.shape[1]) / size[:, None, None]
    for _ in range(steps):
        direction = -np.einsum("bij,bj->bi", inverse[active], gradient[active])
        descent = np.einsum("bi,bi->b", direction, gradient[active])
        going = descent < -TOLERANCE * value[active]
        active, direction, descent = active[going], direction[going], descent[going]
        if not len(active):
            break
        start, before, length = theta[active], value[active], np.ones(len(active))
        new_theta = start + direction
        new_value, new_gradient = value_and_gradient(new_theta, active)
        for _ in range(30):
            short = np.flatnonzero(~(new_value <= before + 1e-4 * length * descent))
            if not len(short):
                break
            length[short] /= 2
            new_theta[short] = start[short] + length[short, None] * direction[short]
            new_value[short], new_gradient[short] = value_and_gradient(new_theta[short], active[short])
        lower = new_value < before
        active, new_theta, new_gradient = active[lower], new_theta[lower], new_gradient[lower]
        step, change = new_theta - theta[active], new_gradient - gradient[active]
        inverse[active] = _bfgs_update(inverse[active], step, change)
        theta[active], value[active], gradient[active] = new_theta, new_value[lower], new_gradient
    return theta, value


def _bfgs_update(inverse: np.ndarray, step: np.ndarray, change: np.ndarray) -> np.ndarray:
    """The inverse-Hessian update, left out where the curvature along the step is not positive."""
    curvature = np.einsum("bi,bi->b", step, change)
    positive = curvature > 1e-18
    rho = np.where(positive, 1.0 / np.where(positive, curvature, 1.0), 0.0)[:, None, None]
    left = np.eye(step.shape[1]) - rho * step[:, :, None] * change[:, None, :]
    updated = left @ inverse @ left.transpose(0, 2, 1) + rho * step[:, :, None] * step[:, None, :]
    return np.where(positive[:, None, None], updated, inverse)


def fit(data: Points) -> tuple[np.ndarray, float]:
    """theta [5] and its summed loss: the best of quasi-Newton descents from the STARTS best points of GRID."""
    starts = np.array(list(product(*GRID)))
    loss = huber_loss(data, np.ones((len(starts), len(data.log_loss))))
    value, _ = loss(starts, np.arange(len(starts)))
    theta, value = minimise(loss, starts[np.argsort(value)[:STARTS]])
    best = int(np.argmin(value))
    return theta[best], float(value[best])


def bootstrap(data: Points, theta: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """theta [draws, 5] refitted, from `theta`, to tables that resample clusters with replacement."""
    clusters = int(data.cluster.max()) + 1
    counts = rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=draws)[:, data.cluster].astype(float)
    return minimise(huber_loss(data, counts), np.tile(theta, (draws, 1)))[0]


def named(theta: np.ndarray) -> dict[str, np.ndarray]:
    """theta [..., 5] as E, A, alpha, B, beta."""
    a, b, e, alpha, beta = np.moveaxis(theta, -1, 0)
    return dict(zip(NAMES, (np.exp(e), np.exp(a), alpha, np.exp(b), beta)))


def exponents(theta: np.ndarray) -> dict[str, np.ndarray]:
    """How compute-optimal N and D grow with C = 6·N·D: N ~ C^params, D ~ C^tokens (arXiv 2203.15556, equation 4)."""
    alpha, beta = theta[..., 3], theta[..., 4]
    return {"params": beta / (alpha + beta), "tokens": alpha / (alpha + beta)}


def optimum(theta: np.ndarray, flops: float) -> dict[str, float]:
    """Parameters and tokens of least loss under 6·N·D = flops."""
    a, b, _, alpha, beta = theta
    log_params = (a + np.log(alpha) - b - np.log(beta) + beta * np.log(flops / 6)) / (alpha + beta)
    return {"flops": flops, "params": float(np.exp(log_params)), "tokens": float(flops / 6 / np.exp(log_params))}


def leave_one_size_out(data: Points, theta: np.ndarray) -> dict[str, float]:
    """For each model size, the root mean squared error of log loss predicted from the other sizes.

    Each refit starts from `theta`, the fit to all. Empty where fewer than 4 sizes leave too few to fit.
    """
    sizes = np.unique(data.log_params)
    if len(sizes) < 4:
        return {}
    kept = (data.log_params != sizes[:, None]).astype(float)
    refitted, _ = minimise(huber_loss(data, kept), np.tile(theta, (len(sizes), 1)))
    squared = (log_law(refitted, data.log_params, data.log_tokens)[0] - data.log_loss) ** 2
    errors = np.sqrt((squared * (1 - kept)).sum(axis=1) / (1 - kept).sum(axis=1))
    return {f"{np.exp(size):.0f}": float(error) for size, error in zip(sizes, errors)}


def _estimate(value: float, draws: np.ndarray) -> dict[str, Any]:
    """Value with its percentile interval; identified when the interval is positive and spans less than a decade."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    identified = bool(np.isfinite(draws).all() and low > 0 and high < 10 * low)
    finite = [float(number) if np.isfinite(number) else None for number in (value, low, high)]
    return {"value": finite[0], "interval": finite[1:], "identified": identified}


def pretraining_law(frame: pl.DataFrame, seed: int = 0, draws: int = BOOTSTRAPS) -> dict[str, Any]:
    """E, A, alpha, B, beta with bootstrap intervals, compute-optimal exponents and held-out errors, as strict JSON.

    Raises TableError where the table cannot identify the law (see `points`).
    """
    data = points(frame)
    theta, loss = fit(data)
    resampled = bootstrap(data, theta, draws, np.random.default_rng(np.random.SeedSequence(seed)))
    prediction, _ = log_law(theta[None], data.log_params, data.log_tokens)
    spread, powers = named(resampled), exponents(resampled)
    parameters = {name: _estimate(float(value), spread[name]) for name, value in named(theta).items()}
    growth = {name: _estimate(float(value), powers[name]) for name, value in exponents(theta).items()}
    flops = float(6 * np.exp((data.log_params + data.log_tokens).max()))
    unsure = [name for name in NAMES if not parameters[name]["identified"]]
    interior = theta[3] > 0 and theta[4] > 0
    return {
        **parameters,
        "compute_optimal_exponents": growth,
        "compute_optimal_at_largest": optimum(theta, flops) if interior else None,
        "loss": loss,
        "rmse_log_loss": float(np.sqrt(np.mean((prediction[0] - data.log_loss) ** 2))),
        "leave_one_size_out": leave_one_size_out(data, theta),
        "n_points": len(data.log_loss),
        "n_clusters": int(data.cluster.max()) + 1,
        "n_bootstraps": draws,
        "not_identified": unsure,
        "sentence": _sentence(parameters, growth, unsure),
    }


def _sentence(parameters: dict[str, Any], growth: dict[str, Any], unsure: list[str]) -> str:
    text = "L(N, D) = {E:.3g} + {A:.3g}/N^{alpha:.3f} + {B:.3g}/D^{beta:.3f}".format(
        **{name: parameters[name]["value"] for name in NAMES}
    )
    low, high = growth["params"]["interval"]
    text += f"; compute-optimal parameters grow as C^{growth['params']['value']:.2f} ({low:.2f} to {high:.2f})."
    return text + (f" Not identified by these data: {', '.join(unsure)}." if unsure else "")
