"""Learned motion: how far and where to a cell moves between two frames."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numba
import numpy as np
import numpy.typing as npt

from napari_marrow.tracking.chains import Chains
from napari_marrow.tracking.points import Detections, Floats, Ints
from napari_marrow.tracking.threads import in_slices

_COMPONENTS = 3
_SAMPLE = 12_000
_LOW_SPEED, _HIGH_SPEED = 0.4, 2.5
_JUMP_WIDTH = 0.3  # of the distance to the third neighbour
_JUMP_LIMIT = 0.8
_RARE = 0.002  # least weight of the widest steps
_NEWBORN = 60  # links of cells whose past is not known that make a class of their own
_PACE_PRIOR = 8.0  # links that the usual pace counts for in each frame


@dataclass(frozen=True)
class MotionModel:
    """Displacement given the past of the source and the future of the target, per class of local crowding.

    A step is expected at ``a * velocity_in + b * velocity_out`` (the second-order term); around it stands a mixture of
    isotropic normal distributions that scales with the cell's own speed and with ``duration ** exponent``.

    Attributes
    ----------
    crowding : (n,) int64
        Class of every detection: its local crowding, or that its past is not known, as of newborn cells.
    sigma, weight : (classes, 3) float64
        Mixture of the residuals, standard deviation per coordinate for one frame interval.
    a, b : (classes, 4) float64
        Coefficients when nothing (0), the past (1), the future (2) or both (3) are known.
    scale : (classes, 4) float64
        Size of the residual in these cases against the class.
    speed : (classes,) float64
        Mean squared step per unit of time.
    exponent : float
        Growth of the variance with time (1: Brownian).
    spacing : (n,) float64
        Distance to the third neighbour of every detection.
    jump : float
        Chance of a jump on the scale of the spacing: where cells lie far apart a long step is no other cell.
    pace : (n,) float64
        How far cells moved into the frame of every detection, against other frames: an exposure that came late.
    """

    crowding: Ints
    sigma: Floats
    weight: Floats
    a: Floats = field(default_factory=lambda: np.zeros((1, 4)))
    b: Floats = field(default_factory=lambda: np.zeros((1, 4)))
    scale: Floats = field(default_factory=lambda: np.ones((1, 4)))
    speed: Floats = field(default_factory=lambda: np.full(1, np.nan))
    exponent: float = 1.0
    spacing: Floats = field(default_factory=lambda: np.ones(1))
    jump: float = 0.004
    pace: Floats = field(default_factory=lambda: np.ones(1))

    def reach(self, duration: float = 1.0) -> float:
        """Radius within which a link can pay after so many frame intervals."""
        widest = float((self.sigma[:, -1] * np.where(self.weight[:, -1] > 1e-4, 1, 0)).max())
        middle = float(self.sigma[:, 1].max())
        return float(max(4.0 * widest, 5.0 * middle) * max(duration, 1.0) ** (0.5 * self.exponent))

    def limit(self, i: Ints, duration: Floats) -> Floats:
        """Largest distance from the expected position at which a detection is looked for."""
        return np.maximum(self.reach() * duration ** (0.5 * max(self.exponent, 0.5)), _JUMP_LIMIT * self.spacing[i])

    def case(self, chains: Chains, i: Ints, j: Ints) -> Ints:
        """Which velocities are known: 0 none, 1 the source's, 2 the target's, 3 both."""
        return (chains.previous[i] >= 0) + 2 * (chains.following[j] >= 0).astype(np.int64)

    def expected(self, chains: Chains, i: Ints, j: Ints, duration: Floats) -> Floats:
        """Return the expected displacement of the pairs, (e, d)."""
        c, q = self.crowding[i], self.case(chains, i, j)
        drift = self.a[c, q][:, None] * chains.velocity_in[i] + self.b[c, q][:, None] * chains.velocity_out[j]
        # persistence fades: over a longer gap the expectation grows more slowly than time
        return np.asarray(drift * (duration**0.7)[:, None])

    def ahead(self, chains: Chains, duration: Floats) -> Floats:
        """Return the expected displacement of every detection when only its past is known, (n, d)."""
        known = (chains.previous >= 0).astype(np.int64)
        drift = self.a[self.crowding, known][:, None] * chains.velocity_in
        return np.asarray(drift * (duration**0.7)[:, None])

    def spread(self, chains: Chains, i: Ints, j: Ints, duration: Floats) -> Floats:
        """Factor on sigma: own speed, what is known, time."""
        c = self.crowding[i]
        total = chains.past_speed[i] + chains.future_speed[j]
        usual = self.speed[c]
        own = np.sqrt((total[:, 0] + 3 * usual) / ((total[:, 1] + 3) * np.maximum(usual, 1e-300)))
        own = np.where(np.isfinite(own), np.clip(own, _LOW_SPEED, _HIGH_SPEED), 1.0)
        return np.asarray(
            own * self.scale[c, self.case(chains, i, j)] * self.pace[j] * duration ** (0.5 * self.exponent)
        )

    def log_density(self, residual: Floats, i: Ints, spread: Floats) -> Floats:
        """Log density of the residual (e, d) of pairs with source i, per unit area or volume."""
        out = np.empty(len(i))
        residual = np.ascontiguousarray(residual)
        steps, jumps = _logs(self.sigma, self.weight, self.spacing, self.jump, residual.shape[1])
        in_slices(
            lambda low, high: _log_density(
                residual, i, spread, self.crowding, self.sigma, steps, self.spacing, jumps, out, low, high
            ),
            len(i),
        )
        return out

    def pair_log_density(self, detections: Detections, chains: Chains, i: Ints, j: Ints, duration: Floats) -> Floats:
        """Log density of the targets' places given the sources, (e,)."""
        out = np.empty(len(i))
        steps, jumps = _logs(self.sigma, self.weight, self.spacing, self.jump, detections.ndim)
        in_slices(
            lambda low, high: _pair_log_density(
                detections.xyz, i, j, duration, chains.previous, chains.following, chains.velocity_in,
                chains.velocity_out, chains.past_speed, chains.future_speed, self.crowding, self.a, self.b, self.scale,
                self.speed, self.pace, self.exponent, self.sigma, steps, self.spacing, jumps, out, low, high,
            ),
            len(i),
        )  # fmt: skip
        return out


