"""Effective context length: excess bits when earlier text is replaced."""
