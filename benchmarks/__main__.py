"""``python -m benchmarks``: all of them."""

from benchmarks import alphabet, training

training.main()
print()
alphabet.main()
