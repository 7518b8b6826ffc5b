"""XML from files that nobody here has written: no entities, and an error that names the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_marrow.errors import InputFileError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


def parse_xml(text: str, name: str, kind: str = "XML") -> Element:
    """Return the root of an XML text.

    Parameters
    ----------
    text : str
    name : str
        Of the file, for errors.
    kind : str
        What it should be, for errors.

    Raises
    ------
    InputFileError
        If it is no XML, or declares entities: a few bytes of them can stand for gigabytes or for other files.
    """
    import xml.etree.ElementTree as ElementTree

    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise InputFileError(f"'{name}' has {kind} that declares entities, which no microscope needs: it is refused.")
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise InputFileError(f"'{name}' has {kind} that cannot be read ({error}): export the file again.") from error
