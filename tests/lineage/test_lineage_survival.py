from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import expon

from napari_marrow.errors import TableError
from napari_marrow.lineage import aalen_johansen, kaplan_meier, nelson_aalen


@pytest.fixture
def truncated():
    rng = np.random.default_rng(3)
    time = np.ceil(rng.gamma(2.0, 10.0, 400))  # whole hours: many ties
    censored = np.ceil(rng.exponential(40.0, 400))
    entry = np.floor(rng.uniform(0, 15, 400))
    seen = np.minimum(time, censored)
    keep = seen > entry
    return seen[keep], (time <= censored)[keep], entry[keep]


def test_kaplan_meier_agrees_with_lifelines_under_truncation_and_ties(truncated):
    from lifelines import KaplanMeierFitter

    time, event, entry = truncated
    ours = kaplan_meier(time, event, entry=entry)
    fit = KaplanMeierFitter().fit(time, event, entry=entry)
    grid = np.arange(ours.times[0], ours.horizon + 1)
    np.testing.assert_allclose(ours.at(grid), fit.survival_function_at_times(grid).to_numpy(), atol=1e-12)
    assert ours.median == fit.median_survival_time_


def test_greenwood_and_limits_agree_with_statsmodels(truncated):
    from statsmodels.duration.survfunc import SurvfuncRight

    time, event, entry = truncated
    ours = kaplan_meier(time, event, entry=entry)
    fit = SurvfuncRight(time, event.astype(int), entry=entry)
    np.testing.assert_array_equal(ours.times, fit.surv_times)
    np.testing.assert_allclose(ours.survival, fit.surv_prob, atol=1e-12)
    np.testing.assert_allclose(np.sqrt(ours.variance[:-1]), fit.surv_prob_se[:-1], atol=1e-12)
    np.testing.assert_array_equal(ours.at_risk, fit.n_risk)
    low, high = ours.interval(ours.times)
    assert ((low <= ours.survival) & (ours.survival <= high) & (low >= 0) & (high <= 1)).all()


def test_nelson_aalen_agrees_with_lifelines(truncated):
    from lifelines import NelsonAalenFitter

    time, event, entry = truncated
    cause = np.where(event, 1 + np.arange(len(time)) % 2, 0)
    ours = nelson_aalen(time, cause, 2, entry=entry)
    fit = NelsonAalenFitter(nelson_aalen_smoothing=False).fit(time, cause == 2, entry=entry)
    expected = fit.cumulative_hazard_at_times(ours.times).to_numpy()
    np.testing.assert_allclose(ours.hazard, expected, atol=1e-12)


def test_left_truncation_removes_the_bias_of_late_entry():
    rng = np.random.default_rng(0)
    time, entry = rng.exponential(20.0, 40_000), rng.uniform(0, 20, 40_000)
    keep = time > entry
    naive = kaplan_meier(time[keep], np.ones(keep.sum(), bool))
    right = kaplan_meier(time[keep], np.ones(keep.sum(), bool), entry=entry[keep])
    # Anyone seen at 20 h or later had been at risk long enough; survival relative to 5 h is the exponential's.
    relative = right.at(20.0) / right.at(5.0)
    assert relative == pytest.approx(np.exp(-15 / 20), abs=0.01)
    assert naive.at(20.0) > 0.45 > expon.sf(20.0, scale=20.0) + 0.05


def test_completed_cycles_only_are_too_short():
    """Cycles of 28 h, seen for 60 h from birth: KM has the right median, the completed cells' mean is low."""
    rng = np.random.default_rng(1)
    mean, cv, n = 28.0, 0.3, 20_000
    life = rng.gamma(1 / cv**2, mean * cv**2, n)
    watched = rng.uniform(5, 60, n)
    curve = kaplan_meier(np.minimum(life, watched), life <= watched)
    assert curve.median == pytest.approx(np.median(life), rel=0.02)
    assert curve.restricted_mean(50.0) == pytest.approx(np.minimum(life, 50).mean(), rel=0.02)
    assert life[life <= watched].mean() < 0.97 * mean


def test_constant_hazards_give_the_closed_form_and_one_minus_km_does_not():
    """λ = (.02, .05), t such that 1-KM of the first reads .61 where its true incidence is .29 (Λt = 1 - ...)."""
    rng = np.random.default_rng(2)
    slow, fast = 0.02, 0.048
    t = -np.log(1 - 0.61) / slow  # 1 - KM of cause 1 estimates 1 - exp(-λ1 t) = .61
    true = slow / (slow + fast) * (1 - np.exp(-(slow + fast) * t))
    assert true == pytest.approx(0.29, abs=0.01)
    n = 20_000
    times = rng.exponential(1 / np.array([slow, fast])[:, None], (2, n))
    first = times.min(axis=0)
    cause = times.argmin(axis=0) + 1
    stop = rng.uniform(20, 120, n)
    seen, code = np.minimum(first, stop), np.where(first <= stop, cause, 0)
    curves = aalen_johansen(seen, code)
    se = np.sqrt(curves.variance[0, np.searchsorted(curves.times, t) - 1])
    assert abs(curves.at(t)[0, 0] - true) < 4 * se
    wrong = 1 - kaplan_meier(seen, code == 1).at(t)
    assert wrong == pytest.approx(0.61, abs=0.02)
    hazard = nelson_aalen(seen, code, 2).hazard_at(t)
    assert hazard == pytest.approx(fast * t, rel=0.05)


