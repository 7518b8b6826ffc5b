"""The report: one HTML page that is read without the program, with tables and figures beside it."""

from napari_marrow.report.writer import write_report

__all__ = ["write_report"]
