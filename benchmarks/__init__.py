"""Speed and memory, measured beside named baselines: ``python -m benchmarks``, or one at a time.

All contenders run as the command line does (see `chargen.cli.environment`).
"""

from pathlib import Path

from chargen.cli.environment import keep_memory, limit_spinning

MEASURED = Path(__file__).with_name("measured.json")

limit_spinning()
keep_memory()