def _logs(sigma: Floats, weight: Floats, spacing: Floats, jump: float, d: int) -> tuple[Floats, Floats]:
    """Log densities at their centres: of a class' steps at usual speed, (classes, 3), and of jumps, (n,)."""
    with np.errstate(divide="ignore"):  # a part without weight has a log density of -inf
        steps = np.log((1 - jump) * weight) - 0.5 * d * np.log(2 * np.pi * sigma**2)
    return steps, np.log(jump) - 0.5 * d * np.log(2 * np.pi * (_JUMP_WIDTH * spacing) ** 2)


@numba.njit(cache=True, nogil=True)
def _mixture(
    r2: float, d: int, spread: float, sigma: Floats, steps: Floats, spacing: float, jumps: float
) -> float:  # fmt: skip
    """Log density of steps and jumps; `steps`, `jumps` are the logs at the centre for a spread of 1."""
    last = jumps - r2 / (2 * (_JUMP_WIDTH * spacing) ** 2)
    grown = d * np.log(spread)
    most = last
    terms = np.empty(_COMPONENTS)
    for q in range(_COMPONENTS):
        terms[q] = steps[q] - grown - r2 / (2 * (sigma[q] * spread) ** 2)
        most = max(most, terms[q])
    total = np.exp(last - most)
    for q in range(_COMPONENTS):
        total += np.exp(terms[q] - most)
    return most + np.log(total)


