"""Cloze sentences with a controlled span between cue and target."""
