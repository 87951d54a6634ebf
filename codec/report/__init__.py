"""Figures, tables and the HTML page of an evaluation."""

from codec.report.decoded import DecodedFrames
from codec.report.figures import rd_figure
from codec.report.page import write_report
from codec.report.preview import Preview, default_codecs, make_preview
from codec.report.terminal import bd_tables

__all__ = [
    "DecodedFrames",
    "Preview",
    "bd_tables",
    "default_codecs",
    "make_preview",
    "rd_figure",
    "write_report",
]
