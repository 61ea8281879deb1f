"""Searching: an index of vectors with the columns of their rows, filters, diversity, duplicates; numpy, no torch."""

from omnifuse.search.filter_error import FilterError
from omnifuse.search.hit import Hit
from omnifuse.search.index import Index

__all__ = ["FilterError", "Hit", "Index"]
