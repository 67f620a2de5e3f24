"""Bundled texts and phrase banks, the package data of `chargen.corpora`.

Read them with ``importlib.resources.files("chargen.corpora")``.
"""
