"""`make book`: the documents as an mdBook in target/book, with each link followed."""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
from functools import partial
from pathlib import Path
from urllib.parse import unquote

from common import LOCAL, ROOT, StackError, step
from documents import DOCS

MDBOOK = "0.5.4"
BOOK = ROOT / "target" / "book"

# Without server, watcher and optimization: it compiles in half of the time, and builds the book in a second.
OPTIONS = ("--locked", "--quiet", "--no-default-features", "--features", "search")

# What a page of the book links to or shows, and the places in it that links may name.
TARGET = re.compile(r'(<a [^>]*?href|<img [^>]*?src)="([^"]*)"')
ANCHOR = re.compile(r' id="([^"]+)"')

# Files of the repository that pages link to are copied here, as text that a browser shows.
SOURCE = "source"


def book() -> int:
    """Builds the book and says where it is."""
    build_book()
    print(f"\nopen {(BOOK / 'index.html').relative_to(ROOT)}")
    return 0


def build_book() -> None:
    """Builds the book; a link of it that leads nowhere is an error."""
    program = mdbook()
    step(f"the book of the documents: mdbook build {DOCS.relative_to(ROOT)}")
    shutil.rmtree(BOOK, ignore_errors=True)
    execute([program, "build", str(DOCS)], MDBOOK_LOG="warn")
    follow_links()


def mdbook() -> str:
    """Returns mdBook, which cargo installs once."""
    folder = LOCAL / "mdbook" / MDBOOK
    program = folder / "bin" / "mdbook"
    if not program.exists():
        step(f"installing mdbook {MDBOOK} (once, a minute)")
        places = ["--root", str(folder), "--target-dir", str(LOCAL / "mdbook" / "target")]
        execute(["cargo", "install", *OPTIONS, *places, f"mdbook@{MDBOOK}"], CARGO_PROFILE_RELEASE_OPT_LEVEL="0")
        shutil.rmtree(LOCAL / "mdbook" / "target", ignore_errors=True)
    return str(program)


def execute(command: list[str], **environment: str) -> None:
    """Runs a command with its output in sight."""
    if subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=False).returncode != 0:
        raise StackError(f"{Path(command[0]).name} {command[1]} failed")


def follow_links() -> None:
    """Follows each link. One to a file outside docs/ then leads to a copy of the file; one to a folder becomes text."""
    pages = sorted(page for page in BOOK.rglob("*.html") if page.name not in ("404.html", "toc.html"))
    anchors = {page: set(ANCHOR.findall(page.read_text())) for page in pages}
    broken: list[str] = []
    for page in pages:
        text = page.read_text()
        links = {link: followed(page, html.unescape(link), anchors, broken) for _, link in TARGET.findall(text)}
        changed = TARGET.sub(partial(replaced, links), text)
        if changed != text:
            page.write_text(re.sub(r'<a href="">(.*?)</a>', r"\1", changed))
    if broken:
        raise StackError("these links of the book lead nowhere:\n" + "\n".join(broken))


def replaced(links: dict[str, str], found: re.Match[str]) -> str:
    """Returns the attribute of a link with its new value."""
    return f'{found[1]}="{html.escape(links[found[2]])}"'


def followed(page: Path, link: str, anchors: dict[Path, set[str]], broken: list[str]) -> str:
    """Returns the link as it is in the book; adds it to `broken` if it leads nowhere."""
    if re.match("[a-z][a-z0-9+.-]*:", link):
        return link
    # mdBook turns each README.md into the index.html of its folder, but not the links to it.
    link = re.sub(r"\bREADME\.html", "index.html", link)
    path, _, anchor = unquote(link).partition("#")
    target = Path(os.path.normpath(page.parent / path)) if path else page
    if target.is_dir() and target.is_relative_to(BOOK):
        target /= "index.html"
    if (target in anchors and (not anchor or anchor in anchors[target])) or (
        target.is_file() and target not in anchors
    ):
        return link
    # mdBook takes any link to a Markdown file for a page.
    outside = Path(os.path.normpath(DOCS / page.parent.relative_to(BOOK) / path))
    file = next(
        (file for file in (outside, outside.with_suffix(".md")) if file.is_file() and not file.is_relative_to(DOCS)),
        None,
    )
    if file:
        copy = BOOK / SOURCE / f"{file.relative_to(ROOT)}.txt"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
        return os.path.relpath(copy, page.parent)
    if outside.is_dir() and outside.is_relative_to(ROOT):
        return ""
    broken.append(f"{page.relative_to(BOOK)}: {link}")
    return link
