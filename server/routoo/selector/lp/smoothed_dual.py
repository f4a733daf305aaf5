"""Approximate prices of K coupling rows, by Newton steps on a smoothed dual.

The dual of the program, g(p) = p . limits + sum over prompts of the best reduced value, is convex
and piecewise linear in the K prices. Over thousands of prompts it is almost smooth. A soft maximum
of temperature t in place of each prompt's maximum (Nesterov 2005) changes g by at most t n log m
and gives it a gradient and a K x K Hessian. A few Newton steps at falling temperatures then lead to
prices from which the exact method starts.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from routoo.selector.arrays import FloatArray, IndexArray
from routoo.selector.lp.program import Program

# Temperatures are in the unit of the scaled values. At the last one some thirty prompts, of any
# number, are so near a tie that their shares are spread over several models.
_FIRST_TEMPERATURE = 0.1
_COOLING = 0.3
_SOFT_PROMPTS = 30.0
_LEAST_TEMPERATURE = 1e-4

# The steps at a temperature end when one gains less than this times the temperature squared, as a
# share of the dual.
_LITTLE = 0.1
# Most steps at a temperature.
_STEPS_EACH = 12
# Factor by which a step that went too far is shortened.
_SHORTER = 0.2

# Where the optimal prices are unbounded, the quadratic model has no curvature and its minimum is
# far away; so prices grow by at most this factor, plus 1, in a step.
_GROWTH = 4.0

_LEAST_EXPONENT = -50.0

# Keeps the Newton system solvable when a row has no prompt near its margin.
_DAMPING = 1e-9


@dataclass(frozen=True, slots=True)
class Soft:
    """The smoothed dual at some prices.

    Attributes:
        prices: float64 [K].
        value: value of the dual.
        gradient: float64 [K], what the soft choice leaves of each limit.
        hessian: float64 [K, K].
    """

    prices: FloatArray
    value: float
    gradient: FloatArray
    hessian: FloatArray


@dataclass(frozen=True, slots=True)
class _ByModel:
    """The program's arrays as [m, n]: sums over models then run along memory, several times faster.

    Attributes:
        values: float64 [m, n], scaled, -inf in closed cells.
        sheets: cells [m, n] and owner [1 or m, 1 or n] of each sheet.
        per_model: ``Program.per_model``.
        limits: float64 [K], scaled.
    """

    values: FloatArray
    sheets: tuple[tuple[FloatArray, IndexArray], ...]
    per_model: tuple[IndexArray, FloatArray]
    limits: FloatArray

    @classmethod
    def of(cls, program: Program) -> "_ByModel":
        turned: dict[int, FloatArray] = {}
        for sheet in program.sheets:
            if id(sheet.cells) not in turned:
                turned[id(sheet.cells)] = np.ascontiguousarray(sheet.cells.T)
        return cls(
            np.ascontiguousarray(program.values.T),
            tuple((turned[id(sheet.cells)], sheet.owner.T) for sheet in program.sheets),
            program.per_model,
            program.limits,
        )


def last_temperature(n: int) -> float:
    """Return the temperature at which the prices of n prompts suffice for the exact method."""
    return float(np.clip(_SOFT_PROMPTS / n, _LEAST_TEMPERATURE, _COOLING * _FIRST_TEMPERATURE))


def smooth_optimum(program: Program, most: float, coldest: float | None = None) -> Soft:
    """Find prices, scaled and in [0, most], at which the exact dual is close to its least.

    Args:
        program: n prompts.
        most: the highest price.
        coldest: the last temperature; the lower, the closer. None: that which suffices for the
            exact method.
    """
    by_model = _ByModel.of(program)
    prices = np.zeros(len(program.limits))
    temperature = _FIRST_TEMPERATURE
    last = last_temperature(len(program.values)) if coldest is None else coldest
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
    """Return the shares of a soft maximum, float64 [n, m], which add up to 1 in each row.

    Args:
        below_top: float64 [n, m], value of each cell minus the best of its row; at most 0.
        temperature: of the soft maximum.
    """
    shares = below_top / temperature
    _exp(shares)
    shares /= shares.sum(axis=1, keepdims=True)
    return shares


def _exp(exponents: FloatArray) -> None:
    """Take the exponential in place, limited from below: denormal numbers are slow."""
    np.maximum(exponents, _LEAST_EXPONENT, out=exponents)
    np.exp(exponents, out=exponents)


def _soften(program: _ByModel, prices: FloatArray, temperature: float) -> Soft:
    """Evaluate the dual with soft maxima."""
    index, usage = program.per_model
    of_owner = np.append(prices, 0.0)
    shares = program.values - (prices[index] @ usage)[:, None]
    for cells, owner in program.sheets:
        shares -= of_owner[owner] * cells
    top = shares.max(axis=0)
    shares -= top
    shares /= temperature
    _exp(shares)
    sums = shares.sum(axis=0)
    value = float(prices @ program.limits + top.sum() + temperature * np.log(sums).sum())
    shares /= sums
    mean_usage, hessian = _moments(program, shares)
    hessian /= temperature
    return Soft(prices, value, program.limits - mean_usage, hessian)


def _moments(program: _ByModel, shares: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return sums over prompts of the rows' mean usage, [K], and of its covariance, [K, K].

    ``shares`` is float64 [m, n], a distribution over models per prompt. A row that counts only some
    prompts has a covariance with others in these prompts only, so that no array of the size [K, n]
    is needed.
    """
    index, usage = program.per_model
    count, m = len(program.limits), len(shares)
    mean = np.zeros(count + 1)
    second = np.zeros((count + 1, count + 1))
    per_model = shares.sum(axis=1)
    mean[index] = usage @ per_model
    second[np.ix_(index, index)] = (usage * per_model) @ usage.T
    used = [shares * cells for cells, _ in program.sheets]
    whole_rows, whole_usage = [index], [usage @ shares]
    parts: list[tuple[IndexArray, FloatArray]] = []
    models = np.arange(m)[:, None] * (count + 1)
    for at, (_, owner) in enumerate(program.sheets):
        of_model = _sum_by(models + owner, used[at], m * (count + 1)).reshape(m, -1)
        mean += of_model.sum(axis=0)
        crossed = usage @ of_model
        second[index] += crossed
        second[:, index] += crossed.T
        for other in range(at + 1):
            other_cells, other_owner = program.sheets[other]
            pairs = owner * (count + 1) + other_owner
            product = _sum_of_products(pairs, used[at], other_cells, (count + 1) ** 2)
            block = product.reshape(count + 1, -1)
            second += block
            if other < at:
                second += block.T
        if owner.shape[1] == 1:
            whole_rows.append(np.broadcast_to(owner[:, 0], m if owner.size > 1 else 1))
            whole_usage.append(used[at] if owner.size > 1 else used[at].sum(axis=0)[None])
        else:
            parts += _by_prompt(owner, used[at])
    rows, whole = np.concatenate(whole_rows), np.concatenate(whole_usage)
    squares = np.zeros_like(second)
    np.add.at(squares, np.ix_(rows, rows), whole @ whole.T)
    for at, (owner, figures) in enumerate(parts):
        for row, of_whole in zip(rows.tolist(), whole, strict=True):
            crossed = _sum_by(owner, figures * of_whole, count + 1)
            squares[row] += crossed
            squares[:, row] += crossed
        for other, (other_owner, other_figures) in enumerate(parts[: at + 1]):
            pairs = owner * (count + 1) + other_owner
            block = _sum_by(pairs, figures * other_figures, (count + 1) ** 2)
            squares += block.reshape(count + 1, -1)
            if other < at:
                squares += block.reshape(count + 1, -1).T
    return mean[:count], (second - squares)[:count, :count]


