"""``python -m benchmarks``: all of them, and what was measured as JSON beside this file."""

import json
import os
import platform
from pathlib import Path

import torch

from benchmarks import alphabet, memory, novelty, page, reading, sampling, training

MEASURED = Path(__file__).with_name("measured.json")

results = {
    "torch": torch.__version__,
    "python": platform.python_version(),
    "cores": os.cpu_count(),
    "threads": torch.get_num_threads(),
}
for benchmark in (training, memory, sampling, novelty, page, reading, alphabet):
    results[benchmark.__name__.split(".")[-1]] = benchmark.main()
    print()
MEASURED.write_text(json.dumps(results, indent=1) + "\n")
print(f"kept in {MEASURED}")
