"""The card of a run as a model hub shows it, from what was measured."""

import json
import platform
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from textwrap import indent

from chargen.api.model import TrainedModel
from chargen.errors import ChargenError
from chargen.evaluation import nats_to_bits
from chargen.predictors.ngram import BASELINE_ORDER
from chargen.probes.result import TRAINED, RunResult
from chargen.render.text import command, visible, visible_line
from chargen.runs.directory import CARD, own_card, remove_card, write_card

CHEAP_CHARS = 2_000_000  # training characters up to which an n-gram takes a few seconds
SAMPLE_CHARS, SAMPLE_TEMPERATURE = 300, 0.8
FRONT = """---
library_name: chargen
pipeline_tag: text-generation
tags: [character-level, recurrent-neural-network, {cell}]
{index}---
"""
INDEX = """model-index:
- name: {name}
  results:
  - task: {{type: text-generation}}
    dataset: {{name: {corpus}, type: text}}
    metrics:
    - {{name: validation loss in nats per character, type: loss, value: {loss:.4f}}}
"""


def write_training_card(
    model: TrainedModel, command: str, environment: Mapping[str, str], stopped: bool
) -> None:
    """Write the card after a training, unless the user has a ``README.md`` there.

    ``environment`` has device, threads and processes by name. After a training that the user
    ``stopped``, there is no n-gram baseline, which takes time.
    """
    remove_card(model.run.path)  # a memory finding of earlier weights
    lines = model.run.progress()
    training = {
        "command": f"`{command}`",
        "hardware": f"{_processor()}, {environment['device']}, {environment['threads']} threads",
        "processes": environment["processes"],
        "time": f"{lines[-1]['seconds']:,.0f} s" if lines else "",
        "updates": f"{lines[-1]['step']:,}" if lines else "",
    }
    _write(model, {"Training": _table(training), **_measured(model, not stopped)})


def write_memory(model: TrainedModel, result: RunResult) -> None:
    """Add the finding of a probe to the card, unless a user wrote it or it cannot be written."""
    found = [result.templates, result.context.get(TRAINED)]
    findings = [f"- {visible_line(one.finding())}" for one in found if one and not one.refusal]
    with suppress(ChargenError):
        if findings:
            known = {} if own_card(model.run.path) else _measured(model, True)
            _write(model, {**known, "Memory": "\n".join(findings)})


def _write(model: TrainedModel, sections: Mapping[str, str]) -> None:
    """Write the card with these sections by heading, and others that it has already."""
    path, description, loss = model.run.path, model.run.description, model.run.best_loss()
    before, name = own_card(path), path.resolve().name
    if before is None and (path / CARD).exists():
        return
    # An indented sample and one-line facts leave no line that begins a section.
    kept = dict(part.split("\n\n", 1) for part in (before or "").split("\n## ")[1:])
    use = indent(f"{command('sample', name)}\n{command('evaluate', name, 'TEXT')}", " " * 4)
    shown = {**kept, "Model": _table(description.facts()), "Use": use, **sections}
    quoted = {"name": json.dumps(name), "corpus": json.dumps(description.corpus.name)}
    index = "" if loss is None else INDEX.format(loss=loss, **quoted)
    parts = [FRONT.format(cell=description.model.cell, index=index), f"# {visible_line(name)}\n"]
    parts += [f"## {heading}\n\n{text.strip(chr(10))}\n" for heading, text in shown.items()]
    write_card(path, "\n".join(parts))


def _measured(model: TrainedModel, baseline: bool) -> dict[str, str]:
    rows = {"this model": model.run.best_loss()}
    known = model.run.description.corpus
    if baseline and 0 < known.training_chars <= CHEAP_CHARS:
        with suppress(ChargenError):
            rows[f"{BASELINE_ORDER}-gram baseline"] = model.baseline().loss_nats
    with suppress(ChargenError):
        if forgotten := model.forgetting():
            rows["old text, before"], rows["old text, after fine-tuning"] = forgotten
    shown = {
        name: f"{loss:.4f} nats, {nats_to_bits(loss):.4f} bits per character"
        for name, loss in rows.items()
        if loss is not None
    }
    sections = {"Loss on held-out text": _table(shown)} if shown else {}
    with suppress(ChargenError):
        text = visible(model.sample(length=SAMPLE_CHARS, temperature=SAMPLE_TEMPERATURE))
        sections["Sample"] = f"At temperature {SAMPLE_TEMPERATURE}:\n\n{indent(text, ' ' * 4)}"
    return sections


def _table(rows: Mapping[str, str]) -> str:
    shown = [(name, visible_line(text).replace("|", "\\|")) for name, text in rows.items() if text]
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {text} |" for name, text in shown)])


def _processor() -> str:
    """Return the processor's name, or its architecture where the system has no name."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return platform.processor() or platform.machine()
