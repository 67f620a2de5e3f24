"""Bundled texts, phrase banks and a catalogue of downloads: the data of `chargen.corpora`.

Read them with ``importlib.resources.files("chargen.corpora")``.
"""
