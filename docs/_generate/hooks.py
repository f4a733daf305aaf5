"""MkDocs' hooks of the site: the order of its pages, generated pages, links into the repository.

A page links to a file of the repository as it does on GitHub, ``../../examples/config.yaml``. The
site carries those files: texts in Markdown as pages, all others as they are, under ``repository/``.
"""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parents[1]
# The folders of docs/ as tabs, and the pages that come first in them; all others follow by name.
TABS: Final = {
    "tutorials": (
        "Tutorials",
        ["five-minutes", "your-own-models", "behind-envoy", "behind-litellm", "team-budgets"],
    ),
    "how-to": ("How to", ["install", "proxy", "envoy", "client", "your-own-models", "calibration"]),
    "reference": ("Reference", ["commands", "settings", "configuration", "pool", "api", "http"]),
    "explanation": ("Explanation", ["way-of-a-request", "predictor", "policies", "budgets"]),
    "results": ("Results", ["traffic", "bench", "measured"]),
    "repository": ("Repository", ["README"]),
}
CARRIED: Final = "repository"
_LINK: Final = re.compile(r"(?P<before>\]\()(?P<target>[^)\s]+)(?=\))")
_FENCE: Final = re.compile(r"^(```.*?^```)$", re.MULTILINE | re.DOTALL)
_OUTSIDE: Final = re.compile(
    r"""<(?:script|img|iframe|link)\b[^>]*(?:src|href)=["']?(?:https?:)?//"""
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds what is generated and what is linked, and sets the order."""
    for path, text in generated_pages().items():
        files.append(File.generated(config, path, content=text))
    _carry_linked(files, config)
    config.nav = _nav([file.src_uri for file in files.documentation_pages()])
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Turns the links of a page, which are those of the repository, into the site's."""
    here = _repository_path(page.file.src_uri)
    return _with_links(markdown, lambda target: _site_link(target, here, page.file.src_uri))


def on_post_build(config: MkDocsConfig) -> None:
    """Refuses a site that a browser would have to fetch something for."""
    for path in Path(config.site_dir).rglob("*.html"):
        if found := _OUTSIDE.search(path.read_text(encoding="utf-8")):
            raise PluginError(f"{path} loads from another host: {found[0]}")


def generated_pages() -> dict[str, str]:
    """Returns the pages that are made of the code, by their paths on the site."""
    if str(HERE) not in sys.path:
        sys.path.insert(0, str(HERE))
    from reference.pages import pages  # noqa: PLC0415 - after the path

    return {f"reference/{name}.md": text for name, text in pages().items()}


def _nav(paths: list[str]) -> list[Any]:
    nav: list[Any] = [{"Home": "index.md"}]
    for folder, (title, first) in TABS.items():
        order = {f"{folder}/{name}.md": at for at, name in enumerate(first)}
        inside = [path for path in paths if path.startswith(f"{folder}/")]
        if inside:
            nav.append({title: sorted(inside, key=lambda path: (order.get(path, 99), path))})
    return nav


def _carry_linked(files: Files, config: MkDocsConfig) -> None:
    waiting = list(files.documentation_pages())
    while waiting:
        file = waiting.pop()
        for target in _targets(file.content_string):
            path = _resolved(target, _repository_path(file.src_uri))
            site_path = _site_path(path)
            if path is None or files.get_file_from_path(site_path) or not (ROOT / path).is_file():
                continue
            added = File.generated(config, site_path, abs_src_path=str(ROOT / path))
            files.append(added)
            if added.is_documentation_page():
                waiting.append(added)


def _targets(markdown: str) -> list[str]:
    found: list[str] = []
    _with_links(markdown, lambda target: found.append(target) or target)
    return found


def _with_links(markdown: str, change: Any) -> str:
    parts = _FENCE.split(markdown)
    for at in range(0, len(parts), 2):
        parts[at] = _LINK.sub(lambda link: link["before"] + change(link["target"]), parts[at])
    return "".join(parts)


def _repository_path(src_uri: str) -> str:
    carried = src_uri.removeprefix(f"{CARRIED}/")
    return carried if carried != src_uri else f"docs/{src_uri}"


def _resolved(target: str, here: str) -> str | None:
    """Returns the path in the repository that a link leads to; None: it leads elsewhere."""
    path = target.partition("#")[0]
    if not path or ":" in path:
        return None
    return posixpath.normpath(posixpath.join(posixpath.dirname(here), path))


def _site_path(path: str | None) -> str:
    if path is None:
        return ""
    inside = path.removeprefix("docs/")
    return inside if inside != path else f"{CARRIED}/{path}"


def _site_link(target: str, here: str, src_uri: str) -> str:
    path = _resolved(target, here)
    if path is None or (ROOT / path).is_dir():
        return target
    anchor = target.partition("#")[2]
    link = posixpath.relpath(_site_path(path), posixpath.dirname(src_uri) or ".")
    return f"{link}#{anchor}" if anchor else link
