"""Speed of the exported page in Chromium against the Python engine.

*alone* runs the network only, in WebAssembly or in JavaScript (*JS*); *shown* also draws and colors
every character.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.sampling import V, engine_of, ours, rate
from chargen.pages.export_page import ExportedModel, export_page
from chargen.recurrent import CharModel
from chargen.settings import ModelSettings
from chargen.text import Vocabulary
from tests.browser import Browser, missing

SHAPES = (("lstm", (256,)), ("gru", (256,)), ("simple", (256,)), ("lstm", (512, 512)))
LETTERS = 20_000
ROUNDS = 3
ALONE = """
    const network = new Network(MODEL, arguments[1]);
    const random = randomOf(1);
    let id = 0;
    const begun = performance.now();
    for (let n = 0; n < arguments[0]; n++) {
      network.read(id);
      id = chosen(network.logits, network.V, 1, random());
    }
    return 1000 * arguments[0] / (performance.now() - begun);
"""


def written_page(cell: str, units: tuple[int, ...]) -> ExportedModel:
    """Return a page with the initial weights of `engine_of`."""
    shape = ModelSettings(cell, units)
    arrays = {n: a.numpy() for n, a in CharModel.seeded(shape, V, 0).state_dict().items()}
    vocabulary = Vocabulary("\n" + "".join(map(chr, range(32, 31 + V))))
    return ExportedModel("benchmark", shape, vocabulary, arrays)


def shown(browser: Browser) -> float:
    """Return characters/s of the page with drawing."""
    browser.script("byId('speed').value = 'once'; byId('length').value = arguments[0]", LETTERS)
    browser.find("#generate").click()
    begun = time.perf_counter()
    while browser.script("return generation !== null"):
        time.sleep(0.01)
    return browser.script("return sequence.ids.length") / (time.perf_counter() - begun)


def main() -> list[dict[str, object]]:
    """Print the table and return its rows; without a browser there are none."""
    if reason := missing():
        print(f"page skipped: {reason}")
        return []
    print("exported page in Chromium and the Python engine, chars/s")
    names = f"{'alone':>9}{'JS':>9}{'shown':>9}{'NumPy':>9}{'compiled':>10}"
    print(f"{'':14}{names}{'kB':>8}{'8 bits':>8}")
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        browser = Browser(Path(folder))
        try:
            rows += [_row(browser, *shape) for shape in SHAPES]
        finally:
            browser.close()
    return rows


def _row(browser: Browser, cell: str, units: tuple[int, ...]) -> dict[str, object]:
    written = written_page(cell, units)
    page = export_page(written)
    small = len(export_page(ExportedModel(**{**vars(written), "form": "int8"})).encode())
    browser.show(page)
    letters = LETTERS if len(units) == 1 else LETTERS // 10
    rates = []
    for simd in (True, False):
        browser.script(ALONE, letters // 4, simd)
        rates.append(max(browser.script(ALONE, letters, simd) for _ in range(ROUNDS)))
    alone, script = rates
    seen = max(shown(browser) for _ in range(ROUNDS))
    own = engine_of(cell, units)
    plain = rate(ours(own, 1, compiled=False), 1, 500, ROUNDS)
    compiled = rate(ours(own, 1), 1, letters, ROUNDS)
    name = f"{cell} {' x '.join(map(str, (len(units), units[0])))}"
    figures = f"{alone:9,.0f}{script:9,.0f}{seen:9,.0f}{plain:9,.0f}{compiled:10,.0f}"
    print(f"{name:14}{figures}{len(page.encode()) / 1000:8,.0f}{small / 1000:8,.0f}")
    return {
        "cell": cell,
        "units": list(units),
        "page_chars_per_second": round(alone),
        "javascript_chars_per_second": round(script),
        "shown_chars_per_second": round(seen),
        "numpy_chars_per_second": round(plain),
        "compiled_chars_per_second": round(compiled),
        "page_bytes": len(page.encode()),
        "page_8_bit_bytes": small,
    }


if __name__ == "__main__":
    main()
