"""Tasks that need memory and whose floor is known: texts to learn from, and trials to be asked.

A task writes lines without end for a corpus, and trials in which what must be predicted lies an
exact span back. The characters of a trial that are asked are one of K candidates, each the right
one equally often, so that a constant answer is right in exactly 1/K of them.
"""

from chargen.datasets.tasks.brackets import Brackets
from chargen.datasets.tasks.copy import Copy
from chargen.datasets.tasks.flipflop import FlipFlop
from chargen.datasets.tasks.recall import Recall
from chargen.datasets.tasks.task import LONGEST_SPAN, Task, Trial
from chargen.errors import ChargenError

__all__ = ["LONGEST_SPAN", "TASKS", "Task", "Trial", "task_named"]

TASKS: dict[str, Task] = {
    task.name: task for task in (Copy(), Recall(), FlipFlop(), Brackets())
}  # by name, in the order in which they are listed


def task_named(name: str) -> Task:
    """The task of this name; `ChargenError` for another."""
    if name not in TASKS:
        raise ChargenError(f"no task {name!r}: there are {', '.join(TASKS)}")
    return TASKS[name]
