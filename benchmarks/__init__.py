"""Speed and memory against named baselines: ``python -m benchmarks [NAME ...]``.

All contenders run with the thread and allocator settings of the command line.
"""

from pathlib import Path

from chargen.cli.terminal import configure_torch, set_up_memory

MEASURED = Path(__file__).with_name("measured.json")

configure_torch()
set_up_memory()
