"""Memory-mapped arrays: their values, and the memory that reading them takes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from chargen.text.memory_map import map_file, release, underlying_map

STATUS = Path("/proc/self/status")


def test_a_mapped_file_is_read_only_and_released_under_views(tmp_path):
    path = tmp_path / "ids"
    values = np.arange(5000, dtype=np.uint16)
    path.write_bytes(values.tobytes())
    with path.open("rb") as file:
        from_file = map_file(file, np.uint16)
    for array in (from_file, map_file(path, np.uint16)):
        assert array.dtype == np.uint16
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
        assert underlying_map(array[3:][1:]) is underlying_map(array) is not None
        release(array[1000:][5:])
        np.testing.assert_array_equal(array, values)
    assert underlying_map(array.copy()) is None
    path.write_bytes(b"abc")
    with pytest.raises(ValueError, match="multiple"):
        map_file(path, np.uint16)
    path.write_bytes(b"")
    array = map_file(path, np.uint16)
    assert (array.shape, array.dtype, array.flags.writeable) == ((0,), np.uint16, False)


# Each reads about 80 MB of a file of 1 GB, scattered or in order.
READERS = {
    "streams": """
streams = Streams(ids, 256, 16)
for index in range(0, len(streams), 256)[:80]:
    streams.batch(0, index)
    look()
""",
    "windows": """
windows = ShuffledWindows(ids, 256, 1, 0)
for index in range(80):
    windows.batch(0, index)
    look()
""",
    "evaluate documents": """
starts = np.arange(0, len(wide), 2**12)
evaluate(Fake(), wide, len(wide) - 10 * 2**20, starts=starts)
look()
""",
}
HEAD = """
import sys
from pathlib import Path
import numpy as np
from chargen.evaluation import evaluate
from chargen.text import ShuffledWindows, Streams, memory_map
def resident():
    line = next(l for l in open("/proc/self/status") if l.startswith("RssFile"))
    return int(line.split()[1]) / 1024
def look():
    global peak
    peak = max(peak, resident())
class Fake:
    vocabulary = "ab"
    def advance(self, ids, state=None):
        look()
        return np.broadcast_to(np.float32(np.log(0.5)), (*ids.shape, 2)), None
"""
RUN = """
ids, wide = (memory_map.map_file(Path(sys.argv[1]), dtype) for dtype in (np.uint8, np.int64))
peak = before = resident()
{reader}
print(peak - before)
ids = wide = streams = windows = None
"""


@pytest.mark.skipif(not STATUS.exists(), reason="only Linux reports the resident size of files")
def test_reading_a_large_file_keeps_little_of_it_in_memory(tmp_path):
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(2**30)
    program = HEAD + "".join(RUN.replace("{reader}", reader) for reader in READERS.values())
    ran = subprocess.run([sys.executable, "-c", program, path], stdout=subprocess.PIPE, check=True)
    megabytes = [float(line) for line in ran.stdout.split()]
    assert len(megabytes) == len(READERS)
    assert max(megabytes) < 56
