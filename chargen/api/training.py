"""Training and loading of models."""

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from chargen.api.card import write_training_card
from chargen.api.model import Sources, TrainedModel
from chargen.distributed.group import join
from chargen.files import Progress, UnwritableError
from chargen.runs.directory import find
from chargen.training.checkpoints import environment
from chargen.training.session import TrainingSession, device_named, start


def load(
    run: str | Path | None = None, device: str = "auto", *, mix_ngram: float = 0.0
) -> TrainedModel:
    """Return the model of a run: a path, or a name under ``runs/``; by default the newest.

    ``mix_ngram`` is the weight of the n-gram baseline in its predictions, see `TrainedModel`.
    """
    return TrainedModel(find(run), device, mix_ngram=mix_ngram)


def train(
    corpus: Sources = (),
    out: str | Path | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    init_from: str | Path | None = None,
    device: str = "auto",
    cache: str | Path | None = None,
    encoding: str = "",
    threads: int | None = None,
    progress: Progress = lambda done, total: None,
    run: Callable[[TrainingSession], None] | None = None,
    command: str = "",
    **settings: Any,
) -> TrainedModel:
    """Train a model and return it with its best weights.

    If ``torchrun`` started the program, all its processes train one model and each returns it.

    Args:
        corpus: files, directories or names of bundled corpora; a resumed run knows its own.
        out: run directory, by default ``runs/<corpus name>``.
        resume: resume the run in ``out``, by default the newest run.
        init_from: run to fine-tune, whose architecture the new run keeps; its vocabulary holds the
            characters of both texts.
        cache: directory of encoded corpora, by default ``.corpora`` beside the run.
        encoding: encoding of files without a byte order mark, by default UTF-8.
        threads: number of CPU threads, which torch keeps afterwards. By default the fastest
            number if ``minutes`` limits the training, else torch's.
        progress: called with the bytes read so far and in total while the corpus is read.
        run: trains, given a ready session; it may iterate over ``session.trainer.reports()``. By
            default a progress bar is shown, in notebooks too.
        command: shown on the run's card, ``README.md`` in its directory.
        **settings: fields of `ModelSettings` and `TrainingSettings`, for example
            ``cell="gru", units=(128, 128), minutes=2``; ``None`` chooses the default.

    Raises:
        ChargenError: a setting or the corpus is invalid, training diverged, or the run directory
            cannot be written.
    """
    sources = [corpus] if isinstance(corpus, str | Path) else corpus
    path, folder = (None if one is None else Path(one) for one in (out, cache))
    how: dict[str, Any] = {"resume": resume, "overwrite": overwrite, "init_from": init_from}
    how |= {"device": device, "cache": folder, "encoding": encoding, "threads": threads}
    with (
        join(device_named(device).type) as group,
        start(sources, settings, path, group, progress=progress, **how) as session,
    ):
        (run or show_progress)(session)
        trained = session.trainer.run
        weights = group.run_on_lead(trained.weights)  # others may not see the run directory
    model, trainer = TrainedModel(trained, device, weights), session.trainer
    model.run.encoded = trainer.text  # its sources may be gone
    if group.leads:
        hardware, stopped = environment(trainer.device, group.size), trainer.ending == "stopped"
        with suppress(UnwritableError):  # the training itself is saved
            write_training_card(model, command or "chargen.train(...)", hardware, stopped)
    return model


def show_progress(session: TrainingSession) -> None:
    """Train with a progress bar, in notebooks too; a script without a terminal shows none."""
    from tqdm import auto, std

    in_notebook = auto.notebook_tqdm is not std.tqdm
    trainer = session.trainer
    hidden = not (trainer.group.leads and (in_notebook or sys.stderr.isatty()))
    loss = ""
    with auto.tqdm(total=100, disable=hidden, bar_format="{percentage:3.0f}%|{bar}|{desc}") as bar:
        for report in trainer.reports():
            if report.validation_loss_nats is not None:
                loss = f", validation {report.validation_loss_nats:.4f} nats"
            bar.set_description_str(f" loss {report.train_loss_nats:.4f}{loss}", refresh=False)
            bar.update(100 * report.budget_used - bar.n)
