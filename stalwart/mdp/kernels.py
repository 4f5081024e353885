"""What small networks do to all their numbers, in one pass each and in machine code, on a CPU.

PyTorch's tanh takes longer there than the product of matrices before it, and clipping and Adam are nine passes.
"""

from __future__ import annotations

import numpy as np

from stalwart.drive.compiled import Array, Real, free_kernel, part, single

_ZERO, _ONE, _REACH, _NEW, _NEW_SQUARE, _LEAST = (single(x) for x in (0.0, 1.0, 8.0, 0.1, 0.001, 1e-6))
# x P(x²) / Q(x²) on [−8, 8], the least greatest relative error, by least squares weighed anew; beyond 8 tanh is ±1.
_P0, _P1, _P2 = single(0.99999998), single(0.12979251), single(0.0029858912)
_P3, _P4, _P5 = single(9.8789207e-06), single(-1.4704975e-08), single(2.3510466e-11)
_Q1, _Q2, _Q3 = single(0.46312567), single(0.024028045), single(0.00023720724)


@part
def tangent(x: Real) -> Real:
    """tanh x of a float32, within 4e-7 of its size."""
    x = min(max(x, -_REACH), _REACH)
    u = x * x
    above = x * (_P0 + u * (_P1 + u * (_P2 + u * (_P3 + u * (_P4 + u * _P5)))))
    below = _ONE + u * (_Q1 + u * (_Q2 + u * _Q3))
    return min(max(above / below, -_ONE), _ONE)


@free_kernel
def tanh_of(x: Array, bias: Array) -> None:
    """x (B, n) becomes tanh(x + bias)."""
    for row in range(x.shape[0]):
        for n in range(x.shape[1]):
            x[row, n] = tangent(x[row, n] + bias[n])


@free_kernel
def relu_of(x: Array, bias: Array) -> None:
    """x (B, n) becomes max(x + bias, 0)."""
    for row in range(x.shape[0]):
        for n in range(x.shape[1]):
            x[row, n] = max(x[row, n] + bias[n], _ZERO)


@free_kernel
def through_tanh(slope: Array, given: Array, sums: Array) -> None:
    """Slopes (B, n) by what `tanh_of` gave become those by what it took, and are added up in `sums` (n,)."""
    for row in range(slope.shape[0]):
        for n in range(slope.shape[1]):
            below = slope[row, n] * (_ONE - given[row, n] * given[row, n])
            slope[row, n] = below
            sums[n] += below


@free_kernel
def through_relu(slope: Array, given: Array, sums: Array) -> None:
    """The same of `relu_of`."""
    for row in range(slope.shape[0]):
        for n in range(slope.shape[1]):
            below = slope[row, n] if given[row, n] > _ZERO else _ZERO
            slope[row, n] = below
            sums[n] += below


@free_kernel
def adam(weights: Array, gradient: Array, mean: Array, square: Array, how: Array) -> None:
    """A step of Kingma and Ba, "Adam" (ICLR 2015), algorithm 1, on vectors of one length.

    Args:
        how: (4,) float32, the norm at most, α / (1 − β₁ᵗ), 1 / (1 − β₂ᵗ), ε.
    """
    most, lr, whole, eps = how
    shrink = _ONE
    if most < np.inf:
        norm = _ZERO
        for n in range(len(gradient)):
            norm += gradient[n] * gradient[n]
        shrink = min(most / (np.sqrt(norm) + _LEAST), _ONE)
    for n in range(len(weights)):
        slope = gradient[n] * shrink
        mean[n] += (slope - mean[n]) * _NEW
        square[n] += (slope * slope - square[n]) * _NEW_SQUARE
        weights[n] -= lr * mean[n] / (np.sqrt(square[n] * whole) + eps)
