"""The compilation of the writing loop by a child process, while NumPy writes."""

import atexit
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any

import numpy as np
from filelock import FileLock
from numba import typeof

from chargen.sampling.choice import Choice
from chargen.sampling.compiled import CompiledLoop, write
from chargen.sampling.engine import Engine, initial_state
from chargen.settings import ModelSettings

CHILD = """import sys; sys.path[:] = sys.argv[4:]
from chargen.sampling.compiling import compile_alone; compile_alone(*sys.argv[1:4])"""


def argument_types(layers: int, stack: str, form: str) -> tuple[Any, ...]:
    """Return the types of the arguments of `write`, which depend on nothing else."""
    one = ModelSettings(units=(1,) * layers, stack=stack)
    arrays = {name: np.zeros(shape, np.float32) for name, shape in one.shapes(1).items()}
    loop = CompiledLoop(one, Engine(one, arrays, 1, form).weights, initial_state(one, 1))
    others = Choice(1.0, 0, 0.0, 0.0, 1.0), np.empty((0, 0), np.int64), 0, np.empty((0, 0))
    return tuple(map(typeof, (loop._network, loop._residual, loop._head, *others)))


def compile_alone(layers: str, stack: str, form: str) -> None:
    """Compile `write` into numba's cache; `filelock.Timeout` if another process does that now."""
    with FileLock(Path(write._cache.cache_path) / "compiling.lock", blocking=False):
        write.compile(argument_types(int(layers), stack, form))


@cache
def compiling(settings: ModelSettings, form: str) -> Callable[[], bool]:
    """Return a function that is true once `write` is compiled, by a child process if necessary.

    numba holds the GIL while it compiles. The child survives this process, so that the next text
    finds the code.
    """
    kind = len(settings.units), settings.stack, form
    types = argument_types(*kind)
    overloads = getattr(write, "overloads", {types})  # none with NUMBA_DISABLE_JIT
    if types in overloads or write._cache.load_overload(types, write.targetctx):
        return lambda: True
    args = [sys.executable or "", "-c", CHILD, *map(str, (*kind, *sys.path))]
    try:
        child = Popen(args, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, start_new_session=True)
    except OSError:
        return lambda: False
    atexit.register(setattr, child, "returncode", 0)  # without a warning that it still runs
    return lambda: child.poll() == 0
