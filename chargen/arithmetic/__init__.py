"""Elementary functions whose every bit is known, for NumPy arrays and compiled. No torch."""
