"""Checks of a node before a long run."""

from codec.doctor.checks import Item, examine, report_json, report_table

__all__ = ["Item", "examine", "report_json", "report_table"]
