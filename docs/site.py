"""mkdocs hooks: pages above docs/, links between them and docs/, and the language of a page."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
LAST = ("experiments/", "reference/python")
FIRST = "explanation/defaults"  # before the options of the commands page
ABOVE = ("README.zh.md", "CONTRIBUTING.md", "CHANGELOG.md")  # index.md replaces README.md


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages above docs/ and rewrite their links."""
    for name in ABOVE:
        text = (
            (ROOT / name)
            .read_text(encoding="utf-8")
            .replace("](docs/", "](")
            .replace("](README.md", "](index.md")
        )
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite links from docs/ to the pages above it, and let guides rank first in a search."""
    if page.file.src_uri.startswith(LAST):
        page.meta["search"] = {"boost": 0.3}
    elif page.file.src_uri.startswith(FIRST):
        page.meta["search"] = {"boost": 1.2}
    markdown = markdown.replace("](../README.md", "](index.md")
    return re.sub(rf"\]\(\.\./((?:\.\./)*)({'|'.join(map(re.escape, ABOVE))})", r"](\1\2", markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Declare the language of Chinese pages."""
    if page.file.src_uri.endswith(".zh.md"):
        return output.replace('<html lang="en"', '<html lang="zh"', 1)
    return output
