"""Both themes of napari on every tab: plots follow, and what is drawn can be told from what it lies on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_marrow import palette
from napari_marrow.gui import board_tab, cell_columns, niche_charts, queue_view
from napari_marrow.gui.contrast import GRAPHICS, TEXT, contrast, readable

THEMES = ("dark", "light")


def test_contrast_is_that_of_the_guidelines() -> None:
    # pairs and ratios as the WCAG's own tools state them
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.005)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)
    assert contrast("#ff0000", "#ffffff") == pytest.approx(4.0, abs=0.005)
    assert contrast("#0000ff", "#000000") == contrast("#000000", "#0000ff") == pytest.approx(2.44, abs=0.005)


def test_a_colour_is_changed_no_more_than_it_has_to_be() -> None:
    assert readable("#d55e00", "#000000") == "#d55e00"
    lighter = readable("#0072b2", "#262930", TEXT)
    assert TEXT <= contrast(lighter, "#262930") < TEXT + 0.5
    red, green, blue = (int(lighter[k : k + 2], 16) for k in (1, 3, 5))
    assert red < green < blue  # still blue
    assert readable("#888888", "#888888", 21.0) in ("#000000", "#ffffff")


@pytest.fixture
def theme(qapp: Any) -> Iterator[Any]:
    from napari.settings import get_settings

    appearance = get_settings().appearance
    before = appearance.theme
    yield lambda name: setattr(appearance, "theme", name)
    appearance.theme = before


@pytest.mark.gui
@pytest.mark.parametrize("name", THEMES)
def test_every_colour_of_ours_can_be_told_from_the_background(name: str, theme: Any) -> None:
    from napari_marrow.gui.plot_style import shown_colour, theme_colours

    theme(name)
    background, text = theme_colours()
    assert contrast(text, background) >= TEXT
    lines = {
        *palette.lineage_colours(["erythroid", "megakaryocytic", "granulo-monocytic", "a", "b", "c", "death"]).values(),
        *palette.condition_colours([str(k) for k in range(6)]).values(), palette.GREY, palette.ORANGE, palette.SKY,
        *(colour for _, colour in niche_charts._NEAR), *cell_columns._STEPS_OF_COLOUR, *cell_columns._SPARE,
    }  # fmt: skip
    letters = {*board_tab._COLOURS.values(), *queue_view._STATE_COLOURS.values(), palette.GREY} - {""}
    low = {c: round(contrast(shown_colour(c), background), 2) for c in lines}
    assert min(low.values()) >= GRAPHICS, low
    low = {c: round(contrast(shown_colour(c, text=True), background), 2) for c in letters}
    assert min(low.values()) >= TEXT, low


@pytest.mark.gui
def test_every_tab_follows_the_theme(viewer: Any, dock: Any, finished_study: Path, theme: Any, qtbot: Any) -> None:
    from napari_marrow.gui.plot_style import theme_colours
    from napari_marrow.gui.screenshots import said_by

    with qtbot.waitSignal(dock.loaded, timeout=20_000):
        dock.open_study(finished_study)
    viewer.window.resize(1280, 800)
    for tab in range(dock.tabs.count()):
        dock.tabs.setCurrentIndex(tab)
        qtbot.waitUntil(lambda: dock.idle, timeout=60_000)
    said = {}
    for name in (*THEMES, "dark"):
        theme(name)
        qtbot.wait(200)
        background, text = theme_colours()
        for tab in range(dock.tabs.count()):
            title = dock.tabs.tabText(tab)
            dock.tabs.setCurrentIndex(tab)
            qtbot.waitUntil(lambda: dock.idle, timeout=60_000)
            qtbot.wait(20)  # between what a person looks at, the window turns
            picture = rgb(dock.tabs.currentWidget().grab().toImage())
            apart = np.abs(picture - np.array([int(background[k : k + 2], 16) for k in (1, 3, 5)])).sum(2)
            assert (apart < 12).mean() > 0.02, (name, title)  # the theme's background is there, ...
            assert (apart > 150).mean() > 0.002, (name, title)  # ... and something on it
            qtbot.wait(20)
            assert said.setdefault(title, said_by(dock.tabs.currentWidget())), (name, title)
        arrow = rgb(dock.form.sections[0].toggleButton().icon().pixmap(32, 32).toImage())
        inked = [int(text[k : k + 2], 16) for k in (1, 3, 5)]
        assert (np.abs(arrow - np.array(inked)).sum(2) == 0).sum() > 20, name
        for plot in (dock.lineage.plot.plot, dock.niche.plot.plot, dock.cells.cloud.plot, dock.pedigree._plot):
            assert plot.backgroundBrush().color().name() == background.lower(), name
            assert plot.getAxis("bottom").textPen().color().name() == text.lower(), name


def rgb(image: Any) -> np.ndarray:
    """A picture of Qt's as (Y, X, 3) integers."""
    from qtpy.QtGui import QImage

    image = image.convertToFormat(QImage.Format.Format_RGBA8888)
    pointer = image.constBits()
    pointer.setsize(image.sizeInBytes()) if hasattr(pointer, "setsize") else None
    rows = np.frombuffer(pointer, np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, : 4 * image.width()].reshape(image.height(), image.width(), 4)[..., :3].astype(int)
