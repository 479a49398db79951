"""ITK's recursive Gaussian filter along one axis, a block of lines at a time.

The recursion of fourth order is Deriche's with the coefficients of Farnebäck and Westin, as in
``itkRecursiveGaussianImageFilter``: the same operations in the same order, so that results are
ITK's bit for bit. What lies before the part that is asked for is run through and not written.

References
----------
Deriche R. Recursively implementing the Gaussian and its derivatives. INRIA report 1893, 1993.
Farnebäck G, Westin C-F. Improving Deriche-style recursive Gaussian filters. Journal of
Mathematical Imaging and Vision 26, 2006.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skcyto.feature_extraction._radiomics._kernels._compile import compiled

_W1, _L1, _W2, _L2 = 0.6681, -1.3932, 2.0787, -1.3732
_A1, _B1 = (1.3530, -0.6724, -1.3563), (1.8151, -3.4327, 5.2318)  # by order of derivative
_A2, _B2 = (-0.3531, 0.6724, 0.3446), (0.0902, 0.6100, -2.2355)
_LINES = 16


def coefficients(sigma: float, spacing: float, order: int) -> NDArray[np.float64]:
    """Compute the recursion's coefficients as ITK does, normalised across scales.

    Parameters
    ----------
    sigma, spacing : float
        In the same unit of length.
    order : {0, 2}
        Of the derivative.

    Returns
    -------
    coefficients : ndarray of shape (20,)
        N0 to N3, D1 to D4, M1 to M4, and those beyond the borders, BN1 to BN4 and BM1 to BM4.
    """
    scale = sigma / spacing
    sin1, cos1, exp1 = math.sin(_W1 / scale), math.cos(_W1 / scale), math.exp(_L1 / scale)
    sin2, cos2, exp2 = math.sin(_W2 / scale), math.cos(_W2 / scale), math.exp(_L2 / scale)

    def numerator(which: int) -> list[float]:
        a1, b1, a2, b2 = _A1[which], _B1[which], _A2[which], _B2[which]
        n1 = exp2 * (b2 * sin2 - (a2 + 2 * a1) * cos2)
        n1 += exp1 * (b1 * sin1 - (a1 + 2 * a2) * cos1)
        n2 = (a1 + a2) * cos2 * cos1
        n2 -= b1 * cos2 * sin1 + b2 * cos1 * sin2
        n2 *= 2 * exp1 * exp2
        n2 += a2 * exp1 * exp1 + a1 * exp2 * exp2
        n3 = exp2 * exp1 * exp1 * (b2 * sin2 - a2 * cos2)
        n3 += exp1 * exp2 * exp2 * (b1 * sin1 - a1 * cos1)
        return [a1 + a2, n1, n2, n3]

    d4 = exp1 * exp1 * exp2 * exp2
    d3 = -2 * cos1 * exp1 * exp2 * exp2
    d3 += -2 * cos2 * exp2 * exp1 * exp1
    d2 = 4 * cos2 * cos1 * exp1 * exp2
    d2 += exp1 * exp1 + exp2 * exp2
    d1 = -2 * (exp2 * cos2 + exp1 * cos1)
    d = [d1, d2, d3, d4]
    sd = 1 + d1 + d2 + d3 + d4
    dd = d1 + 2 * d2 + 3 * d3 + 4 * d4
    ed = d1 + 4 * d2 + 9 * d3 + 16 * d4
    n = numerator(0)
    if order == 0:
        factor = 1.0 / (2 * (n[0] + n[1] + n[2] + n[3]) / sd - n[0])
    else:
        smooth, (n0, n1, n2, n3) = n, numerator(2)
        sn0, sn2 = smooth[0] + smooth[1] + smooth[2] + smooth[3], n0 + n1 + n2 + n3
        beta = -(2 * sn2 - sd * n0) / (2 * sn0 - sd * smooth[0])
        n = [b + beta * a for a, b in zip(smooth, (n0, n1, n2, n3), strict=True)]
        dn0, dn2 = smooth[1] + 2 * smooth[2] + 3 * smooth[3], n1 + 2 * n2 + 3 * n3
        en0, en2 = smooth[1] + 4 * smooth[2] + 9 * smooth[3], n1 + 4 * n2 + 9 * n3
        sn, dn, en = sn2 + beta * sn0, dn2 + beta * dn0, en2 + beta * en0
        alpha = en * sd * sd - ed * sn * sd - 2 * dn * dd * sd + 2 * dd * dd * sn
        factor = sigma**2 / (alpha / (sd * sd * sd))
    n = [each * factor for each in n]
    m = [n[1] - d1 * n[0], n[2] - d2 * n[0], n[3] - d3 * n[0], -d4 * n[0]]
    sn, sm = n[0] + n[1] + n[2] + n[3], m[0] + m[1] + m[2] + m[3]
    return np.array([*n, *d, *m, *(each * sn / sd for each in d), *(each * sm / sd for each in d)])


def smooth_along(
    array: NDArray[np.float64] | NDArray[np.float32],
    axis: int,
    start: int,
    stop: int,
    coefficients: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Run the filter along one axis.

    Parameters
    ----------
    array : ndarray of float
        At least four voxels along the axis.
    axis : int
    start, stop : int
        What to return along it.
    coefficients : ndarray of shape (20,)

    Returns
    -------
    filtered : ndarray of float32
    """
    shape = array.shape
    outer, inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    source = np.ascontiguousarray(array).reshape(-1)
    target = np.empty((outer, stop - start, inner), dtype=np.float32)
    _run(source, shape[axis], inner, coefficients, start, stop, target.reshape(-1))
    return target.reshape(*shape[:axis], stop - start, *shape[axis + 1 :])


