"""The layers of a session whose tracks are being edited. Knows no Qt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_marrow.gui.session_layers import LayerData, cell_layer, described, geometry_of, track_layer

if TYPE_CHECKING:
    import pandas as pd

    from napari_marrow.gui.curation import Curation


@dataclass(frozen=True, eq=False)
class CuratedSession:
    """What an edit changes on display.

    Attributes
    ----------
    layers : list of LayerData
        Cells and tracks.
    tracks : DataFrame
        Table `tracks` of the session.
    """

    layers: list[LayerData]
    tracks: pd.DataFrame


def curated_session(curation: Curation) -> CuratedSession:
    """Return cells, tracks and pedigrees as a person's edits leave them."""
    from napari_marrow.study import Study

    study = Study.open(curation.path)
    image = study.image(curation.position, curation.session)
    geometry = geometry_of(study, image)
    nodes = curation.nodes()
    _, _, height, width = image.shape[1:]
    extent = (height * image.spacing[1], width * image.spacing[2])
    tracks = curation.tracks(extent)
    found = [
        cell_layer(study, image, geometry, curation.cells, nodes),
        track_layer(geometry, nodes, curation.cells, tracks),
    ]
    layers = described(study, image, [layer for layer in found if layer is not None])
    return CuratedSession(layers, tracks)
