"""Instruments that measure how far back a model remembers, each with its controls.

An instrument is a package: ``measure.py`` measures a `NextCharPredictor` (`gradient` and `units` a
network), ``result.py`` is the frozen record of it, with ``to_json()`` and ``finding()``, and
``report.py`` turns the results of one run or several into tables, figures and sentences.
"""
