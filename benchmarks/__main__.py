"""Run all benchmarks, or the named ones, and write benchmarks/measured.json.

Arguments after ``floors`` are its own texts and options.
"""

import json
import os
import platform
import sys

import torch

from benchmarks import (
    MEASURED,
    alphabet,
    corpus,
    floors,
    memory,
    novelty,
    page,
    precision,
    processes,
    reading,
    sampling,
    training,
)

BENCHMARKS = (
    training,
    memory,
    sampling,
    novelty,
    page,
    reading,
    precision,
    alphabet,
    processes,
    corpus,
    floors,
)

known = {benchmark.__name__.split(".")[-1]: benchmark for benchmark in BENCHMARKS}
named, own = sys.argv[1:], []
if "floors" in named:
    end = named.index("floors") + 1
    named, own = named[:end], named[end:]
results = json.loads(MEASURED.read_text()) if named else {}
results |= {
    "torch": torch.__version__,
    "python": platform.python_version(),
    "cores": os.cpu_count(),
    "threads": torch.get_num_threads(),
}
for name in named or known:
    results[name] = floors.main(own) if name == "floors" else known[name].main()
    print()
MEASURED.write_text(json.dumps(results, indent=1) + "\n")
print(f"written to {MEASURED}")
