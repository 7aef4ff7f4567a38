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
from numpy.typing import NDArray

from harness.analysis.stats.law_forms import (
    ANY,
    UNIT_WINDOW,
    Window,
    changepoint_bounds,
    changepoint_parameters,
    changepoint_share,
    constant_parameters,
    constant_share,
    error_bounds,
    error_parameters,
    exponential_bounds,
    exponential_parameters,
    exponential_share,
    hill_bounds,
    hill_parameters,
    hill_share,
    line_parameters,
    line_share,
    no_bounds,
    place_changepoint,
    place_constant,
    place_error,
    place_exponential,
    place_hill,
    place_line,
    place_power,
    power_bounds,
    power_parameters,
    power_share,
)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Law:
    """One candidate.

    share: (z [K], shape [..., 2], window) -> s [..., K]. grid: window -> [G, 2] starting shapes (unused entries 0) that
    cover the bounds. shape_bounds: window -> ((low, high), (low, high)) of the shape parameters. level_bounds: of start
    and end.
    axes: which of start, end, shape0, shape1 a named parameter is read from (derived ones are left out).
    at_zero: whether the law gives R(0) = start. n_parameters: mean parameters, a free R0 excluded.
    describe: (start, end, shape, window) -> named parameters in the field's convention.
    place: its inverse at UNIT_WINDOW, named parameters -> (start, end, shape).
    """

    name: str
    share: Callable[[Array, Array, Window], Array]
    shape_bounds: Callable[[Window], tuple[tuple[float, float], tuple[float, float]]]
    counts: tuple[int, int]
    n_parameters: int
    at_zero: bool
    describe: Callable[[float, float, Array, Window], dict[str, float]]
    place: Callable[[dict[str, float]], tuple[float, float, tuple[float, float]]]
    axes: dict[str, str]
    level_bounds: tuple[tuple[float, float], tuple[float, float]] = ((0.0, 1.0), (0.0, 1.0))

    def grid(self, window: Window) -> Array:
        """[G, 2] shapes, evenly spaced between the bounds."""
        axes = [
            np.linspace(low, high, n) for (low, high), n in zip(self.shape_bounds(window), self.counts, strict=True)
        ]
        return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)

    def with_fixed(self, axis: str, value: float) -> "Law":
        """The same law with one of start, end, shape0, shape1 held at a value."""
        if axis in ("start", "end"):
            held = (value, value)
            return replace(
                self, level_bounds=(held, self.level_bounds[1]) if axis == "start" else (self.level_bounds[0], held)
            )
        first = axis == "shape0"

        def bounds(window: Window) -> tuple[tuple[float, float], tuple[float, float]]:
            shape0, shape1 = self.shape_bounds(window)
            return ((value, value), shape1) if first else (shape0, (value, value))

        return replace(self, shape_bounds=bounds, counts=(1, self.counts[1]) if first else (self.counts[0], 1))

    def predict(self, z: Array, start: Array, end: Array, shape: Array, window: Window) -> Array:
        """R at budgets 10^z: start, end [...], shape [..., 2] -> [..., K]. z = -inf gives R(0)."""
        s = np.where(np.isneginf(z), 0.0, self.share(np.where(np.isneginf(z), window.first, z), shape, window))
        return start[..., None] * (1 - s) + end[..., None] * s


_LAWS = (
    Law(
        "constant",
        share=constant_share,
        shape_bounds=no_bounds,
        counts=(1, 1),
        n_parameters=1,
        at_zero=True,
        describe=constant_parameters,
        place=place_constant,
        axes={"R": "start"},
        level_bounds=((0.0, 1.0), (0.0, 0.0)),
    ),
    Law(
        "log_linear",
        share=line_share,
        shape_bounds=no_bounds,
        counts=(1, 1),
        n_parameters=2,
        at_zero=False,
        describe=line_parameters,
        place=place_line,
        axes={},
        level_bounds=(ANY, ANY),
    ),
    Law(
        "hill",
        share=hill_share,
        shape_bounds=hill_bounds,
        counts=(17, 31),
        n_parameters=4,
        at_zero=True,
        describe=hill_parameters,
        place=place_hill,
        axes={"R0": "start", "A": "end", "B": "shape0", "x_mid": "shape1"},
    ),
    Law(
        "saturating_power",
        share=power_share,
        shape_bounds=power_bounds,
        counts=(60, 1),
        n_parameters=3,
        at_zero=False,
        describe=power_parameters,
        place=place_power,
        axes={"A": "end", "B": "shape0"},
    ),
    Law(
        "exponential",
        share=exponential_share,
        shape_bounds=exponential_bounds,
        counts=(70, 1),
        n_parameters=3,
        at_zero=True,
        describe=exponential_parameters,
        place=place_exponential,
        axes={"R0": "start", "A": "end", "tau": "shape0"},
    ),
    Law(
        "error_power",
        share=power_share,
        shape_bounds=error_bounds,
        counts=(70, 1),
        n_parameters=2,
        at_zero=False,
        describe=error_parameters,
        place=place_error,
        axes={"k": "shape0"},
        level_bounds=((0.0, 1.0), (1.0, 1.0)),
    ),
    Law(
        "changepoint",
        share=changepoint_share,
        shape_bounds=changepoint_bounds,
        counts=(25, 15),
        n_parameters=4,
        at_zero=True,
        describe=changepoint_parameters,
        place=place_changepoint,
        axes={"low": "start", "high": "end", "x_begin": "shape0"},
    ),
)
LAWS = {law.name: law for law in _LAWS}


def evaluate(name: str, parameters: dict[str, float], x: Array) -> Array:
    """R at budgets x > 0 from named parameters, as written to verdicts.json."""
    if name not in LAWS:
        raise KeyError(f"no law {name!r}; the laws are {', '.join(LAWS)}")
    start, end, shape = LAWS[name].place(parameters)
    return LAWS[name].predict(np.log10(x), np.array(start), np.array(end), np.array(shape), UNIT_WINDOW)
