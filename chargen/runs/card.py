"""The card of a run, ``README.md`` in its directory, as a model hub shows it. Imports no torch.

The last line holds a SHA-256 of the lines above it: a card that a user wrote or edited is kept.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from chargen.errors import ChargenError
from chargen.files import read_bytes, remove_files, write_file
from chargen.render.text import command, visible, visible_line

if TYPE_CHECKING:
    from chargen.runs.directory import Run

CARD = "README.md"
LARGEST_CARD = 2**20  # bytes
SEAL = "\n<!-- written by chargen, SHA-256 {} -->\n"
SEALED = re.compile(SEAL.format("([0-9a-f]{64})") + r"\Z")


def write_card(run: Run, sections: Mapping[str, str]) -> bool:
    """Write sections of the card by heading; return False if a user's own card is kept."""
    before = own_card(run.path)
    if before is None and (run.path / CARD).exists():
        return False
    kept = dict(part.split("\n\n", 1) for part in (before or "").split("\n## ")[1:])
    # An indented sample and one-line facts leave no line that begins a section.
    shown = [f"## {name}\n\n{text.strip(chr(10))}\n" for name, text in {**kept, **sections}.items()]
    text = "\n".join([_front_matter(run), f"# {visible_line(run.path.resolve().name)}\n", *shown])
    digest = hashlib.sha256(text.encode()).hexdigest()
    write_file(run.path / CARD, (text + SEAL.format(digest)).encode())
    return True


def remove_card(path: Path) -> None:
    """Remove the card of a run directory unless a user wrote or edited it."""
    if own_card(path) is not None:
        remove_files(path, CARD)


def own_card(path: Path) -> str | None:
    """Return the text of a card above its seal; None if there is none that chargen wrote."""
    try:
        text = read_bytes(path / CARD, LARGEST_CARD).decode()
    except (OSError, ValueError, ChargenError):
        return None
    found = SEALED.search(text)
    text = text[: found.start()] if found else ""
    return text if found and found[1] == hashlib.sha256(text.encode()).hexdigest() else None


def table(*rows: tuple[str, object]) -> str:
    shown = [(name, visible_line(str(value)).replace("|", "\\|")) for name, value in rows if value]
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {text} |" for name, text in shown)])


def indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in visible(text).splitlines())


def description_sections(run: Run) -> dict[str, str]:
    name = run.path.resolve().name
    use = indented(f"{command('sample', name)}\n{command('evaluate', name, 'TEXT')}")
    return {"Model": table(*run.description.facts().items()), "Use": use}


def _front_matter(run: Run) -> str:
    known, name, best = run.description.corpus, json.dumps(run.path.resolve().name), run.best_loss()
    lines = [
        "library_name: chargen",
        "pipeline_tag: text-generation",
        f"tags: [character-level, recurrent-neural-network, {run.description.model.cell}]",
    ]
    if best is not None:
        lines += [
            "model-index:",
            f"- name: {name}",
            "  results:",
            "  - task: {type: text-generation}",
            f"    dataset: {{name: {json.dumps(known.name)}, type: text}}",
            "    metrics:",
            f"    - {{name: validation loss in nats per character, type: loss, value: {best:.4f}}}",
        ]
    return "\n".join(["---", *lines, "---\n"])
