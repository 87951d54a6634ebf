"""Pictures, tables and the HTML page of an evaluation."""

from codec.report.figures import rd_figure
from codec.report.html import write_report
from codec.report.table import bd_tables

__all__ = ["bd_tables", "rd_figure", "write_report"]
