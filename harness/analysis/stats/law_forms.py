"""The parts of each candidate law (laws.py): its share s(x; shape), its named parameters, the bounds of its shape."""

from dataclasses import dataclass

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


NONE = (0.0, 0.0)


UNIT_WINDOW = Window(np.array([0.0, 1.0]))  # in which named parameters are placed


Placed = tuple[float, float, tuple[float, float]]  # start, end, shape


def line_share(z: Array, shape: Array, window: Window) -> Array:
    return np.broadcast_to((z - window.first) / window.width, (*shape.shape[:-1], len(z)))


def hill_share(z: Array, shape: Array, window: Window) -> Array:
    log_b, mid = shape[..., :1], shape[..., 1:]
    return 0.5 * (1 + np.tanh(0.5 * np.log(10) * np.exp(log_b) * (z - mid)))


def power_share(z: Array, shape: Array, window: Window) -> Array:
    return -np.expm1(-np.log(10) * np.exp(shape[..., :1]) * (z - window.first))


def exponential_share(z: Array, shape: Array, window: Window) -> Array:
    return -np.expm1(-(10.0 ** (z - shape[..., :1])))


def changepoint_share(z: Array, shape: Array, window: Window) -> Array:
    begin, log_length = shape[..., :1], shape[..., 1:]
    return np.clip((z - begin) / np.exp(log_length), 0.0, 1.0)


def line_parameters(start: float, end: float, shape: Array, window: Window) -> dict[str, float]:
    b = (end - start) / window.width
    return {"a": start - b * window.first, "b": b}


def hill_parameters(start: float, end: float, shape: Array, window: Window) -> dict[str, float]:
    return {"R0": start, "A": end, "B": float(np.exp(shape[0])), "x_mid": float(10.0 ** shape[1])}


def power_parameters(start: float, end: float, shape: Array, window: Window) -> dict[str, float]:
    b = float(np.exp(shape[0]))
    return {"A": end, "D": (end - start) * 10.0 ** (b * window.first), "B": b}


def error_parameters(start: float, end: float, shape: Array, window: Window) -> dict[str, float]:
    k = float(np.exp(shape[0]))
    return {"E": float(np.log(max(1 - start, 1e-12)) + k * window.first * np.log(10)), "k": k}


def exponential_parameters(start: float, end: float, shape: Array, window: Window) -> dict[str, float]:
    return {"R0": start, "A": end, "tau": float(10.0 ** shape[0])}


def changepoint_parameters(start: float, end: float, shape: Array, window: Window) -> dict[str, float]:
    stop = shape[0] + np.exp(shape[1])
    return {"low": start, "high": end, "x_begin": float(10.0 ** shape[0]), "x_end": float(10.0**stop)}


def constant_share(z: Array, shape: Array, window: Window) -> Array:
    return np.zeros((*shape.shape[:-1], len(z)))


def _exponents(low: float, high: float) -> tuple[float, float]:
    return float(np.log(low)), float(np.log(high))


ANY = (-np.inf, np.inf)


RANGE_OF_MID = (1.5, 2.0)  # decades before and beyond the window where x_mid and tau are sought


def _mid(window: Window) -> tuple[float, float]:
    return window.first - RANGE_OF_MID[0], window.first + window.width + RANGE_OF_MID[1]


def changepoint_bounds(window: Window) -> tuple[tuple[float, float], tuple[float, float]]:
    return (window.first - 0.3, window.first + window.width), _exponents(0.05, window.width + 0.6)


def no_bounds(window: Window) -> tuple[tuple[float, float], tuple[float, float]]:
    return NONE, NONE


def place_constant(p: dict[str, float]) -> Placed:
    return p["R"], p["R"], NONE


def place_line(p: dict[str, float]) -> Placed:
    return p["a"], p["a"] + p["b"], NONE


def place_hill(p: dict[str, float]) -> Placed:
    return p["R0"], p["A"], (float(np.log(p["B"])), float(np.log10(p["x_mid"])))


def place_power(p: dict[str, float]) -> Placed:
    return p["A"] - p["D"], p["A"], (float(np.log(p["B"])), 0.0)


def place_exponential(p: dict[str, float]) -> Placed:
    return p["R0"], p["A"], (float(np.log10(p["tau"])), 0.0)


def place_error(p: dict[str, float]) -> Placed:
    return float(-np.expm1(p["E"])), 1.0, (float(np.log(p["k"])), 0.0)


def place_changepoint(p: dict[str, float]) -> Placed:
    begin, end = float(np.log10(p["x_begin"])), float(np.log10(p["x_end"]))
    return p["low"], p["high"], (begin, float(np.log(end - begin)))


def constant_parameters(start: float, end: float, shape: Array, window: Window) -> dict[str, float]:
    return {"R": start}


def hill_bounds(window: Window) -> tuple[tuple[float, float], tuple[float, float]]:
    return _exponents(0.1, 12.0), _mid(window)


def power_bounds(window: Window) -> tuple[tuple[float, float], tuple[float, float]]:
    return _exponents(0.01, 6.0), NONE


def exponential_bounds(window: Window) -> tuple[tuple[float, float], tuple[float, float]]:
    return _mid(window), NONE


def error_bounds(window: Window) -> tuple[tuple[float, float], tuple[float, float]]:
    return _exponents(1e-4, 4.0), NONE
