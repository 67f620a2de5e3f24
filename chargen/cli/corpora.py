"""``chargen corpora``."""

from __future__ import annotations

from pathlib import Path

import click

from chargen.cli.completing import bundled_texts
from chargen.cli.options import check_writable, json_option
from chargen.cli.terminal import progress_bar, put, say, say_json
from chargen.errors import ChargenError
from chargen.render.text import visible_line


@click.group()
def corpora() -> None:
    """The texts that chargen brings along, well-known ones that it fetches, and what is in yours.

    \b
    Examples:
      chargen corpora list
      chargen corpora fetch tinyshakespeare
      chargen corpora stats corpus.txt
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
    from chargen.datasets import bundled, catalogue

    for name in bundled.names():
        say(f"{name:15}{bundled.size(name):>11,} characters  {bundled.describe(name)}")
    for corpus, name in bundled.BANKS.items():
        size = f"{len(bundled.resource(name)):>11,} characters"
        say(f"{name:15}{size}  the phrase bank of {corpus}: to read, to extend, for --bank")
    say("\nto be fetched first, by chargen corpora fetch NAME:")
    for entry in catalogue.ENTRIES.values():
        say(f"{entry.name:15}{entry.size:>11,} bytes       {entry.purpose}")
        say(f"{'':15}{entry.bytes:>11,} to fetch    {entry.licence}; {entry.url}")


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
    from chargen.datasets import bundled

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


@corpora.command()
@click.argument("name")
@click.option(
    "--out", type=click.Path(path_type=Path), help="A file to write.  [default: NAME.txt]"
)
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path),
    help="The file that the address gives, got by hand: it is checked and unpacked.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=30.0,
    show_default=True,
    help="Seconds without a byte after which the connection is given up.",
)
def fetch(name: str, out: Path | None, source: Path | None, timeout: float) -> None:
    """Fetch the well-known text NAME and write it to a file, so that it can be trained on.

    Its SHA-256 is known: what is written is that text, or nothing is. A download that breaks off
    is gone on with by the same command; until it is whole it lies beside the file, as
    NAME.txt.part. A proxy is taken from the environment (https_proxy). chargen corpora list
    tells sizes, licences and addresses.

    \b
    Examples:
      chargen corpora fetch tinyshakespeare
      chargen corpora fetch enwik8 --out texts/enwik8.txt
      chargen corpora fetch text8 --from ~/Downloads/text8.zip
    """
    from chargen.datasets import catalogue, fetching

    entry = catalogue.entry(name)
    file = out or Path(f"{name}.txt")
    check_writable(file)
    try:
        with progress_bar(desc=name, total=entry.bytes, unit="B", unit_scale=True) as progress:
            wrote = fetching.fetch(entry, file, source, progress, timeout)
    except KeyboardInterrupt:
        say("stopped; the same command goes on where it was", err=True)
        raise
    told = f"{entry.size:,} bytes, {entry.licence}" if wrote else "is here already"
    shown = visible_line(str(file))
    say(f"{shown}: {told}")
    say(f"Next: chargen train {shown}", err=True)


@corpora.command()
@click.argument("corpus", nargs=-1, required=True)
@json_option
def stats(corpus: tuple[str, ...], as_json: bool) -> None:
    """What is in CORPUS? Characters, alphabet, scripts, lines, repeats, n-grams, compressibility.

    CORPUS is what chargen train learns from: files, folders, - or bundled names, read as one text.
    It is read once and may be of any size; n-grams, the longest repeat and compressors see its
    beginning, and how much of it is told. Bits a character can be set beside a model's.

    \b
    Examples:
      chargen corpora stats corpus.txt
      chargen corpora stats poems/ more.txt --json
    """
    from chargen.text.corpus import read_corpus
    from chargen.text.statistics import measure
    from chargen.text.statistics_table import corpus_table

    text = read_corpus(corpus)
    with progress_bar(unit="B", unit_scale=True, delay=1) as progress:
        found = measure(text, progress)
    if as_json:
        say_json(found.to_json())
    else:
        say(corpus_table(found), nl=False)
