"""Pictures, tables and the HTML page of an evaluation."""

from codec.report.decoded import DecodedFrames
from codec.report.figures import rd_figure
from codec.report.pictures import Pictures, pictures_of, shown_codecs
from codec.report.table import bd_tables
from codec.report.write import write_report

__all__ = ["DecodedFrames", "Pictures", "bd_tables", "pictures_of", "rd_figure", "shown_codecs", "write_report"]
