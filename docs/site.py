"""What mkdocs is told beside mkdocs.yml: pages above docs/, and the language of a page.

A repository's page shows README.md at the top and docs/ below it; the site has all of them side by
side. So the links between the two are made to fit, and no page is written twice.
"""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
ABOVE = ("README.md", "README.zh.md", "CONTRIBUTING.md", "CHANGELOG.md")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages above docs/, whose links lead into it."""
    for name in ABOVE:
        text = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links from docs/ to the pages above it."""
    return markdown.replace("](../", "](")


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Say which pages are in Chinese, so that they are shown and read aloud so."""
    if page.file.src_uri.endswith(".zh.md"):
        return output.replace('<html lang="en"', '<html lang="zh"', 1)
    return output
