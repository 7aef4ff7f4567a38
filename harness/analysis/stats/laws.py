"""The seven candidate laws of a learning curve R(x), in one form.

Each is R(x) = start * (1 - s) + end * s, where the share s(x; shape) rises with the budget and has at most two shape
parameters; start and end are levels between 0 and 1. For given shape parameters a law is therefore linear in two
bounded numbers, which is what makes exact and batched fitting possible (fitting.py).

| law | s(x) | start, end | source |
|---|---|---|---|
| constant | 0 | R | |
| log_linear | (z - z_1) / (z_K - z_1) | line at the two ends of the window | |
| hill | 1 / (1 + (x_mid / x)^B) | R0, A | ScaleRL, arXiv 2510.13786 |
| saturating_power | 1 - (x / x_1)^-B | R(x_1), A, so that R = A - D x^-B | |
| exponential | 1 - exp(-x / tau) | R0, A | arXiv 2507.18014 |
| error_power | 1 - (x / x_1)^-k | R(x_1), 1, so that log(1 - R) = E - k log x | arXiv 2509.25300 |
| changepoint | 0, then a line in z, then 1 | the two flats | boardlaw, arXiv 2104.03113 |

with z = log10 x, and x_1, x_K the ends of the window. Laws undefined at x = 0 have a free R0 there.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from harness.analysis.data.arrays import Array

Pair = tuple[float, float]
UNIT, ANY, NONE = (0.0, 1.0), (-np.inf, np.inf), (0.0, 0.0)
BEFORE, BEYOND = 1.5, 2.0  # decades before and beyond the window where x_mid and tau are sought


@dataclass(frozen=True)
class Window:
    """Where a law is fitted. z: [K] log10 of the budgets above 0, ascending."""

    z: Array

    @property
    def first(self) -> float:
        return float(self.z[0])

    @property
    def width(self) -> float:
        return float(self.z[-1] - self.z[0])

    @property
    def around(self) -> Pair:
        return self.first - BEFORE, self.first + self.width + BEYOND


UNIT_WINDOW = Window(np.array([0.0, 1.0]))  # in which named parameters are placed


@dataclass(frozen=True)
class Law:
    """One candidate.

    share: (z [K], shape [..., 2], window) -> s [..., K]. shape_bounds: window -> ((low, high), (low, high)) of the
    shape parameters, (0, 0) of an unused one; counts: of starting values between them. level_bounds: of start and end.
    n_parameters: mean parameters, a free R0 excluded. at_zero: whether the law gives R(0) = start.
    describe: (start, end, shape, window) -> named parameters in the field's convention.
    place: its inverse at UNIT_WINDOW, named parameters -> (start, end, shape).
    axes: which of start, end, shape0, shape1 a named parameter is read from (derived ones are left out).
    """

    name: str
    share: Callable[[Array, Array, Window], Array]
    shape_bounds: Callable[[Window], tuple[Pair, Pair]]
    counts: tuple[int, int]
    n_parameters: int
    at_zero: bool
    describe: Callable[[float, float, Array, Window], dict[str, float]]
    place: Callable[[dict[str, float]], tuple[float, float, Pair]]
    axes: dict[str, str]
    level_bounds: tuple[Pair, Pair] = (UNIT, UNIT)

    def grid(self, window: Window) -> Array:
        """[G, 2] shapes, evenly spaced between the bounds."""
        bounds = zip(self.shape_bounds(window), self.counts, strict=True)
        axes = [np.linspace(low, high, n if low < high else 1) for (low, high), n in bounds]
        return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)

    def with_fixed(self, axis: str, value: float) -> "Law":
        """The same law with one of start, end, shape0, shape1 held at a value."""

        def held(bounds: tuple[Pair, Pair]) -> tuple[Pair, Pair]:
            at = (value, value)
            return (at, bounds[1]) if axis in ("start", "shape0") else (bounds[0], at)

        if axis in ("start", "end"):
            return replace(self, level_bounds=held(self.level_bounds))
        return replace(self, shape_bounds=lambda window: held(self.shape_bounds(window)))

    def predict(self, z: Array, start: Array, end: Array, shape: Array, window: Window) -> Array:
        """R at budgets 10^z: start, end [...], shape [..., 2] -> [..., K]. z = -inf gives R(0)."""
        s = np.where(np.isneginf(z), 0.0, self.share(np.where(np.isneginf(z), window.first, z), shape, window))
        return start[..., None] * (1 - s) + end[..., None] * s


def _constant_share(z: Array, shape: Array, window: Window) -> Array:
    return np.zeros((*shape.shape[:-1], len(z)))


def _line_share(z: Array, shape: Array, window: Window) -> Array:
    return np.broadcast_to((z - window.first) / window.width, (*shape.shape[:-1], len(z)))


def _hill_share(z: Array, shape: Array, window: Window) -> Array:
    return 0.5 * (1 + np.tanh(0.5 * np.log(10) * np.exp(shape[..., :1]) * (z - shape[..., 1:])))


def _power_share(z: Array, shape: Array, window: Window) -> Array:
    return -np.expm1(-np.log(10) * np.exp(shape[..., :1]) * (z - window.first))


def _exponential_share(z: Array, shape: Array, window: Window) -> Array:
    return -np.expm1(-(10.0 ** (z - shape[..., :1])))


def _changepoint_share(z: Array, shape: Array, window: Window) -> Array:
    return np.clip((z - shape[..., :1]) / np.exp(shape[..., 1:]), 0.0, 1.0)


def _line_parameters(start: float, end: float, shape: Array, window: Window) -> dict[str, float]:
    b = (end - start) / window.width
    return {"a": start - b * window.first, "b": b}


def _hill_parameters(start: float, end: float, shape: Array, window: Window) -> dict[str, float]:
    return {"R0": start, "A": end, "B": np.exp(shape[0]), "x_mid": 10.0 ** shape[1]}


def _power_parameters(start: float, end: float, shape: Array, window: Window) -> dict[str, float]:
    b = float(np.exp(shape[0]))
    return {"A": end, "D": (end - start) * 10.0 ** (b * window.first), "B": b}


def _error_parameters(start: float, end: float, shape: Array, window: Window) -> dict[str, float]:
    k = np.exp(shape[0])
    return {"E": np.log(max(1 - start, 1e-12)) + k * window.first * np.log(10), "k": k}


def _changepoint_parameters(start: float, end: float, shape: Array, window: Window) -> dict[str, float]:
    stop = shape[0] + np.exp(shape[1])
    return {"low": start, "high": end, "x_begin": 10.0 ** shape[0], "x_end": 10.0**stop}


def _place_changepoint(p: dict[str, float]) -> tuple[float, float, Pair]:
    begin, stop = np.log10(p["x_begin"]), np.log10(p["x_end"])
    return p["low"], p["high"], (begin, np.log(stop - begin))


def _logs(low: float, high: float) -> Pair:
    return np.log(low), np.log(high)


_LAWS = (
    Law(
        "constant",
        share=_constant_share,
        shape_bounds=lambda window: (NONE, NONE),
        counts=(1, 1),
        n_parameters=1,
        at_zero=True,
        describe=lambda start, end, shape, window: {"R": start},
        place=lambda p: (p["R"], p["R"], NONE),
        axes={"R": "start"},
        level_bounds=(UNIT, NONE),
    ),
    Law(
        "log_linear",
        share=_line_share,
        shape_bounds=lambda window: (NONE, NONE),
        counts=(1, 1),
        n_parameters=2,
        at_zero=False,
        describe=_line_parameters,
        place=lambda p: (p["a"], p["a"] + p["b"], NONE),
        axes={},
        level_bounds=(ANY, ANY),
    ),
    Law(
        "hill",
        share=_hill_share,
        shape_bounds=lambda window: (_logs(0.1, 12.0), window.around),
        counts=(17, 31),
        n_parameters=4,
        at_zero=True,
        describe=_hill_parameters,
        place=lambda p: (p["R0"], p["A"], (np.log(p["B"]), np.log10(p["x_mid"]))),
        axes={"R0": "start", "A": "end", "B": "shape0", "x_mid": "shape1"},
    ),
    Law(
        "saturating_power",
        share=_power_share,
        shape_bounds=lambda window: (_logs(0.01, 6.0), NONE),
        counts=(60, 1),
        n_parameters=3,
        at_zero=False,
        describe=_power_parameters,
        place=lambda p: (p["A"] - p["D"], p["A"], (np.log(p["B"]), 0.0)),
        axes={"A": "end", "B": "shape0"},
    ),
    Law(
        "exponential",
        share=_exponential_share,
        shape_bounds=lambda window: (window.around, NONE),
        counts=(70, 1),
        n_parameters=3,
        at_zero=True,
        describe=lambda start, end, shape, window: {"R0": start, "A": end, "tau": 10.0 ** shape[0]},
        place=lambda p: (p["R0"], p["A"], (np.log10(p["tau"]), 0.0)),
        axes={"R0": "start", "A": "end", "tau": "shape0"},
    ),
    Law(
        "error_power",
        share=_power_share,
        shape_bounds=lambda window: (_logs(1e-4, 4.0), NONE),
        counts=(70, 1),
        n_parameters=2,
        at_zero=False,
        describe=_error_parameters,
        place=lambda p: (-np.expm1(p["E"]), 1.0, (np.log(p["k"]), 0.0)),
        axes={"k": "shape0"},
        level_bounds=(UNIT, (1.0, 1.0)),
    ),
    Law(
        "changepoint",
        share=_changepoint_share,
        shape_bounds=lambda window: (
            (window.first - 0.3, window.first + window.width),
            _logs(0.05, window.width + 0.6),
        ),
        counts=(25, 15),
        n_parameters=4,
        at_zero=True,
        describe=_changepoint_parameters,
        place=_place_changepoint,
        axes={"low": "start", "high": "end", "x_begin": "shape0"},
    ),
)
LAWS = {law.name: law for law in _LAWS}


def evaluate(name: str, parameters: dict[str, float], x: Array) -> Array:
    """R at budgets x > 0 from named parameters, as written to verdicts.json."""
    start, end, shape = LAWS[name].place(parameters)
    return LAWS[name].predict(np.log10(x), np.array(start), np.array(end), np.array(shape), UNIT_WINDOW)