def _by_prompt(owner: IndexArray, used: FloatArray) -> list[tuple[IndexArray, FloatArray]]:
    """Return owner and usage per prompt, [n] each, of a sheet whose owner differs by prompt."""
    if len(owner) == 1:
        return [(owner[0], used.sum(axis=0))]
    return list(zip(owner, used, strict=True))


def _sum_by(owner: IndexArray, figures: FloatArray, count: int) -> FloatArray:
    """Sum the figures by owner, [count]; owner has the figures' shape, or 1 on some axes."""
    alike = tuple(axis for axis, size in enumerate(owner.shape) if size < figures.shape[axis])
    sums = figures.sum(axis=alike, keepdims=True) if alike else figures
    found = np.bincount(owner.ravel(), weights=sums.ravel(), minlength=count)
    return np.asarray(found, dtype=np.float64)


def _sum_of_products(
    owner: IndexArray, left: FloatArray, right: FloatArray, count: int
) -> FloatArray:
    """Sum a product by owner as ``_sum_by`` does; with one owner the product is not stored."""
    if owner.size == 1:
        sums = np.zeros(count)
        sums[owner[0, 0]] = np.vdot(left, right)
        return sums
    return _sum_by(owner, left * right, count)


def _newton_target(now: Soft, most: float) -> FloatArray:
    """Minimise the quadratic model over prices of at least 0, and limit their growth."""
    size, axes = np.linalg.eigh(now.hessian)
    root = np.sqrt(np.maximum(size, max(_DAMPING * size[-1], _DAMPING**2)))
    # |root axes' p - target|^2 is twice the model, up to a constant.
    target = root * (axes.T @ now.prices) - (axes.T @ now.gradient) / root
    prices, _ = nnls(root[:, None] * axes.T, target)
    return np.minimum(prices, min(most, 1.0 + _GROWTH * float(now.prices.max())))
