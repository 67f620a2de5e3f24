"""What a run is made of, as plain values and as text."""

from __future__ import annotations

from typing import Any

from chargen.render.text import visible_line
from chargen.runs.directory import Run
from chargen.settings import ModelSettings

SHOWN_CHARACTERS = 60


def summary(run: Run) -> dict[str, Any]:
    """Shapes, parameters, corpus, settings and history of a run, ready for JSON."""
    description, told = run.description, run.description.to_json()
    weights = run.weights()
    return {
        "run": str(run.path),
        "model": told["model"],
        "parameters": sum(array.size for array in weights.values()),
        "weights": {name: list(array.shape) for name, array in weights.items()},
        "vocabulary": description.vocabulary.characters,
        "corpus": told["corpus"],
        "training": told["training"],
        "imported": told.get("imported"),
        "versions": dict(description.versions),
        "history": run.progress(),
    }


def summary_text(values: dict[str, Any]) -> str:
    """`summary` for a person to read."""
    model, characters = values["model"], values["vocabulary"]
    shown = repr(characters[:SHOWN_CHARACTERS])[1:-1] + "…" * (len(characters) > SHOWN_CHARACTERS)
    versions = (f"{name} {version}" for name, version in values["versions"].items())
    lines = [
        values["run"],
        "",
        f"model       {ModelSettings(**model).described()}, "
        f"activation {model['activation']}, {values['parameters']:,} parameters",
        *(f"            {name:24}{_shape(shape)}" for name, shape in values["weights"].items()),
        f"vocabulary  {len(characters)} characters: {shown}",
        *(_imported(values["imported"]) if values["imported"] else _trained(values)),
        f"versions    {', '.join(versions)}",
        *([] if values["imported"] else ["", *_history(values["history"])]),
    ]
    return "\n".join(map(visible_line, lines))


def _trained(values: dict[str, Any]) -> list[str]:
    corpus, training = values["corpus"], values["training"]
    chosen = (f"{name} {value}" for name, value in training.items() if value is not None)
    return [
        f"corpus      {corpus['name']}: {corpus['chars']:,} characters, "
        f"{corpus['chars'] - corpus['training_chars']:,} of them held out",
        f"            from {', '.join(corpus['sources'])}",
        f"            SHA-256 {corpus['sha256']}",
        f"training    {', '.join(chosen)}",
    ]


def _imported(imported: dict[str, Any]) -> list[str]:
    return [f"imported    {imported['file']}", f"            SHA-256 {imported['sha256']}"]


def _shape(shape: list[int]) -> str:
    return " x ".join(map(str, shape))


def _history(lines: list[dict[str, Any]]) -> list[str]:
    if not lines:
        return ["no validation yet"]
    best = min(lines, key=lambda line: float(line["validation_loss_nats"]))
    head = f"{'step':>9}{'seconds':>9}{'chars':>13}{'training':>10}{'validation':>12}  nats/char"
    rows = (
        f"{line['step']:9}{line['seconds']:9.1f}{line['chars']:13,}{line['train_loss_nats']:10.4f}"
        f"{line['validation_loss_nats']:12.4f}{'  best' if line is best else ''}"
        for line in lines
    )
    return [head, *rows]
