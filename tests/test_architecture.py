"""The architecture: which package may import which, without cycles, torch or code from data."""

import ast
import graphlib
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "chargen"
TOUR, TABLE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Packages")
# In the order of its table: a file imports only from its own package and from packages above it.
PACKAGES = [
    path.replace("/", ".") for path in re.findall(r"^\| `([\w/]+?)(?:\.py|/)` \|", TABLE, re.M)
]
SHARED = {f"probes.{name}" for name in ("cells", "result", "run", "statistics", "targets")}
INSTRUMENTS = {name for name in PACKAGES if name.startswith("probes.")} - SHARED
NEED_TORCH = {"distributed", "recurrent", "training", "probes", "pages", "api", "cli"}
ADAPTERS = {"chargen.predictors.adapters", "chargen.predictors.token_model"}  # import it when used
TORCH_FREE = {name for name in PACKAGES if name.split(".")[0] not in NEED_TORCH}
FILES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for file in sorted(PACKAGE.rglob("*.py"))
}
TREES = {module: ast.parse(file.read_text()) for module, file in FILES.items()}


def package_of(module):
    """Return the entry of `PACKAGES` that contains a module."""
    inside = module.split(".")[1:3]
    return ".".join(inside) if ".".join(inside) in PACKAGES else inside[0]


def imports(module):
    """Return the modules and names that a module imports, also inside functions."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: a relative import hides its package"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_packages(module):
    names = [name for name in imports(module) if name.startswith("chargen.")]
    return {package_of(name) for name in names if name != "chargen.__version__"}


def test_imports_point_upward():
    assert len(PACKAGES) == len(set(PACKAGES)) == 31
    for module in FILES.keys() - {"chargen", "chargen.__main__"}:
        allowed = PACKAGES[: PACKAGES.index(package_of(module)) + 1]
        assert imported_packages(module) <= set(allowed), module


def test_instruments_do_not_import_each_other():
    for module in (m for m in FILES.keys() - {"chargen"} if package_of(m) in INSTRUMENTS):
        assert imported_packages(module) & INSTRUMENTS <= {package_of(module)}, module


def test_modules_have_no_import_cycle():
    def targets(module):
        for node in TREES[module].body:  # imports inside functions and type checks come later
            if isinstance(node, ast.ImportFrom) and node.module.startswith("chargen"):
                for alias in node.names:
                    full = f"{node.module}.{alias.name}"
                    yield full if full in FILES else node.module

    graph = {module: set(targets(module)) - {"chargen", module} for module in FILES}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError


def test_no_two_classes_share_a_name():
    nodes = (node for tree in TREES.values() for node in ast.walk(tree))
    names = Counter(node.name for node in nodes if isinstance(node, ast.ClassDef))
    assert not [name for name, count in names.items() if count > 1]


def test_no_code_is_read_from_data():
    odd = r"(?<![\w.])(eval|exec|compile|__import__)\(|torch\.load\("
    for module, file in FILES.items():
        assert not re.search(odd, file.read_text()), module
        loaded = {name.split(".")[0] for name in imports(module)}
        assert not loaded & {"pickle", "marshal", "shelve"}, module


def test_some_packages_import_no_torch():
    for module in FILES.keys() - {"chargen", "chargen.__main__"} - ADAPTERS:
        if package_of(module) in TORCH_FREE:
            assert "torch" not in {name.split(".")[0] for name in imports(module)}, module


def test_the_tour_has_nine_files_of_at_most_1500_lines():
    files = re.findall(r"^\| `(chargen/\S+\.py)`", TOUR, re.MULTILINE)
    assert len(files) == 9
    assert sum(len((ROOT / file).read_text().splitlines()) for file in files) <= 1500


def test_help_imports_neither_torch_nor_numpy_and_adapters_import_no_torch():
    program = """
import sys
from chargen.cli import main
code = sum(main([*command, "--help"]) for command in ([], ["train"], ["sample"]))
assert not {"torch", "numpy", "matplotlib"} & set(sys.modules), set(sys.modules)
import chargen.predictors
sys.exit("torch imported" if "torch" in sys.modules else code)
"""
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.count("Usage: chargen") == 3
