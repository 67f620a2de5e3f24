"""Coverage-guided fuzzing of every file reader: ``make fuzz``, or one reader by hand.

    python tests/fuzz/fuzz.py weights -max_total_time=60

The arguments after the reader's name go to libFuzzer. A crash ends the fuzzing with a traceback
and writes the input to a file ``crash-…``; give that file instead of flags to repeat it. The
readers are those of ``tests/hostile.py``.
"""

import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent.parent))
with atheris.instrument_imports(include=["chargen", "json"]):
    from hostile import PROGRESS_LINE, READERS, is_read, make_run, sealed


def main() -> None:
    """Fuzz the reader that is named first."""
    kind = sys.argv.pop(1) if len(sys.argv) > 1 else ""
    if kind not in READERS:
        sys.exit(f"name one of {', '.join(READERS)}")
    folder = Path(tempfile.mkdtemp(prefix="chargen-fuzz-"))
    for name in ("run", "seeds"):
        (folder / name).mkdir()
    run, seeds = make_run(folder / "run"), folder / "seeds"
    (seeds / "good").write_bytes(READERS[kind][2](run))
    (seeds / "line").write_bytes(PROGRESS_LINE)

    def one(data: bytes) -> None:
        is_read(kind, run, data)
        is_read(kind, run, sealed(data))  # behind the digest

    atheris.Setup([*sys.argv, str(seeds)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
