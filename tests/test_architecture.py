"""Text flows one way: the rooms of the house, and who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "chargen"

# From the first to the last; a file imports from rooms above its own, or from its own.
ROOMS = (
    "errors",
    "cells",
    "settings",
    "files",
    "distributed",
    "render",
    "datasets",
    "text",
    "recurrent",
    "predictors",
    "evaluation",
    "runs",
    "training",
    "sampling",
    "probes",
    "probes.statistics",
    "probes.templates",
    "probes.context",
    "probes.mined",
    "probes.gradient",
    "probes.units",
    "probes.surprisal",
    "probes.result",
    "probes.run",
    "formats",
    "pages",
    "api",
    "probes.cells",
    "cli",
)
TORCH_FREE = (
    "errors",
    "cells",
    "settings",
    "files",
    "render",
    "datasets",
    "text",
    "predictors",
    "evaluation",
    "runs",
    "sampling",
    "formats",
)
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(file: Path) -> str:
    return package_of(".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts))


def package_of(module: str) -> str:
    """Return the entry of ROOMS that contains a dotted module name."""
    inside = module.split(".")[1:]
    sub = ".".join(inside[:2])
    return sub if sub in ROOMS else inside[0]


def imports(file: Path) -> set[str]:
    """Every module that a file imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "a relative import hides its room"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_point_upward(file):
    if file.name in ("__init__.py", "__main__.py") and file.parent == PACKAGE:
        return_to = set(ROOMS)  # the package's own face may show any room
    else:
        return_to = set(ROOMS[: ROOMS.index(room_of(file)) + 1]) | {"__version__"}
    rooms = {package_of(name) for name in imports(file) if name.startswith("chargen.")}
    assert rooms <= return_to


def test_instruments_do_not_import_each_other():
    names = ("templates", "context", "mined", "gradient", "units", "surprisal")
    instruments = {f"probes.{name}" for name in names}
    for file in (file for file in FILES if room_of(file) in instruments):
        used = {package_of(name) for name in imports(file) if name.startswith("chargen.")}
        assert used & instruments <= {room_of(file)}, file


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_files_read_no_code_from_data(file):
    tree = ast.parse(file.read_text())
    calls = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not calls & {"eval", "exec", "compile", "__import__"}
    assert not {name.split(".")[0] for name in imports(file)} & {"pickle", "marshal", "shelve"}
    assert "torch.load(" not in file.read_text()


@pytest.mark.parametrize("room", TORCH_FREE)
def test_rooms_that_import_no_torch(room):
    files = [file for file in FILES if room_of(file) == room]
    assert files
    assert not any(name.split(".")[0] == "torch" for file in files for name in imports(file))


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["sample", "--help"]])
def test_help_imports_neither_torch_nor_numpy(arguments):
    program = (
        "import sys; from chargen.cli import main; code = main(sys.argv[1:]); "
        "loaded = {'torch', 'numpy', 'matplotlib'} & set(sys.modules); "
        "sys.exit(f'loaded {loaded}' if loaded else code)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "Usage: chargen" in ran.stdout
