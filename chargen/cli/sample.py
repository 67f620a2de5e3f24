"""``chargen sample``."""

import json
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chargen.cli.options import PATH, json_option, mix_option, option, run_argument, unknown_option
from chargen.cli.terminal import put, say
from chargen.errors import ChargenError
from chargen.render.text import command
from chargen.settings import RECENT, SAMPLE_CHARS, WEIGHT_FORMATS, SamplingSettings

if TYPE_CHECKING:
    from chargen.sampling.sampler import Sampler

BEGINS = "the prompt begins a line, as in the training text; --continue continues a text"
CONTINUES = "the prompt continues a text; --begin begins a line"
SEPARATOR = "Text between texts.  [default: a blank line; a newline between lines]"
WEIGHTS = "Weight format; int8 samples faster, at nearly the same loss."
BATCH, BATCH_CHARS = 1000, 2**24  # texts, and about how many characters, generated together
FEWEST_TRIED = 32  # texts generated together while some are left out
TRIES = 20  # times --count texts are generated at most for --unique and --new
Test = Callable[[str], bool]  # of a text
Rows = Iterator[list[str]]  # of pieces, one for each text, or of texts, one row a batch
ESCAPES = {r"\n": "\n", r"\t": "\t", r"\\": "\\"}


class EscapedParam(click.ParamType):
    r"""A text in which ``\n``, ``\t`` and ``\\`` are replaced; no Windows shell can write them."""

    name = "text"

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        try:
            value.encode()
        except UnicodeEncodeError as error:  # a lone surrogate, Python's form of other bytes
            place = f"invalid text at position {error.start}; use UTF-8"
            raise ChargenError(f"{param.opts[0]}: {place}") from None
        return re.sub(r"\\[nt\\]", lambda match: ESCAPES[match[0]], value)


TEXT = EscapedParam()


@click.command()
@run_argument
@option("--prompt", TEXT, None, "Text for the model to continue.")
@option("--prompt-file", PATH, None, "File with the text of --prompt.")
@click.option(
    "--begin/--continue",
    default=None,
    help="Prompt at the start of a line, or inside a text.  [default: as in the training text]",
)
@option("--length", click.IntRange(0), SAMPLE_CHARS, "Number of characters to generate.")
@option("--temperature", float, 1.0, "Sampling temperature; 0 selects the likeliest character.")
@option("--top-k", int, None, "Number of most probable characters to sample from.  [default: all]")
@option("--top-p", float, None, "Nucleus sampling: total probability to sample from.  [default: 1]")
@option("--min-p", float, None, "Minimum probability, as a fraction of the highest one.")
@option("--repetition-penalty", float, 1.0, f"Penalty on the last {RECENT} characters; 1 is none.")
@option("--beam", int, None, "Number of beams of a beam search, which replaces sampling.")
@option("--stop", TEXT, None, "Text to stop before; repeat for several.", multiple=True)
@option("--stop-after", TEXT, None, "Text to stop after; repeat for several.", multiple=True)
@option("--count", click.IntRange(1), 1, "Number of texts to generate.")
@option("--unique", bool, None, "Skip texts that this command has generated before.")
@option("--new", bool, None, "Skip texts, or whole lines, that are in the training text.")
@option("--separator", TEXT, None, SEPARATOR)
@option("--seed", click.IntRange(0), None, "Random seed.  [default: random, printed to stderr]")
@unknown_option("Treatment of prompt characters outside the vocabulary.")
@option("--last", bool, None, "Use the weights at the end of training, not the best ones.")
@option("--weights", click.Choice(WEIGHT_FORMATS), "float32", WEIGHTS)
@option("--interactive", bool, None, "Continue each line that you type.", "-i")
@option("--novelty", bool, None, "Report what is copied from the training text.")
@mix_option
@json_option
def sample(
    run: Path | None,
    prompt: str | None,
    prompt_file: Path | None,
    count: int,
    seed: int | None,
    last: bool,
    weights: str,
    interactive: bool,
    novelty: bool,
    mix_ngram: float,
    as_json: bool,
    unique: bool,
    new: bool,
    separator: str | None,
    **options: Any,
) -> None:
    """Generate text with a trained model.

    Prompt and text go to standard output as they are generated, several texts in batches. A
    terminal shows control characters escaped, as in \\x1b; files and pipes receive them unchanged.

    A text begins at the start of a line, and so does a prompt that begins lines of the training
    text. A model that rarely trained from a zero state generates hidden warm-up text first.

    A model that was trained with --documents line or blank-line ends a text with its document,
    unless --stop or --stop-after is given.

    In --prompt, --stop, --stop-after and --separator, \\n is a newline, \\t a tab and \\\\ is \\.

    --novelty reports the fraction of n-grams that are not in the training text, beside that of
    the held-out text, and the longest copied passage.

    --interactive continues each line that you type up to a newline, to --stop or by --length
    characters. The model keeps its state between lines.

    \b
    Examples:
      chargen sample runs/fables --prompt "The miller" --temperature 0.8
      chargen sample --length 100000 --seed 7 > text.txt
      chargen sample --count 20 --stop "\\n" --unique --new
    """
    if prompt is not None and prompt_file is not None:
        raise ChargenError("--prompt and --prompt-file: give one")
    settings = SamplingSettings(*(options[name] for name in SamplingSettings.__struct_fields__))
    draws = settings.temperature > 0 and not settings.beam
    seed_is_random = draws and seed is None
    seed = secrets.randbelow(2**32) if seed is None else seed
    if interactive:
        from chargen.cli.interactive import check_alone, converse

        others = {"beam": settings.beam, "count": count > 1, "unique": unique, "new": new}
        check_alone({**others, "novelty": novelty, "json": as_json})
    from chargen.runs.directory import LAST, RUNS, find
    from chargen.sampling.sampler import Sampler
    from chargen.text.corpus import read_file

    beginning = (prompt or "") if prompt_file is None else read_file(prompt_file)
    if run is not None and not run.exists() and not (RUNS / run).exists():
        meant = f"if it is a text to continue: {command('sample', '--prompt', run)}"
        raise ChargenError(f"{run}: no such run; chargen runs lists them; {meant}")
    opened = find(run)
    sampler = Sampler.of(opened, opened.weights(LAST) if last else None, weights, mix_ngram)
    if interactive:
        if seed_is_random:
            say(f"seed {seed}", err=True)
        converse(sampler, beginning, seed, **options)
        return
    corpus = opened.corpus() if novelty or new else None  # exists, before anything is printed
    stream = partial(sampler.stream, beginning, **options)
    if count == 1 and not (unique or new or as_json):
        batches = _streamed(beginning, stream(seed=seed))
    else:
        end = opened.description.corpus.training_chars
        known = sampler.vocabulary.decode(corpus.ids[:end]) if corpus and new else None
        accepts = _check(sampler, beginning, unique, known, options)
        most = TRIES * count + FEWEST_TRIED if draws and (unique or new) else count
        batches = _batches(stream, options["length"], count, most, seed, accepts)
        fields = {"run": str(sampler.path), "mix_ngram": mix_ngram, "prompt": beginning}
        batches = _json(fields, batches) if as_json else _shown(beginning, batches, separator)
    texts = [text for batch in batches for text in (batch if novelty else ())]
    if beginning and options["begin"] is None:
        say(f"note: {BEGINS if sampler.begins(beginning) else CONTINUES}", err=True)
    if seed_is_random:
        say(f"seed {seed}", err=True)
    if novelty:
        from chargen.api import TrainedModel
        from chargen.sampling.novelty import novelty_table

        found = TrainedModel(opened, "cpu").novelty(texts, seed)
        if as_json:
            put(f', "novelty": {json.dumps(asdict(found))}')
        else:
            say("\n" + novelty_table(found), nl=False)
    put("}\n" if as_json else "")


