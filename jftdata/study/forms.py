"""Forms that a curve of scores over numbers of images may have, and their weighted least squares.

Every form is value = u - a g(x), where g falls with x and has no, one or two shape parameters. Given the shape, u and a follow in
closed form, so a fit is a search over a grid of shapes: no start can lead it astray, and a thousand fits are one matrix product.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from jftdata.errors import one_of

Floats = NDArray[np.float64]

EXPONENTS = np.geomspace(0.02, 3, 160)
"""Of power laws; neighbours differ by 3%. The literature's lie between 0.05 and 1."""
STEEPNESS = np.geomspace(0.15, 3, 20)
"""Of sigmoids."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """A form with the names of its parameters: u, a, and those of the shape."""

    name: str
    formula: str
    parameters: tuple[str, ...]
    num_free: int
    """Parameters that are fitted (of `power`, top is not); so many sizes are needed."""
    top: float | None
    """What u may be at most; None lets u and a be anything."""
    falling: Callable[[Floats, Floats], Floats]
    """g of x (n,) and shapes (m, q): (m, n)."""
    inverse: Callable[[Floats, Floats], Floats]
    """x of g (m,) and shapes (m, q): (m,)."""
    shapes: Callable[[Floats], Floats]
    """The grid (m, q) for numbers of images x (n,)."""


def _grid(x: Floats) -> Floats:
    """Half of the rise lies within the sizes or a decade beside them."""
    half = np.geomspace(x.min() / 10, x.max() * 10, 20)
    return np.stack([a.ravel() for a in np.meshgrid(half, STEEPNESS, indexing="ij")], axis=1)


FORMS = {form.name: form for form in (
    Form(
        name="log", formula="intercept + slope log10 x", parameters=("intercept", "slope"), num_free=2, top=None,
        falling=lambda x, s: np.tile(-np.log10(x), (len(s), 1)), inverse=lambda g, s: 10.0 ** -g,
        shapes=lambda x: np.empty((1, 0)),
    ),
    Form(
        name="power", formula="1 - a x^-b", parameters=("top", "a", "b"), num_free=2, top=1.0,
        falling=lambda x, s: x ** -s[:, :1], inverse=lambda g, s: np.maximum(g, 0) ** (-1 / s[:, 0]),
        shapes=lambda x: EXPONENTS[:, None],
    ),
    Form(
        name="power-offset", formula="top - a x^-b", parameters=("top", "a", "b"), num_free=3, top=1.0,
        falling=lambda x, s: x ** -s[:, :1], inverse=lambda g, s: np.maximum(g, 0) ** (-1 / s[:, 0]),
        shapes=lambda x: EXPONENTS[:, None],
    ),
    Form(
        name="sigmoid", formula="top - rise / (1 + (x / half)^k)", parameters=("top", "rise", "half", "k"), num_free=4,
        top=1.0, falling=lambda x, s: 1 / (1 + (x / s[:, :1]) ** s[:, 1:]),
        inverse=lambda g, s: s[:, 0] * np.maximum(1 / np.maximum(g, 0) - 1, 0) ** (1 / s[:, 1]), shapes=_grid,
    ),
)}  # fmt: skip
"""By name, fewest parameters first. For the error of a share, 1 - value, `power`, `power-offset` and `sigmoid` are M1, M2 and M4 with
alpha = 1 of Alabdulmohsin et al. 2022, "Revisiting neural scaling laws in language and vision"; `log` is the line of Sun et al. 2017,
Figure 4. M3, for curves that start flat, is left out: the sigmoid starts flat too."""


def get(name: str) -> Form:
    """The form of a name.

    Raises:
        UnknownOption: no such form.
    """
    if name not in FORMS:
        raise one_of("form", name, FORMS)
    return FORMS[name]


def value(form: Form, parameters: Floats, x: Floats) -> Floats:
    """Values (m, n) of curves with parameters (m, p) at numbers of images (n,)."""
    found: Floats = parameters[:, :1] - parameters[:, 1:2] * form.falling(x, parameters[:, 2:])
    return found


def solve(form: Form, x: Floats, y: Floats, weight: Floats) -> Floats:
    """Parameters (p,) of the weighted least squares of y (n,), exactly: the best shape of the grid, then `least_squares` from there.

    Source: variable projection, Golub and Pereyra 1973.
    """
    start: Floats = solve_many(form, x, y[None], weight)[0]
    if len(start) == 2:
        return start
    grid = np.log(form.shapes(x))
    low, high = grid.min(axis=0), grid.max(axis=0)
    root = np.sqrt(weight)

    def residuals(shape: Floats) -> Floats:
        at = _linear(form, x, y[None], weight, np.exp(shape)[None])[1][0, 0]
        off: Floats = root * (value(form, np.array([[*at, *np.exp(shape)]]), x)[0] - y)
        return off

    first = np.clip(np.log(start[2:]), low, high)
    found = least_squares(residuals, first, bounds=(low, high), xtol=1e-10, ftol=1e-12, gtol=1e-12).x
    if (residuals(found) ** 2).sum() > (residuals(first) ** 2).sum():
        found = first
    u, a = _linear(form, x, y[None], weight, np.exp(found)[None])[1][0, 0]
    return np.array([u, a, *np.exp(found)])


def solve_many(form: Form, x: Floats, y: Floats, weight: Floats) -> Floats:
    """Parameters (m, p) of the weighted least squares of each row of y (m, n), with shapes of the grid."""
    shapes = form.shapes(x)
    loss, linear = _linear(form, x, y, weight, shapes)
    best = loss.argmin(axis=1)
    return np.concatenate([linear[np.arange(len(y)), best], shapes[best]], axis=1)


def reach(form: Form, parameters: Floats, target: Floats) -> Floats:
    """Images (m,) at which curves with parameters (m, p) come to targets (m,); infinite where they do not rise so far."""
    a = parameters[:, 1]
    with np.errstate(all="ignore"):
        images = form.inverse((parameters[:, 0] - target) / a, parameters[:, 2:])
    return np.where(a > 0, images, np.inf)


def _linear(form: Form, x: Floats, y: Floats, weight: Floats, shapes: Floats) -> tuple[Floats, Floats]:
    """For each row of y (m, n) and shape (s, q): the loss (m, s) and the best u and a (m, s, 2) within the form's bounds."""
    g = form.falling(x, shapes)
    total = weight.sum()
    mean_g, mean_y = g @ weight / total, y @ weight / total
    g_off, y_off = g - mean_g[:, None], y - mean_y[:, None]
    spread = (g_off**2 @ weight)[None]
    both = (y_off * weight) @ g_off.T
    own = (y_off**2 @ weight)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where(spread > 0, both / spread, 0.0)
    a = -slope
    u = mean_y[:, None] - slope * mean_g
    loss = own - slope * both
    if form.top is None:
        return loss, np.stack([u, a], axis=2)
    below = form.top - y
    cross = (below * weight) @ g.T
    square = (g**2 @ weight)[None]
    a_top = np.maximum(cross / np.maximum(square, np.finfo(float).tiny), 0.0)
    loss_top = (below**2 @ weight)[:, None] - 2 * a_top * cross + a_top**2 * square
    full = np.full_like(a_top, form.top)
    if form.num_free < len(form.parameters):
        return loss_top, np.stack([full, a_top], axis=2)
    flat = np.broadcast_to(np.minimum(mean_y, form.top)[:, None], a.shape)
    loss_flat = own + total * (mean_y[:, None] - flat) ** 2
    inside = (a >= 0) & (u <= form.top)
    at_top = loss_top <= loss_flat
    loss = np.where(inside, loss, np.where(at_top, loss_top, loss_flat))
    u = np.where(inside, u, np.where(at_top, full, flat))
    a = np.where(inside, a, np.where(at_top, a_top, 0.0))
    return loss, np.stack([u, a], axis=2)