def test_incidence_agrees_with_statsmodels_to_rounding(truncated):
    from statsmodels.duration.survfunc import CumIncidenceRight

    time, event, _ = truncated
    cause = np.where(event, 1 + np.arange(len(time)) % 3, 0)
    ours = aalen_johansen(time, cause)
    fit = CumIncidenceRight(time, cause)
    for k in range(3):
        expected = np.concatenate([[0], fit.cinc[k]])[np.searchsorted(fit.times, ours.times, side="right")]
        np.testing.assert_allclose(ours.incidence[k], expected, atol=1e-12)
        se = np.concatenate([[0], fit.cinc_se[k]])[np.searchsorted(fit.times, ours.times, side="right")]
        defined = np.isfinite(se)  # statsmodels divides by zero where all that are left have the event
        np.testing.assert_allclose(np.sqrt(ours.variance[k][defined]), se[defined], atol=1e-10)
    np.testing.assert_allclose(ours.survival + ours.incidence.sum(axis=0), 1, atol=1e-12)


def test_one_cause_is_one_minus_kaplan_meier_with_greenwoods_variance(truncated):
    time, event, entry = truncated
    one = aalen_johansen(time, event.astype(int), entry=entry)
    km = kaplan_meier(time, event, entry=entry)
    np.testing.assert_allclose(one.incidence[0], 1 - km.survival, atol=1e-12)
    np.testing.assert_allclose(one.variance[0], km.variance, atol=1e-10)


def test_weights_count_as_copies(truncated):
    time, event, entry = truncated
    w = 1 + np.arange(len(time)) % 3
    a = aalen_johansen(time, event.astype(int), entry=entry, weights=w)
    b = aalen_johansen(np.repeat(time, w), np.repeat(event, w).astype(int), entry=np.repeat(entry, w))
    np.testing.assert_allclose(a.incidence, b.incidence, atol=1e-12)


def test_variance_is_that_of_repeated_samples():
    rng = np.random.default_rng(5)
    estimates, stated = [], []
    for _ in range(400):
        times = rng.exponential(1 / np.array([0.03, 0.05])[:, None], (2, 80))
        entry = np.where(np.arange(80) < 40, -1.0, rng.uniform(0, 15, 80))
        first, cause = times.min(axis=0), times.argmin(axis=0) + 1
        stop = rng.uniform(10, 60, 80)
        keep = np.minimum(first, stop) > entry
        c = aalen_johansen(np.minimum(first, stop)[keep], np.where(first <= stop, cause, 0)[keep], entry=entry[keep])
        at = np.searchsorted(c.times, 20.0) - 1
        estimates.append(c.incidence[0, at])
        stated.append(c.variance[0, at])
    assert np.var(estimates) == pytest.approx(np.mean(stated), rel=0.2)


def test_all_censored_one_subject_and_nobody():
    flat = kaplan_meier([5.0, 7.0], [False, False])
    assert flat.at([0, 6, 7]).tolist() == [1, 1, 1]
    assert np.isnan(flat.at(8.0))
    assert np.isnan(flat.median)
    assert aalen_johansen([5.0, 7.0], [0, 0], n_causes=2).at([6.0]).tolist() == [[0.0], [0.0]]
    nobody = aalen_johansen([], [], n_causes=1)
    assert np.isnan(nobody.at([1.0])).all()
    one = kaplan_meier([4.0], [True])
    assert one.at([3, 4]).tolist() == [1, 0]
    assert one.variance.tolist() == [0.0]


def test_who_leaves_when_it_enters_is_not_at_risk():
    c = aalen_johansen([5.0, 5.0, 9.0], [1, 2, 1], entry=[5.0, 1.0, 0.0])
    assert c.at_risk.tolist() == [2, 1]
    assert c.events[:, 0].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (([1.0, np.nan], [True, True]), "must be numbers"),
        (([1.0], [True, False]), "differ in length"),
    ],
)
def test_unusable_times_are_refused(arguments, sentence):
    with pytest.raises(TableError, match=sentence):
        kaplan_meier(*arguments)


def test_entry_after_exit_and_unknown_causes_are_refused():
    with pytest.raises(TableError, match="before it entered"):
        kaplan_meier([1.0], [True], entry=[2.0])
    with pytest.raises(TableError, match="Causes must be"):
        aalen_johansen([1.0], [3], n_causes=2)
