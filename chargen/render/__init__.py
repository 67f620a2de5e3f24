"""Shared kit for tables, figures and HTML pages. It knows no instrument."""
