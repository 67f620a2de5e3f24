"""All instruments put to one run or several, each with what must stand beside it."""

from chargen.probes.runner.one import HeldOut, Subject, Watch, probe
from chargen.probes.runner.results import TRAINED, UNTRAINED, Probed, ProbedRuns
from chargen.probes.runner.several import probe_runs

__all__ = [
    "TRAINED",
    "UNTRAINED",
    "HeldOut",
    "Probed",
    "ProbedRuns",
    "Subject",
    "Watch",
    "probe",
    "probe_runs",
]
