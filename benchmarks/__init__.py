"""Benchmarks: ratios against named baselines, measured side by side. ``make bench`` runs them."""
