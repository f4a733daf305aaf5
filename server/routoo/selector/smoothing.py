"""Prices of K coupling rows to within a hair, by Newton steps on a smoothed dual.

The dual of the program, g(p) = p . limits + sum over prompts of the best reduced value, is convex
and piecewise linear in the K prices. Over thousands of prompts it looks smooth: replacing each
prompt's maximum by a soft maximum of temperature t (Nesterov 2005) moves g by at most t n log m and
gives it a gradient and a K x K Hessian, and a few Newton steps at falling temperatures end where
the exact method takes over.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from routoo.selector.arrays import FloatArray, IndexArray
from routoo.selector.program import Program

# Temperatures are in the unit of the scaled values. At the last one some thirty prompts, however
# many there are, lie so near a tie that they are soft.
_FIRST_TEMPERATURE = 0.1
_COOLING = 0.3
_SOFT_PROMPTS = 30.0
_LEAST_TEMPERATURE = 1e-4

# Share of the dual that the last step at a temperature may gain, times the temperature squared.
_LITTLE = 0.1
_STEPS_EACH = 12
_SHORTER = 0.2

# Where prices must rise without end, the model sees no curvature; its prices are then cut off.
_GROWTH = 4.0

_LEAST_EXPONENT = -50.0

# Keeps the Newton system solvable when a row has no prompt near its margin.
_DAMPING = 1e-9


@dataclass(frozen=True, slots=True)
class Soft:
    """The smoothed dual at some prices [K]: its value, gradient [K] and Hessian [K, K].

    The gradient is what the soft choice leaves of each limit.
    """

    prices: FloatArray
    value: float
    gradient: FloatArray
    hessian: FloatArray


@dataclass(frozen=True, slots=True)
class _ByModel:
    """The program's arrays as [m, n]: sums over models then run along memory, several times faster.

    `per_cell` holds its rows' indices and usage [m, n], `per_model` as in `Program`.
    """

    values: FloatArray
    per_cell: tuple[tuple[int, FloatArray], ...]
    per_model: tuple[IndexArray, FloatArray]
    limits: FloatArray


def last_temperature(n: int) -> float:
    """Temperature at which the prices of n prompts are good enough for the exact method."""
    return float(np.clip(_SOFT_PROMPTS / n, _LEAST_TEMPERATURE, _COOLING * _FIRST_TEMPERATURE))


def smooth_optimum(program: Program, most: float) -> Soft:
    """Find prices, scaled and in [0, most], at which the exact dual is close to its least."""
    by_model = _ByModel(
        np.ascontiguousarray(program.values.T),
        tuple((row, np.ascontiguousarray(cells.T)) for row, cells in program.per_cell),
        program.per_model,
        program.limits,
    )
    prices = np.zeros(len(program.limits))
    temperature, last = _FIRST_TEMPERATURE, last_temperature(len(program.values))
    while True:
        now = _soften(by_model, prices, temperature)
        target = _newton_target(now, most)
        for _ in range(_STEPS_EACH):
            step = _soften(by_model, target, temperature)
            gained = now.value - step.value
            if gained < 0.0:
                # Too far for the quadratic model.
                target = now.prices + _SHORTER * (target - now.prices)
                continue
            now, target = step, _newton_target(step, most)
            if gained < _LITTLE * temperature**2 * abs(now.value):
                break
        prices = now.prices
        if temperature <= last:
            return now
        temperature = max(_COOLING * temperature, last)


def soft_shares(below_top: FloatArray, temperature: float) -> FloatArray:
    """Shares [n, m], 1 in each row, that a soft maximum gives to cells so far below the best."""
    shares = below_top / temperature
    _exp(shares)
    shares /= shares.sum(axis=1, keepdims=True)
    return shares


def _exp(exponents: FloatArray) -> None:
    """Take the exponential in place, cut off well above the denormal numbers, which are slow."""
    np.maximum(exponents, _LEAST_EXPONENT, out=exponents)
    np.exp(exponents, out=exponents)


def _soften(program: _ByModel, prices: FloatArray, temperature: float) -> Soft:
    """Evaluate the dual with soft maxima."""
    index, usage = program.per_model
    shares = program.values - (prices[index] @ usage)[:, None]
    for row, cells in program.per_cell:
        shares -= prices[row] * cells
    top = shares.max(axis=0)
    shares -= top
    shares /= temperature
    _exp(shares)
    sums = shares.sum(axis=0)
    value = float(prices @ program.limits + top.sum() + temperature * np.log(sums).sum())
    shares /= sums

    count = len(program.limits)
    mean_usage = np.empty((count, shares.shape[1]))
    mean_usage[index] = usage @ shares
    second = np.empty((count, count))
    second[np.ix_(index, index)] = (usage * shares.sum(axis=1)) @ usage.T
    for row, cells in program.per_cell:
        used = shares * cells
        mean_usage[row] = used.sum(axis=0)
        second[row, index] = second[index, row] = usage @ used.sum(axis=1)
        for other, other_cells in program.per_cell:
            if other <= row:
                second[row, other] = second[other, row] = float(np.vdot(used, other_cells))
    hessian = (second - mean_usage @ mean_usage.T) / temperature
    return Soft(prices, value, program.limits - mean_usage.sum(axis=1), hessian)


def _newton_target(now: Soft, most: float) -> FloatArray:
    """Minimise the quadratic model over prices of at least 0 that are not out of its reach."""
    size, axes = np.linalg.eigh(now.hessian)
    root = np.sqrt(np.maximum(size, max(_DAMPING * size[-1], _DAMPING**2)))
    # |root axes' p - target|^2 is twice the model, up to a constant.
    target = root * (axes.T @ now.prices) - (axes.T @ now.gradient) / root
    prices, _ = nnls(root[:, None] * axes.T, target)
    return np.minimum(prices, min(most, 1.0 + _GROWTH * float(now.prices.max())))
