"""The card of a run, from what was measured; see `chargen.runs.card`."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from chargen.api.model import BASELINE_ORDER, TrainedModel
from chargen.errors import ChargenError
from chargen.evaluation import nats_to_bits
from chargen.probes.result import TRAINED, RunResult
from chargen.render.text import visible_line
from chargen.runs.card import (
    description_sections,
    indented,
    own_card,
    remove_card,
    table,
    write_card,
)

CHEAP_CHARS = 2_000_000  # training characters up to which an n-gram takes a few seconds
SAMPLE_CHARS, SAMPLE_TEMPERATURE = 300, 0.8


def write_training_card(
    model: TrainedModel, command: str, environment: Mapping[str, str], stopped: bool
) -> bool:
    """Write the card after a training; return False if a user's own ``README.md`` is kept.

    ``environment`` has device, threads and processes by name. After a training that the user
    ``stopped``, there is no n-gram baseline, which takes time.
    """
    remove_card(model.run.path)  # a memory finding of earlier weights
    lines = model.run.progress()
    training = [
        ("command", f"`{command}`"),
        ("hardware", f"{_processor()}, {environment['device']}, {environment['threads']} threads"),
        ("processes", environment["processes"]),
        ("time", f"{lines[-1]['seconds']:,.0f} s" if lines else ""),
        ("updates", f"{lines[-1]['step']:,}" if lines else ""),
    ]
    sections = {"Training": table(*training)} | measured_sections(model, not stopped)
    return write_card(model.run, description_sections(model.run) | sections)


def measured_sections(model: TrainedModel, baseline: bool) -> dict[str, str]:
    """Return the sections with losses and a sample."""
    losses = [line["validation_loss_nats"] for line in model.run.progress()]
    rows = [("this model", min((loss for loss in losses if loss is not None), default=None))]
    known = model.run.description.corpus
    if baseline and 0 < known.training_chars <= CHEAP_CHARS:
        with suppress(ChargenError):
            rows.append((f"{BASELINE_ORDER}-gram baseline", model.baseline().loss_nats))
    with suppress(ChargenError):
        if forgotten := model.forgetting():
            rows += zip(("old text, before", "old text, after fine-tuning"), forgotten, strict=True)
    shown = [
        (name, f"{loss:.4f} nats, {nats_to_bits(loss):.4f} bits per character")
        for name, loss in rows
        if loss is not None
    ]
    sections = {"Loss on held-out text": table(*shown)} if shown else {}
    with suppress(ChargenError):
        text = model.sample(length=SAMPLE_CHARS, temperature=SAMPLE_TEMPERATURE)
        sections["Sample"] = f"At temperature {SAMPLE_TEMPERATURE}:\n\n{indented(text)}"
    return sections


def write_memory(model: TrainedModel, result: RunResult) -> None:
    """Add the finding of a probe to the card, unless a user wrote it or it cannot be written."""
    found = [result.templates, result.context.get(TRAINED)]
    findings = [visible_line(one.finding()) for one in found if one and not one.refusal]
    if not findings:
        return
    finding = {"Memory": "\n".join(f"- {text}" for text in findings)}
    with suppress(ChargenError):
        if own_card(model.run.path) is None:
            finding = description_sections(model.run) | measured_sections(model, True) | finding
        write_card(model.run, finding)


def _processor() -> str:
    """Return the processor's name, or its architecture where the system has no name."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return platform.processor() or platform.machine()