@numba.njit(cache=True, nogil=True)
def _log_density(
    residual: Floats, i: Ints, spread: Floats, crowding: Ints, sigma: Floats, steps: Floats, spacing: Floats,
    jumps: Floats, out: Floats, low: int, high: int,
) -> None:  # fmt: skip
    d = residual.shape[1]
    for e in range(low, high):
        r2 = 0.0
        for axis in range(d):
            r2 += residual[e, axis] ** 2
        c = crowding[i[e]]
        out[e] = _mixture(r2, d, spread[e], sigma[c], steps[c], spacing[i[e]], jumps[i[e]])


@numba.njit(cache=True, nogil=True)
def _pair_log_density(
    xyz: Floats, i: Ints, j: Ints, duration: Floats, previous: Ints, following: Ints, velocity_in: Floats,
    velocity_out: Floats, past_speed: Floats, future_speed: Floats, crowding: Ints, a: Floats, b: Floats,
    scale: Floats, speed: Floats, pace: Floats, exponent: float, sigma: Floats, steps: Floats, spacing: Floats,
    jumps: Floats, out: Floats, low: int, high: int,
) -> None:  # fmt: skip
    """Fill in `expected`, `spread` and `log_density` in one pass."""
    d = xyz.shape[1]
    known, fades, grows = 1.0, 1.0, 1.0  # powers of the duration, which is nearly always that of the pair before
    for e in range(low, high):
        p, q = i[e], j[e]
        c = crowding[p]
        case = (1 if previous[p] >= 0 else 0) + (2 if following[q] >= 0 else 0)
        if duration[e] != known:
            known = duration[e]
            fades, grows = known**0.7, known ** (0.5 * exponent)
        r2 = 0.0
        for axis in range(d):
            drift = a[c, case] * velocity_in[p, axis] + b[c, case] * velocity_out[q, axis]
            r2 += (xyz[q, axis] - xyz[p, axis] - drift * fades) ** 2
        usual = speed[c]
        total = past_speed[p, 0] + future_speed[q, 0] + 3 * usual
        own = np.sqrt(total / ((past_speed[p, 1] + future_speed[q, 1] + 3) * max(usual, 1e-300)))
        own = min(max(own, _LOW_SPEED), _HIGH_SPEED) if np.isfinite(own) else 1.0
        spread = own * scale[c, case] * pace[q] * grows
        out[e] = _mixture(r2, d, spread, sigma[c], steps[c], spacing[p], jumps[p])


def crowding_classes(spacing: Floats, n_links: int) -> Ints:
    """Class of local crowding by quartile of the spacing; fewer classes for few links."""
    classes = 4 if n_links >= 4000 else 2 if n_links >= 800 else 1
    cuts = np.quantile(spacing, np.arange(1, classes) / classes) if classes > 1 else np.zeros(0)
    return np.digitize(spacing, cuts).astype(np.int64)


def fit_mixture(r2: Floats, d: int) -> tuple[Floats, Floats]:
    """Fit three centred isotropic normal distributions of rising width to squared lengths.

    Parameters
    ----------
    r2 : (m,) float64
        Squared lengths of vectors of `d` coordinates.
    d : int

    Returns
    -------
    sigma, weight : (3,) float64
        The widest is kept at least twice as wide as the middle one with a weight of at least 0.2 %, because rare long
        jumps may be missing from the links that the fit rests on.
    """
    if len(r2) > _SAMPLE:
        r2 = r2[np.linspace(0, len(r2) - 1, _SAMPLE).astype(np.int64)]
    floor = 1e-6 * float(np.mean(r2)) + 1e-12
    v = np.maximum(np.quantile(r2, [0.4, 0.8, 0.99]) / (d * np.array([0.8, 1.3, 2.0])), floor)
    v = np.maximum.accumulate(v * np.array([1.0, 1.0001, 1.0002]))
    w = np.array([0.6, 0.35, 0.05])
    for _ in range(40):
        log_p = (np.log(w) - 0.5 * d * np.log(v))[:, None] - r2[None] / (2 * v)[:, None]
        p = np.exp(log_p - log_p.max(0))
        p /= p.sum(0)
        mass = p.sum(1)
        v = np.maximum((p * r2).sum(1) / (d * np.maximum(mass, 1e-9)) + floor, floor)
        w = np.clip(mass / mass.sum(), 1e-3, None)
        w /= w.sum()
    order = np.argsort(v)
    v, w = v[order], w[order]
    if w[2] < 0.1 and v[2] < 4 * v[1]:
        # no jumps among the links: what the third one explains goes to the middle one
        v[1] = (w[1] * v[1] + w[2] * v[2]) / (w[1] + w[2])
        w = np.array([w[0], w[1] + w[2], 0.0])
        v[2] = 4 * v[1]
    w = np.maximum(w, [0.0, 0.0, _RARE])
    return np.sqrt(v), w / w.sum()


