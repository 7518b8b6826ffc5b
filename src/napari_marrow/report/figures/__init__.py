"""Figures of the report: one module each, tables and arrays in, a matplotlib figure out."""