def _check(
    sampler: "Sampler", beginning: str, unique: bool, training: str | None, options: dict[str, Any]
) -> Test:
    """Return the test that a text must pass; a line that ended at its newline is a whole line."""
    stops = sampler.stops(options["stop"], options["stop_after"])
    begins = not beginning or sampler.begins(beginning, options["begin"])
    whole = begins and any(stop.startswith("\n") for stop in stops)
    lines = set(training.split("\n")) if whole and training is not None else set()
    seen: set[str] = set()

    def accepts(text: str) -> bool:
        if unique and text in seen:
            return False
        seen.add(text)
        if training is None:
            return True
        written = (beginning + text).removesuffix("\n")
        if whole and len(text) < options["length"] and "\n" not in written:
            return written not in lines
        return beginning + text not in training

    return accepts


def _batches(
    stream: Callable[..., Rows], length: int, count: int, most: int, seed: int, accepts: Test
) -> Rows:
    """Yield ``count`` accepted texts of at most ``most``, in batches that bound the memory."""
    from numpy.random import default_rng

    together = max(1, min(BATCH, BATCH_CHARS // max(1, length)))
    generator, left, tried = default_rng(seed), count, 0
    while left and tried < most:
        size = min(together, max(left, FEWEST_TRIED) if most > count else left)
        pieces: list[list[str]] = [[] for _ in range(size)]
        for row in stream(count=size, seed=generator):
            for text, piece in zip(pieces, row, strict=True):
                text.append(piece)
        texts = list(filter(accepts, map("".join, pieces)))[:left]
        left, tried = left - len(texts), tried + size
        yield texts
    less = f"{count - left:,} of {count:,} texts, after {tried:,} were generated"
    if left == count:
        raise ChargenError(f"{less}; raise --temperature or --length")
    if left:
        say(f"note: {less}; a higher --temperature or --length gives more", err=True)


def _json(fields: dict[str, Any], batches: Rows) -> Rows:
    """Print the texts as members of a JSON object, which the caller ends."""
    before = json.dumps({**fields, "texts": []}).removesuffix("]}")
    for batch in batches:
        for text in batch:
            put(before + json.dumps(text))
            before = ", "
        yield batch
    put("]")


def _shown(beginning: str, batches: Rows, separator: str | None) -> Rows:
    """Print the texts; those of the first batch decide whether they are lines."""
    between = ""
    for batch in batches:
        texts = [beginning + text for text in batch]
        if separator is None and texts:
            lines = not any("\n" in text.removesuffix("\n") for text in texts)
            separator = "\n" if lines else "\n\n"
        for text in texts:
            put(between + (text.removesuffix("\n") if separator == "\n" else text))
            between = separator or ""
        yield batch
    put("\n")


def _streamed(beginning: str, rows: Rows) -> Rows:
    put(beginning)
    text = ""
    for (piece,) in rows:
        put(piece)
        text += piece
    put("\n")
    yield [text]
