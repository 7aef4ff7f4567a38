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

with z = log10 x, and x_1, x_K the ends of the window. Laws that say nothing about x = 0 have a free R0 there.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


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


@dataclass(frozen=True)
class Law:
    """One candidate.

    share: (z [K], shape [..., 2], window) -> s [..., K]. grid: window -> [G, 2] starting shapes (unused entries 0) that
    cover the bounds. bounds: window -> ((low, high), (low, high)) of the shape parameters. boxes: of start and end.
    axes: which of start, end, shape0, shape1 a named parameter is read from (derived ones are left out).
    at_zero: whether the law gives R(0) = start. n_parameters: mean parameters, a free R0 excluded.
    describe: (start, end, shape, window) -> named parameters in the field's convention.
    """

    name: str
    share: Callable[[Array, Array, Window], Array]
    bounds: Callable[[Window], tuple[tuple[float, float], tuple[float, float]]]
    counts: tuple[int, int]
    n_parameters: int
    at_zero: bool
    describe: Callable[[float, float, Array, Window], dict[str, float]]
    axes: dict[str, str]
    boxes: tuple[tuple[float, float], tuple[float, float]] = ((0.0, 1.0), (0.0, 1.0))

    def grid(self, window: Window) -> Array:
        """[G, 2] shapes, evenly spaced between the bounds."""
        axes = [np.linspace(low, high, n) for (low, high), n in zip(self.bounds(window), self.counts, strict=True)]
        return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)

    def pinned(self, axis: str, value: float) -> "Law":
        """The same law with one of start, end, shape0, shape1 held at a value."""
        if axis in ("start", "end"):
            held = (value, value)
            return replace(self, boxes=(held, self.boxes[1]) if axis == "start" else (self.boxes[0], held))
        first = axis == "shape0"

        def bounds(window: Window) -> tuple[tuple[float, float], tuple[float, float]]:
            shape0, shape1 = self.bounds(window)
            return ((value, value), shape1) if first else (shape0, (value, value))

        return replace(self, bounds=bounds, counts=(1, self.counts[1]) if first else (self.counts[0], 1))

    def predict(self, z: Array, start: Array, end: Array, shape: Array, window: Window) -> Array:
        """R at budgets 10^z: start, end [...], shape [..., 2] -> [..., K]. z = -inf asks for R(0)."""
        s = np.where(np.isneginf(z), 0.0, self.share(np.where(np.isneginf(z), window.first, z), shape, window))
        return start[..., None] * (1 - s) + end[..., None] * s


NONE = (0.0, 0.0)


def _line(z: Array, shape: Array, window: Window) -> Array:
    return np.broadcast_to((z - window.first) / window.width, (*shape.shape[:-1], len(z)))


def _hill(z: Array, shape: Array, window: Window) -> Array:
    log_b, mid = shape[..., :1], shape[..., 1:]
    return 0.5 * (1 + np.tanh(0.5 * np.log(10) * np.exp(log_b) * (z - mid)))


def _power(z: Array, shape: Array, window: Window) -> Array:
    return -np.expm1(-np.log(10) * np.exp(shape[..., :1]) * (z - window.first))


def _exponential(z: Array, shape: Array, window: Window) -> Array:
    return -np.expm1(-(10.0 ** (z - shape[..., :1])))


def _changepoint(z: Array, shape: Array, window: Window) -> Array:
    begin, log_length = shape[..., :1], shape[..., 1:]
    return np.clip((z - begin) / np.exp(log_length), 0.0, 1.0)


def _line_parameters(start: float, end: float, shape: Array, window: Window) -> dict[str, float]:
    b = (end - start) / window.width
    return {"a": start - b * window.first, "b": b}


def _hill_parameters(start: float, end: float, shape: Array, window: Window) -> dict[str, float]:
    return {"R0": start, "A": end, "B": float(np.exp(shape[0])), "x_mid": float(10.0 ** shape[1])}


def _power_parameters(start: float, end: float, shape: Array, window: Window) -> dict[str, float]:
    b = float(np.exp(shape[0]))
    return {"A": end, "D": (end - start) * 10.0 ** (b * window.first), "B": b}


def _error_parameters(start: float, end: float, shape: Array, window: Window) -> dict[str, float]:
    k = float(np.exp(shape[0]))
    return {"E": float(np.log(max(1 - start, 1e-12)) + k * window.first * np.log(10)), "k": k}


