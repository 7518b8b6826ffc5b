"""Keys of curation in a napari window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import ref

from napari_marrow.gui.curate_form import KEYS

if TYPE_CHECKING:
    import napari

    from napari_marrow.gui.curate_tab import CurateTab


def bind_keys(viewer: napari.Viewer, tab: CurateTab) -> None:
    """Give the window the keys of curation; what they do has buttons, too.

    Parameters
    ----------
    viewer : napari.Viewer
    tab : CurateTab
    """
    alive = ref(tab)

    def pressing(name: str) -> Any:
        def press(_: Any) -> None:
            tab = alive()
            if tab is not None:
                button = tab.edit_buttons.get(name) or getattr(tab, f"{name}_button")
                button.click()  # a disabled button does nothing

        press.__doc__ = f"Curate: {name}"
        return press

    for name, key in KEYS.items():
        viewer.bind_key(key, pressing(name), overwrite=True)


def free_keys(viewer: napari.Viewer) -> None:
    """Take the keys back."""
    for key in KEYS.values():
        viewer.bind_key(key, None)
