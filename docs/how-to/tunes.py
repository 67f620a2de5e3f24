"""Write 300 invented tunes in ABC notation, with a blank line after each."""

import random

NOTES, BARS = "DEFGABcd", ["{0}2{1}{2}", "{0}{1}{2}{1}", "{2}2{0}2", "{1}3{0}"]
rng = random.Random(0)
for number in range(1, 301):
    bars = [rng.choice(BARS).format(*rng.choices(NOTES, k=3)) for _ in range(8)]
    print(f"X:{number}\nT:Reel {number}\nM:2/4\nK:D")
    print(f"|:{'|'.join(bars[:4])}:|\n|:{'|'.join(bars[4:])}:|\n")
