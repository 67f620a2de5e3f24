"""Instruments that measure how far back a model remembers, each with its controls.

An instrument is a module with a function ``measure(predictor, ..., progress) -> Result``. It sees
the model through `NextCharPredictor` alone (`gradient` needs the network), prints nothing, and
tells ``progress`` how many characters of how many it has read. A result is a frozen dataclass;
its ``to_json()`` is a plain dictionary whose keys carry their units, and its ``finding()`` says in
one sentence what was found.
"""

TITLES = {
    "templates": "Sentences with a known span",
}
