"""Instruments that measure how far back a model remembers, each with its controls.

An instrument is a package: ``measure.py`` has the function ``measure(predictor, ..., progress)``,
``result.py`` the frozen record that it returns, with ``to_json()`` and ``finding()``, and
``report.py`` the function ``section(found, ...)``, which turns the results of one run or several
into the tables, figures and sentences of a report. An instrument sees the model through
`NextCharPredictor` alone; `gradient` and `units` need the network. `run` uses all of them.
"""
