"""Segment, track and quantify blood-making organoids over weeks."""

__version__ = "0.1.0"
