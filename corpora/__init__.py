"""Texts and phrase banks that come with chargen, as the package data of `chargen.corpora`.

They are plain files, read with ``importlib.resources.files("chargen.corpora")``.
"""