def _exponential_parameters(start: float, end: float, shape: Array, window: Window) -> dict[str, float]:
    return {"R0": start, "A": end, "tau": float(10.0 ** shape[0])}


def _changepoint_parameters(start: float, end: float, shape: Array, window: Window) -> dict[str, float]:
    stop = shape[0] + np.exp(shape[1])
    return {"low": start, "high": end, "x_begin": float(10.0 ** shape[0]), "x_end": float(10.0**stop)}


def _constant(z: Array, shape: Array, window: Window) -> Array:
    return np.zeros((*shape.shape[:-1], len(z)))


def _exponents(low: float, high: float) -> tuple[float, float]:
    return float(np.log(low)), float(np.log(high))


ANY = (-np.inf, np.inf)
RANGE_OF_MID = (1.5, 2.0)  # decades before and beyond the window where x_mid and tau are sought


def _mid(window: Window) -> tuple[float, float]:
    return window.first - RANGE_OF_MID[0], window.first + window.width + RANGE_OF_MID[1]


def _begin_and_length(window: Window) -> tuple[tuple[float, float], tuple[float, float]]:
    return (window.first - 0.3, window.first + window.width), _exponents(0.05, window.width + 0.6)


def _flat(window: Window) -> tuple[tuple[float, float], tuple[float, float]]:
    return NONE, NONE


_LAWS = (
    Law(
        "constant", share=_constant, bounds=_flat, counts=(1, 1), n_parameters=1, at_zero=True,
        describe=lambda start, end, shape, window: {"R": start}, axes={"R": "start"}, boxes=((0.0, 1.0), (0.0, 0.0)),
    ),
    Law(
        "log_linear", share=_line, bounds=_flat, counts=(1, 1), n_parameters=2, at_zero=False,
        describe=_line_parameters, axes={}, boxes=(ANY, ANY),
    ),
    Law(
        "hill", share=_hill, bounds=lambda w: (_exponents(0.1, 12.0), _mid(w)), counts=(17, 31), n_parameters=4,
        at_zero=True, describe=_hill_parameters, axes={"R0": "start", "A": "end", "B": "shape0", "x_mid": "shape1"},
    ),
    Law(
        "saturating_power", share=_power, bounds=lambda w: (_exponents(0.01, 6.0), NONE), counts=(60, 1),
        n_parameters=3, at_zero=False, describe=_power_parameters, axes={"A": "end", "B": "shape0"},
    ),
    Law(
        "exponential", share=_exponential, bounds=lambda w: (_mid(w), NONE), counts=(70, 1), n_parameters=3,
        at_zero=True, describe=_exponential_parameters, axes={"R0": "start", "A": "end", "tau": "shape0"},
    ),
    Law(
        "error_power", share=_power, bounds=lambda w: (_exponents(1e-4, 4.0), NONE), counts=(70, 1),
        n_parameters=2, at_zero=False, describe=_error_parameters, axes={"k": "shape0"}, boxes=((0.0, 1.0), (1.0, 1.0)),
    ),
    Law(
        "changepoint", share=_changepoint, bounds=_begin_and_length, counts=(25, 15), n_parameters=4, at_zero=True,
        describe=_changepoint_parameters, axes={"low": "start", "high": "end", "x_begin": "shape0"},
    ),
)  # fmt: skip
LAWS = {law.name: law for law in _LAWS}


def evaluate(name: str, parameters: dict[str, float], x: Array) -> Array:
    """R at budgets x > 0 from named parameters, as written to verdicts.json."""
    p = parameters
    z = np.log10(x)
    match name:
        case "constant":
            return np.full_like(z, p["R"])
        case "log_linear":
            return p["a"] + p["b"] * z
        case "hill":
            return p["R0"] + (p["A"] - p["R0"]) / (1 + (p["x_mid"] / x) ** p["B"])
        case "saturating_power":
            return p["A"] - p["D"] * x ** -p["B"]
        case "exponential":
            return p["A"] - (p["A"] - p["R0"]) * np.exp(-x / p["tau"])
        case "error_power":
            return 1 - np.exp(p["E"] - p["k"] * np.log(x))
        case "changepoint":
            begin, end = np.log10(p["x_begin"]), np.log10(p["x_end"])
            return p["low"] + (p["high"] - p["low"]) * np.clip((z - begin) / (end - begin), 0, 1)
    raise KeyError(f"no law {name!r}; the laws are {', '.join(LAWS)}")
