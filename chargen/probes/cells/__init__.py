"""Cells compared on one task with equal budgets."""