def first_motion(detections: Detections, r2: Floats, spacing: Floats) -> MotionModel:
    """Motion model of displacement alone, from the squared lengths of the first links."""
    sigma, weight = fit_mixture(r2, detections.ndim)
    return MotionModel(
        np.zeros(detections.n, np.int64), sigma[None], weight[None], spacing=spacing, pace=np.ones(detections.n)
    )


def fit_motion(
    detections: Detections, chains: Chains, i: Ints, j: Ints, spacing: Floats, *, second_order: bool
) -> MotionModel:
    """Learn the motion model from links of one frame.

    Parameters
    ----------
    detections : Detections
    chains : Chains
    i, j : (e,) int64
        Links between neighbouring frames, divisions left out.
    spacing : (n,) float64
        Distance to the third neighbour.
    second_order : bool
        Whether velocities and own speed enter.

    Returns
    -------
    MotionModel
    """
    crowding = crowding_classes(spacing, len(i))
    born = (chains.previous < 0) & (detections.frame > 0)
    if second_order and born[i].sum() >= _NEWBORN:
        crowding = np.where(born, crowding.max(initial=0) + 1, crowding)
    classes = int(crowding.max(initial=0)) + 1
    d = detections.ndim
    time = detections.time[detections.frame]
    duration = time[j] - time[i]
    step = detections.xyz[j] - detections.xyz[i]
    speed = np.ones(classes)
    a, b, scale = np.zeros((classes, 4)), np.zeros((classes, 4)), np.ones((classes, 4))
    sigma, weight = np.ones((classes, _COMPONENTS)), np.ones((classes, _COMPONENTS)) / _COMPONENTS
    model = MotionModel(
        crowding, sigma, weight, a, b, scale, speed, _exponent(detections, chains), spacing, pace=np.ones(detections.n)
    )
    case = model.case(chains, i, j)
    for c in range(classes):
        mine = crowding[i] == c
        mine = mine if mine.sum() >= 30 else np.ones(len(i), bool)
        speed[c] = float(np.mean((step[mine] ** 2).sum(1) / duration[mine])) + 1e-300
        for q in (1, 2, 3) if second_order else ():
            a[c, q], b[c, q] = _regress(chains, i, j, step, duration, mine & (case == q), q)
    residual = step - model.expected(chains, i, j, duration)
    if not second_order:
        speed[:] = np.nan  # own speed off: the factor is 1
    spread = model.spread(chains, i, j, duration)
    r2 = (residual**2).sum(1) / spread**2
    model = replace(model, pace=_pace(detections, j, r2))
    r2 /= model.pace[j] ** 2
    for c in range(classes):
        mine = crowding[i] == c
        mine = mine if mine.sum() >= 30 else np.ones(len(i), bool)
        for q in range(4) if second_order else ():
            part = mine & (case == q)
            if part.sum() >= 50:
                scale[c, q] = np.clip(np.sqrt(np.median(r2[part]) / max(np.median(r2[mine]), 1e-300)), 0.5, 2.0)
        sigma[c], weight[c] = fit_mixture(r2[mine] / scale[c, case[mine]] ** 2, d)
    return replace(model, jump=_jumps(model, residual, i, model.spread(chains, i, j, duration)))


