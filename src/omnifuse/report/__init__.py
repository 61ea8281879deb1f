"""The page that a person reads after a fit: one self-contained HTML file without scripts."""

from omnifuse.report.page import Example, ReportData, write_report

__all__ = ["Example", "ReportData", "write_report"]
