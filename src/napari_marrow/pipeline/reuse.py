"""Results of another key that were computed from the same: taken over, not computed again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_marrow.pipeline.step import Unit
    from napari_marrow.study import Study


def taken_over(study: Study, tables: Sequence[str], key: str, unit: Unit, inputs: Mapping[str, Any]) -> bool:
    """Commit a unit as a copy of one of another key with the same inputs; return whether there was one.

    Parameters
    ----------
    study : Study
    tables : sequence of str
        The unit's tables; the first is its commit record, in whose ``extra["inputs"]`` the inputs stand.
    key : str
        Of the step, with which the unit is committed.
    unit : Unit
    inputs : mapping
        All that the unit's result depends on, as JSON has it.
    """
    where = unit.as_dict()
    for other in study.keys_of_table(tables[0]):
        if other == key or not all(study.has_record(table, other, where) for table in tables):
            continue
        extra = study.commit_record(tables[0], other, where)["extra"]
        if extra.get("inputs") == dict(inputs):
            for table in reversed(tables):
                about = study.commit_record(table, other, where)["extra"]
                study.commit(table, key, where, study.table(table, other, unit=where), extra=about)
            return True
    return False