def _pace(detections: Detections, j: Ints, r2: Floats) -> Floats:
    """How much longer than usual the steps into each frame are, from their median squared residual."""
    out = np.ones(detections.n_frames)
    order = np.argsort(detections.frame[j], kind="stable")
    bounds = np.searchsorted(detections.frame[j][order], np.arange(detections.n_frames + 1))
    usual = max(float(np.median(r2)), 1e-300) if len(r2) else 1.0
    sorted_r2 = r2[order]
    for frame in range(1, detections.n_frames):
        mine = sorted_r2[bounds[frame] : bounds[frame + 1]]
        if len(mine):
            out[frame] = (len(mine) * float(np.median(mine)) / usual + _PACE_PRIOR) / (len(mine) + _PACE_PRIOR)
    return np.sqrt(np.clip(out, 0.5, 9.0))[detections.frame]


def _jumps(model: MotionModel, residual: Floats, i: Ints, spread: Floats) -> float:
    """Share of jumps among the links."""
    steps = replace(model, jump=1e-12).log_density(residual, i, spread)
    jumps = replace(model, jump=1 - 1e-12).log_density(residual, i, spread)
    share = model.jump
    for _ in range(15):
        odds = np.log(share / (1 - share)) + jumps - steps
        share = float(np.clip(np.mean(1 / (1 + np.exp(-np.clip(odds, -50, 50)))), 0.002, 0.05))
    return share


def _regress(
    chains: Chains, i: Ints, j: Ints, step: Floats, duration: Floats, rows: npt.NDArray[np.bool_], case: int
) -> tuple[float, float]:
    """Least squares of the step on the velocities before and after; the longest 2 % of the steps are left out."""
    if rows.sum() < 50:
        return 0.0, 0.0
    i, j, step, factor = i[rows], j[rows], step[rows], (duration[rows] ** 0.7)[:, None]
    u, w = chains.velocity_in[i] * factor, chains.velocity_out[j] * factor
    size = (step**2).sum(1) + (u**2).sum(1) + (w**2).sum(1)
    keep = size <= np.quantile(size, 0.98)
    u, w, step = u[keep].ravel(), w[keep].ravel(), step[keep].ravel()
    # sums, not BLAS: the result must not hang on the number of its threads
    uu, ww, uw, us, ws = ((p * q).sum() for p, q in ((u, u), (w, w), (u, w), (u, step), (w, step)))
    if case == 1:
        return float(np.clip(us / max(uu, 1e-300), -0.6, 1.0)), 0.0
    if case == 2:
        return 0.0, float(np.clip(ws / max(ww, 1e-300), -0.6, 1.0))
    det = uu * ww - uw * uw
    if det <= 1e-9 * uu * ww:
        return 0.0, 0.0
    return float(np.clip((us * ww - ws * uw) / det, -0.6, 0.8)), float(np.clip((ws * uu - us * uw) / det, -0.6, 0.8))


def _exponent(detections: Detections, chains: Chains) -> float:
    """How the squared displacement grows with time, from one and two steps along the chains."""
    middle = np.flatnonzero((chains.previous >= 0) & (chains.following >= 0))
    if len(middle) < 100:
        return 1.0
    before, after = chains.previous[middle], chains.following[middle]
    time = detections.time[detections.frame]
    even = np.abs((time[after] - time[middle]) - (time[middle] - time[before])) < 0.1
    x = detections.xyz
    one = np.median(((x[after] - x[middle]) ** 2).sum(1)[even]) if even.any() else 0.0
    two = np.median(((x[after] - x[before]) ** 2).sum(1)[even]) if even.any() else 0.0
    return float(np.clip(np.log2(two / one), 0.3, 1.9)) if one > 0 and two > 0 else 1.0
