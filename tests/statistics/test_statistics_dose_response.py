from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import curve_fit

from napari_marrow.errors import DesignError, TableError
from napari_marrow.statistics import (
    dose_response,
    dose_response_by_donor,
    four_parameter_logistic,
    therapeutic_window,
)

DOSES = np.array([0.0, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0])
TRUE = {"bottom": 1.0, "top": 5.0, "ec50": 4.0, "hill": 1.5}


def experiment(seed=0, *, per_dose=4, sd=0.3, donors=("d1",), shift=1.0, doses=DOSES, **changed):
    rng = np.random.default_rng(seed)
    dose = np.repeat(doses, per_dose)
    donor = np.resize(np.array(donors), len(dose))
    offset = shift * (np.searchsorted(np.sort(donors), donor) - (len(donors) - 1) / 2)
    value = four_parameter_logistic(dose, **{**TRUE, **changed}) + offset + rng.normal(0, sd, len(dose))
    names = [f"o{i}" for i in range(len(dose))]
    summary = pd.DataFrame({"organoid": names, "condition": "drug", "endpoint": "y", "value": value, "unit": ""})
    layout = pd.DataFrame({"organoid": names, "donor": donor, "dose": np.where(dose > 0, dose, np.nan)})
    return summary, layout


def test_one_donor_agrees_with_scipy():
    summary, layout = experiment()
    fit = dose_response(summary, layout, "y")
    peer, _ = curve_fit(four_parameter_logistic, np.repeat(DOSES, 4), summary["value"], p0=[1, 5, 3, 1])
    np.testing.assert_allclose([fit.bottom, fit.top, fit.ec50, fit.hill], peer, rtol=1e-3)
    assert fit.p_value < 1e-6
    assert fit.note == ""
    assert fit.at(fit.ec50) == pytest.approx((fit.bottom + fit.top) / 2)
    assert fit.at(fit.dose_of(0.9)) == pytest.approx(fit.bottom + 0.9 * (fit.top - fit.bottom))


def test_without_noise_the_curve_is_exact_and_donors_shift_it():
    fit = dose_response(*experiment(sd=0.0, donors=("d1", "d2"), shift=2.0), "y")
    assert fit.ec50 == pytest.approx(4.0, rel=1e-4)
    assert fit.hill == pytest.approx(1.5, rel=1e-4)
    assert fit.donor_offsets == pytest.approx({"d1": -1.0, "d2": 1.0}, abs=1e-4)


def test_profile_limits_hold_the_true_ec50_in_19_of_20_experiments():
    inside = []
    for seed in range(60):
        fit = dose_response(*experiment(seed, per_dose=2, sd=0.5, donors=("d1", "d2"), shift=3.0), "y")
        inside.append(fit.ec50_low <= 4.0 <= fit.ec50_high)
    assert 0.86 < np.mean(inside) <= 1  # .95 ± 3 standard errors of 60 experiments


def test_a_falling_curve_and_one_without_effect():
    falling = dose_response(*experiment(bottom=5.0, top=1.0), "y")
    assert falling.top < falling.bottom
    assert falling.ec50 == pytest.approx(4.0, rel=0.3)
    p = [dose_response(*experiment(seed, bottom=2.0, top=2.0), "y").p_value for seed in range(30)]
    assert (np.array(p) < 0.05).mean() < 0.2
    none = dose_response(*experiment(int(np.argmax(p)), bottom=2.0, top=2.0), "y")
    assert "no effect of dose is shown" in none.note


def test_doses_below_the_ec50_leave_its_upper_limit_open():
    fit = dose_response(*experiment(doses=np.array([0, 0.1, 0.3, 1.0, 2.0]), sd=0.2, hill=1.0), "y")
    assert np.isinf(fit.ec50_high) or fit.ec50_high > 10
    assert fit.ec50_low > 0.5


def test_donors_by_themselves_and_why_one_has_no_curve():
    summary, layout = experiment(per_dose=6, donors=("d1", "d2"))
    layout.loc[layout["donor"] == "d2", "dose"] = 1.0
    table = dose_response_by_donor(summary, layout, "y").set_index("donor")
    assert table.loc["d1", "ec50_low"] < 4.0 < table.loc["d1", "ec50_high"]
    assert "1 doses" in table.loc["d2", "note"]


def test_therapeutic_window():
    good = dose_response(*experiment(sd=0.1), "y")
    harm = dose_response(*experiment(1, sd=0.1, ec50=40.0, doses=DOSES * 10), "y")
    window = therapeutic_window(good, harm)
    assert window["ratio"] == pytest.approx(10, rel=0.15)
    assert window["low"] < 10 < window["high"]
    same = therapeutic_window(good, good)
    assert same["low"] < 1 < same["high"]


def test_bad_designs_are_refused():
    summary, layout = experiment()
    with pytest.raises(TableError, match="no endpoint 'z'"):
        dose_response(summary, layout, "z")
    with pytest.raises(TableError, match="dose -1"):
        dose_response(summary, layout.assign(dose=-1.0), "y")
    with pytest.raises(DesignError, match="3 doses"):
        dose_response(*experiment(doses=np.array([0.0, 1.0, 10.0])), "y")
    with pytest.raises(DesignError, match="4 organoids for 4 parameters"):
        dose_response(*experiment(doses=np.array([0.0, 1.0, 10.0, 100.0]), per_dose=1), "y")
    layout["donor"] = layout["dose"].fillna(0).astype(str)
    with pytest.raises(DesignError, match="donor and dose cannot be told apart"):
        dose_response(summary, layout, "y")
