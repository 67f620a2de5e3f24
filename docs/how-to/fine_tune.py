"""Fine-tune a model of one author on a second one: python fine_tune.py FIRST.txt SECOND.txt.

Prints the held-out loss of three models on each author: the first author's model, the fine-tuned
one, and one that read the second author only.
"""

import sys
from typing import Any

import chargen


def main(first: str, second: str, **budget: Any) -> None:
    """Train three models with the same budget and print their losses."""
    known = chargen.train(first, "runs/first", **budget)
    tuned = chargen.train(second, "runs/tuned", init_from="first", **budget)
    fresh = chargen.train(second, "runs/second", **budget)
    forgotten = tuned.forgetting()
    assert forgotten is not None
    print(f"first author: {forgotten[0]:.3f} nats before, {forgotten[1]:.3f} after fine-tuning")
    print(
        f"second author: {tuned.evaluate().loss_nats:.3f} nats fine-tuned, "
        f"{fresh.evaluate().loss_nats:.3f} from scratch"
    )
    print(f"\n{tuned.sample(length=300, temperature=0.7)}")
    print(f"\n{known.name}, {tuned.name}, {fresh.name}: chargen runs lists them")


if __name__ == "__main__":
    main(*sys.argv[1:3], minutes=float(sys.argv[3]) if len(sys.argv) > 3 else 5)
