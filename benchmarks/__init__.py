"""Speed and memory, measured beside named baselines: ``python -m benchmarks``, or one at a time.

All contenders run as the command line does (see `chargen.cli.process`).
"""

from pathlib import Path

from chargen.cli.process import keep_memory, spin_briefly

MEASURED = Path(__file__).with_name("measured.json")

spin_briefly()
keep_memory()
