"""Write 2,000 invented names, one a line: a list to learn from."""

import random

STARTS = ["Al", "Be", "Ca", "Da", "El", "Fa", "Ga", "Ma", "No", "Ro", "Sa", "Ti", "Vi"]
MIDDLES = ["ra", "li", "no", "ma", "de", "vi", "so", "ni", "ta", "lo"]
ENDS = ["", "n", "s", "r", "na", "th", "el", "ia"]

rng, names = random.Random(0), set()
while len(names) < 2000:
    middle = "".join(rng.choices(MIDDLES, k=rng.randint(1, 3)))
    names.add(rng.choice(STARTS) + middle + rng.choice(ENDS))
print("\n".join(sorted(names, key=lambda name: rng.random())))
