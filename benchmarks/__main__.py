"""``python -m benchmarks``: all of them, or those that are named; kept as JSON beside this file."""

import json
import os
import platform
import sys

import torch

from benchmarks import (
    MEASURED,
    alphabet,
    corpus,
    memory,
    novelty,
    page,
    processes,
    reading,
    sampling,
    training,
)

BENCHMARKS = (training, memory, sampling, novelty, page, reading, alphabet, processes, corpus)

known = {benchmark.__name__.split(".")[-1]: benchmark for benchmark in BENCHMARKS}
results = json.loads(MEASURED.read_text()) if sys.argv[1:] else {}
results |= {
    "torch": torch.__version__,
    "python": platform.python_version(),
    "cores": os.cpu_count(),
    "threads": torch.get_num_threads(),
}
for name in sys.argv[1:] or known:
    results[name] = known[name].main()
    print()
MEASURED.write_text(json.dumps(results, indent=1) + "\n")
print(f"kept in {MEASURED}")
