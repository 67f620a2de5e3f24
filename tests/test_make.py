"""Every make target installs what the programs that it runs import."""

import ast
import configparser
import importlib
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAKEFILE = (ROOT / "Makefile").read_text()
CONFIG = configparser.ConfigParser()
CONFIG.read(ROOT / "setup.cfg")
LOCAL = {"chargen", "benchmarks", "docs", "tests", *(p.stem for p in (ROOT / "tests").glob("*.py"))}
DISTRIBUTIONS = {"mkdocs": "mkdocs-material", "google": "protobuf", "xdist": "pytest-xdist"}
DEPENDENCIES = {"mkdocs", "markupsafe", "_pytest"}  # installed with a package that is named


def sources(module):
    """Return the file of a local module, or nothing."""
    base = ROOT / module.replace(".", "/")
    beside = ROOT / "tests" / module
    for file in (base.with_suffix(".py"), base / "__main__.py", beside.with_suffix(".py")):
        if file.exists():
            yield file
    if (base / "__init__.py").exists():
        yield base / "__init__.py"


def imported(files):
    """Return the third-party packages that files import when they are loaded."""
    left, seen, found = list(files), set(), set()
    while left:
        file = left.pop()
        if file in seen:
            continue
        seen.add(file)
        for node in ast.parse(file.read_text()).body:
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in names:
                top = name.split(".")[0]
                if top in LOCAL:
                    left += sources(name)
                elif top not in sys.stdlib_module_names:
                    found.add(top)
    return found


def installed(target):
    """Return the distributions that a target's prerequisites install."""
    needs = CONFIG["options"]["install_requires"].split("\n")
    for extra in re.findall(rf"^{target}:.*\.venv/installed-(\w+)", MAKEFILE, re.MULTILINE):
        needs += CONFIG["options.extras_require"][extra].split("\n")
    return {re.split(r"[>=<;\s]", need)[0] for need in needs if need}


@pytest.mark.parametrize("target", ["bench", "docs", "soak", "fuzz"])
def test_targets_install_what_they_import(target):
    recipe = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)[1]
    programs = re.findall(r"\$\(BIN\)/python (?:-m )?([\w./]+)", recipe)
    assert programs
    for program in programs:
        name = program.removesuffix(".py").replace("/", ".")
        files = list(sources(name))
        missing = {
            DISTRIBUTIONS.get(package, package) for package in imported(files) - DEPENDENCIES
        } - installed(target)
        assert not missing, f"{program} imports {missing}, which make {target} does not install"
        assert files or name in installed(target) | DEPENDENCIES


def test_every_package_is_installed():
    folders = {file.parent.relative_to(ROOT) for file in ROOT.glob("chargen/**/*.py")}
    packages = {".".join(folder.parts) for folder in folders} | {"chargen.corpora"}
    assert set(CONFIG["options"]["packages"].split()) == packages


@pytest.mark.parametrize(
    "file", sorted((ROOT / "benchmarks").glob("[!_]*.py")), ids=lambda f: f.stem
)
def test_benchmarks_find_what_they_import(file):
    importlib.import_module(f"benchmarks.{file.stem}")