@compiled
def _run(
    source: NDArray[Any],
    n: int,
    inner: int,
    c: NDArray[np.float64],
    start: int,
    stop: int,
    target: NDArray[np.float32],
) -> None:
    n_lines = source.size // n
    width = stop - start
    data, forth = np.empty((n, _LINES)), np.empty((n, _LINES))
    back = np.empty((n, _LINES))
    for first in range(0, n_lines, _LINES):
        count = min(_LINES, n_lines - first)
        base = (first // inner) * n * inner + first % inner
        side_by_side = inner > 1 and first % inner + count <= inner
        if side_by_side:
            for i in range(n):
                for b in range(count):
                    data[i, b] = source[base + i * inner + b]
        else:
            for b in range(count):
                base = ((first + b) // inner) * n * inner + (first + b) % inner
                for i in range(n):
                    data[i, b] = source[base + i * inner]
        _forward(data, forth, stop, c)
        _backward(data, back, start, c)
        base = (first // inner) * width * inner + first % inner
        if side_by_side:
            for i in range(start, stop):
                for b in range(count):
                    target[base + (i - start) * inner + b] = forth[i, b] + back[i, b]
        else:
            for b in range(count):
                base = ((first + b) // inner) * width * inner + (first + b) % inner
                for i in range(start, stop):
                    target[base + (i - start) * inner] = forth[i, b] + back[i, b]


@compiled
def _forward(
    data: NDArray[np.float64], out: NDArray[np.float64], stop: int, c: NDArray[np.float64]
) -> None:
    n0, n1, n2, n3 = c[0], c[1], c[2], c[3]
    d1, d2, d3, d4 = c[4], c[5], c[6], c[7]
    for b in range(_LINES):
        edge = data[0, b]
        x1 = x2 = x3 = edge
        for i in range(4):
            value = data[i, b] * n0 + x1 * n1 + x2 * n2 + x3 * n3
            y1 = out[i - 1, b] * d1 if i > 0 else edge * c[12]
            y2 = out[i - 2, b] * d2 if i > 1 else edge * c[13]
            y3 = out[i - 3, b] * d3 if i > 2 else edge * c[14]
            out[i, b] = value - (y1 + y2 + y3 + edge * c[15])
            x1, x2, x3 = data[i, b], x1, x2
    for i in range(4, stop):
        for b in range(_LINES):
            value = (
                data[i, b] * n0 + data[i - 1, b] * n1 + data[i - 2, b] * n2 + data[i - 3, b] * n3
            )
            out[i, b] = value - (
                out[i - 1, b] * d1 + out[i - 2, b] * d2 + out[i - 3, b] * d3 + out[i - 4, b] * d4
            )


@compiled
def _backward(
    data: NDArray[np.float64], out: NDArray[np.float64], start: int, c: NDArray[np.float64]
) -> None:
    m1, m2, m3, m4 = c[8], c[9], c[10], c[11]
    d1, d2, d3, d4 = c[4], c[5], c[6], c[7]
    n = data.shape[0]
    for b in range(_LINES):
        edge = data[n - 1, b]
        x1 = x2 = x3 = x4 = edge
        for k in range(4):
            i = n - 1 - k
            value = x1 * m1 + x2 * m2 + x3 * m3 + x4 * m4
            y1 = out[i + 1, b] * d1 if k > 0 else edge * c[16]
            y2 = out[i + 2, b] * d2 if k > 1 else edge * c[17]
            y3 = out[i + 3, b] * d3 if k > 2 else edge * c[18]
            out[i, b] = value - (y1 + y2 + y3 + edge * c[19])
            x1, x2, x3, x4 = data[i, b], x1, x2, x3
    for i in range(n - 5, start - 1, -1):
        for b in range(_LINES):
            value = data[i + 1, b] * m1 + data[i + 2, b] * m2 + data[i + 3, b] * m3
            value += data[i + 4, b] * m4
            out[i, b] = value - (
                out[i + 1, b] * d1 + out[i + 2, b] * d2 + out[i + 3, b] * d3 + out[i + 4, b] * d4
            )
