"""The command ``chargen corpora``."""

from pathlib import Path

import click

from chargen.cli.completion import bundled_texts
from chargen.cli.options import OUTPUT, PATH, encoding_option, json_option, option
from chargen.cli.terminal import progress_bar, put, say, say_json, write_text
from chargen.errors import ChargenError
from chargen.render.text import command, visible_line


@click.group()
def corpora() -> None:
    """List, write, download and analyze corpora. Example: chargen corpora list"""


@corpora.command("list")
def list_corpora() -> None:
    """List the corpora with their sizes and purposes. Example: chargen corpora list"""
    from chargen.datasets import bundled
    from chargen.datasets.download import ENTRIES

    rows = [(name, bundled.size(name), one.purpose) for name, one in bundled.TEXTS.items()]
    for corpus, name in bundled.BANKS.items():
        description = f"phrase bank of {corpus}, for probe-longrange --bank"
        rows.append((name, len(bundled.resource(name)), description))
    for name, size, description in rows:
        say(f"{name:15}{size:>11,} characters  {description}")
    say("\ndownload these first with chargen corpora fetch NAME:")
    for name, entry in ENTRIES.items():
        say(f"{name:15}{entry.size:>11,} bytes       {entry.purpose}")
        say(f"{'':15}{entry.bytes:>11,} to download {entry.licence}; {entry.url}")


@corpora.command()
@click.argument("name", shell_complete=bundled_texts)
@option("--out", PATH, None, "Output file; must not exist.  [default: standard output]")
@option("--chars", click.IntRange(3), None, "Number of characters to generate.  [default: 1000000]")
@option("--seed", click.IntRange(0), 0, "Random seed of a generated corpus.")
def write(name: str, out: Path | None, chars: int | None, seed: int) -> None:
    """Write the bundled or generated text NAME to a file.

    An edited phrase bank can be passed to `chargen probe-longrange --bank`.

    Example: chargen corpora write longrange --chars 200000 --seed 1 --out more.txt
    """
    from chargen.datasets import bundled

    if name in bundled.BANKS.values():
        if chars is not None:
            raise ChargenError(f"{name}: --chars does not apply to a phrase bank; leave it out")
        text = bundled.resource(name)
    else:
        text = bundled.read(name, chars, seed)
    if out is None:
        put(text)
    elif out.exists():
        raise ChargenError(f"{out}: the file exists; give another --out")
    else:
        write_text(out, text)


@corpora.command()
@click.argument("name")
@option("--out", OUTPUT, None, "Output file.  [default: NAME.txt]")
@option("--from", PATH, None, "Downloaded file to verify and use instead.", "source")
@option("--timeout", click.FloatRange(0.1), 30.0, "Connection timeout, in seconds without data.")
def fetch(name: str, out: Path | None, source: Path | None, timeout: float) -> None:
    """Download the well-known text NAME and verify its SHA-256.

    The same command resumes an interrupted download, which is kept as NAME.txt.part. The
    environment variable https_proxy selects a proxy.

    Example: chargen corpora fetch tinyshakespeare
    """
    from chargen.datasets import download

    if (entry := download.ENTRIES.get(name)) is None:
        known = ", ".join(download.ENTRIES)
        raise ChargenError(f"no corpus {name!r} to download; choose from {known}")
    file = out or Path(f"{name}.txt")
    try:
        with progress_bar(desc=name, total=entry.bytes, unit="B", unit_scale=True) as progress:
            wrote = download.fetch(entry, file, source, progress, timeout)
    except KeyboardInterrupt:
        say("interrupted; the same command resumes the download", err=True)
        raise
    message = f"{entry.size:,} bytes, {entry.licence}" if wrote else "exists already"
    say(f"{visible_line(str(file))}: {message}")
    say(f"Next: {command('train', file)}", err=True)


@corpora.command()
@click.argument("corpus", nargs=-1, required=True)
@json_option
@encoding_option
@option("--seed", click.IntRange(0), 0, "Random seed.")
def stats(corpus: tuple[str, ...], as_json: bool, encoding: str, seed: int) -> None:
    """Show statistics of a text.

    CORPUS is one or more files, folders, bundled names or - for standard input, read as one text.
    The report has its alphabet, lines, longest repeat, n-gram entropies, compressibility, and the
    mutual information between characters at a distance. Bits per character are comparable with a
    model's.

    Example: chargen corpora stats poems/ more.txt
    """
    from msgspec import to_builtins

    from chargen.text.corpus import read_corpus
    from chargen.text.statistics import measure, report

    text = read_corpus(corpus, encoding)
    with progress_bar(unit="B", unit_scale=True, delay=1) as progress:
        found = measure(text, progress, seed)
    for note in found["notes"]:
        say(f"note: {visible_line(note)}", err=True)
    if as_json:
        say_json(to_builtins(found))
    else:
        say(report(found), nl=False)
