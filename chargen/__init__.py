"""chargen learns to write text one character at a time, and measures how far back it remembers.

    import chargen
    model = chargen.train("corpus.txt", minutes=2)
    print(model.sample(prompt="Once", length=200))
    model = chargen.load("runs/corpus")
    print(model.evaluate().bits_per_char)
    print(chargen.probe(model).finding)

Importing this package imports no torch; using it does.
"""

from typing import TYPE_CHECKING, Any

from chargen.errors import ChargenError

if TYPE_CHECKING:
    from chargen.api import TrainedModel, load, probe, train

__version__ = "0.1.0"

__all__ = ["ChargenError", "TrainedModel", "__version__", "load", "probe", "train"]


def __getattr__(name: str) -> Any:
    if name in ("TrainedModel", "load", "probe", "train"):
        from chargen import api

        return getattr(api, name)
    raise AttributeError(f"module 'chargen' has no attribute {name!r}")
