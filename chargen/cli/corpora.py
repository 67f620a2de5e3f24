"""``chargen corpora``."""

from __future__ import annotations

from pathlib import Path

import click

from chargen.cli.completing import bundled_texts
from chargen.cli.terminal import put, say
from chargen.errors import ChargenError


@click.group()
def corpora() -> None:
    """The texts that chargen brings along.

    \b
    Examples:
      chargen corpora list
      chargen train fables
      chargen corpora write longrange --out longrange.txt
      chargen corpora write english.bank --out my.bank
    """


@corpora.command("list")
def list_corpora() -> None:
    """Names, sizes, and what each is good for.

    \b
    Example:
      chargen corpora list
    """
    from chargen.text import bundled

    for name in bundled.names():
        say(f"{name:13}{bundled.size(name):>10,} characters  {bundled.describe(name)}")
    for corpus, name in bundled.BANKS.items():
        size = f"{len(bundled.resource(name)):>10,} characters"
        say(f"{name:13}{size}  the phrase bank of {corpus}: to read, to extend, for --bank")


@corpora.command()
@click.argument("name", shell_complete=bundled_texts)
@click.option(
    "--out", type=click.Path(path_type=Path), help="A new file.  [default: standard output]"
)
@click.option(
    "--chars",
    type=click.IntRange(3),
    help="Characters of a generated corpus, about.  [default: 1000000]",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of a generated corpus."
)
def write(name: str, out: Path | None, chars: int | None, seed: int) -> None:
    """Write the text of NAME to a file, so that it can be read, changed or trained on elsewhere.

    A phrase bank, extended, is what `chargen probe-longrange --bank` asks from.

    \b
    Examples:
      chargen corpora write fables --out fables.txt
      chargen corpora write longrange --chars 200000 --seed 1 --out more.txt
      chargen corpora write english.bank --out my.bank
    """
    from chargen.text import bundled

    if name in bundled.BANKS.values():
        if chars is not None:
            raise ChargenError(f"{name}: a phrase bank is written whole; leave --chars out")
        text = bundled.resource(name)
    else:
        text = bundled.read(name, chars, seed)
    if out is None:
        put(text)
    elif out.exists():
        raise ChargenError(f"{out}: exists already; give another --out")
    else:
        try:
            out.write_text(text, encoding="utf-8", newline="")
        except OSError as error:
            raise ChargenError(f"{out}: cannot be written ({error.strerror})") from error
