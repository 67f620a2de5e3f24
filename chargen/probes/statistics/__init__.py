"""Intervals, bootstraps and span50, shared by all instruments."""
