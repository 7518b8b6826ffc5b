"""The napari plugin: the only room that knows Qt and napari.

`contributions` is what the manifest names; `study_dock` is the dock; modules without a widget in their name know no Qt.
"""
