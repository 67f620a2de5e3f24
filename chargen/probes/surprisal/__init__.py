"""Surprisal of a given text under one or several models."""
