"""Bundled corpora, phrase banks, generated corpora and the download catalogue. Imports no torch."""
