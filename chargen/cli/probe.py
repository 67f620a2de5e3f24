"""``chargen probe-longrange``."""

import click


@click.command()
def probe_longrange() -> None:
    """How far back does the model remember?"""
