"""Which results of a study belong together.

A run with another recipe that was cancelled half-way leaves new labels beside the tracks of the old ones: shown
together they would be wrong without a sign of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_marrow.study import Study


def current_steps(study: Study) -> set[str]:
    """Return the steps whose active result was computed from the active results of every step that it reads.

    Parameters
    ----------
    study : Study
    """
    from napari_marrow.pipeline.steps import STEPS

    active = study.active
    stands_for = {step.name: step.stands_for for step in STEPS if step.stands_for}
    reads: dict[tuple[str, str], dict[str, str]] = {
        (run["step"], run["key"]): run["info"].get("reads", {}) for run in study.runs()
    }
    known: dict[str, bool] = {}

    def is_current(step: str) -> bool:
        other = stands_for.get(step)
        if other in active and active[step] == active[other]:
            return is_current(other)  # without edits, the edited tracks are the tracks
        if step not in known:
            needs = reads.get((step, active[step]), {})
            known[step] = all(active.get(name) == key and is_current(name) for name, key in needs.items())
        return known[step]

    return {step for step in active if is_current(step)}
