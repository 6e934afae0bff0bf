"""What `make lint` checks about the documents: links, the table of contents, and names of files, tests and symbols."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path
from urllib.parse import unquote

from common import ROOT, StackError

DOCS = ROOT / "docs"

# Markdown: a block of code, a span of code, a link, a picture of HTML, a heading.
FENCE = re.compile(r"^ *(```|~~~).*?^ *\1", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"`([^`\n]*)`")
LINK = re.compile(r"\]\(([^()\s]+)\)")
IMAGE = re.compile(r'<img[^>]* src="([^"]+)"')
HEADING = re.compile(r"^#{1,6} +(.+?)(?: +#+)? *$", re.MULTILINE)

# A span of code that names a file or a folder of this repository, or the last parts of a file's path.
PATH = re.compile(r"(?:\.ci|\.github|shared|functions|infra|tests|docs)/[\w./-]+")
FILE = re.compile(r"[\w/-]+\.(?:rs|py)")

# A span of code that names something of the code: with an underscore, a capital within, `::` or parentheses.
NAME = re.compile(r"(?=.*(?:_|::|[a-z][A-Z]|\(\)))[A-Za-z_]\w*(?:(?:::|\.)[A-Za-z_]\w*)*(?:\(\))?")

# A name within a longer one.
WORD = re.compile(r"[A-Za-z_]\w*")

# A span of code that quotes a line of a log, up to a colon.
MESSAGE = re.compile(r"([a-z][\w']*(?: [\w']+){2,})(?:: …)?")

# Names of AWS, CloudFormation and other people's libraries, which the code does not contain.
FOREIGN = {
    "LastProcessingResult",
    "IntegrationLatency",
    "ROLLBACK_FAILED",
    "UPDATE_ROLLBACK_FAILED",
    "arbitrary_precision",
    "CAPABILITY_AUTO_EXPAND",
    "CfnInclude",
    "getResource",
}

# How wide prose may be.
WIDTH = 120

# Kinds of files that hold the names.
KINDS = (".rs", ".py", ".js", ".yaml", ".toml", ".json", ".snap")


def check_documents() -> None:
    """Runs every check of this file."""
    check_links()
    check_summary()
    check_names()
    check_threats()
    check_messages()
    check_diagrams()
    check_width()


def documents() -> list[Path]:
    """Returns the documents that people read."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]


def check_links() -> None:
    """Every relative link of the documents leads to a file that exists, and to one of its headings."""
    broken = []
    for document in documents():
        text = FENCE.sub("", document.read_text())
        for target in (*LINK.findall(CODE.sub("", text)), *IMAGE.findall(text)):
            if re.match("[a-z][a-z0-9+.-]*:", target):
                continue
            path, _, anchor = unquote(target).partition("#")
            file = (document.parent / path).resolve() if path else document
            if not file.exists() or (anchor and file.suffix == ".md" and anchor not in slugs(file.read_text())):
                broken.append(f"{document.relative_to(ROOT)}: {target}")
    if broken:
        raise StackError("these links lead nowhere:\n" + "\n".join(broken))


def check_summary() -> None:
    """Every page is in the table of contents of the book, once."""
    listed = Counter(LINK.findall((DOCS / "SUMMARY.md").read_text()))
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} - {"SUMMARY.md"}
    missing, twice = sorted(pages - listed.keys()), sorted(page for page, count in listed.items() if count > 1)
    if missing or twice:
        raise StackError(f"docs/SUMMARY.md does not list {missing}, and lists {twice} twice")


def check_names() -> None:
    """Every file, test and symbol that a document names as code exists."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    files = {f"/{name}" for name in found if (ROOT / name).is_file()}
    code = (ROOT / name[1:] for name in files if name.endswith(KINDS) and "/fixtures/" not in name)
    known = {word for file in code for word in WORD.findall(file.read_text(errors="replace"))} | FOREIGN
    wrong = []
    for document in documents():
        text = document.read_text()
        # A page may also name what its own blocks of code define.
        known_here = known | {word for block in FENCE.finditer(text) for word in WORD.findall(block.group())}
        for span in CODE.findall(FENCE.sub("", text)):
            if PATH.fullmatch(span):
                exists = (ROOT / span).exists()
            elif FILE.fullmatch(span):
                exists = any(file.endswith(f"/{span}") for file in files)
            elif NAME.fullmatch(span):
                exists = known_here.issuperset(WORD.findall(span))
            else:
                continue
            if not exists:
                wrong.append(f"{document.relative_to(ROOT)}: {span}")
    if wrong:
        raise StackError("these names are not in the code:\n" + "\n".join(wrong))


def check_threats() -> None:
    """Every test that docs/build/threat-model.md names in the last column of a table exists."""
    rows = re.findall(r"^\|.*\|([^|\n]+)\|$", (DOCS / "build" / "threat-model.md").read_text(), re.MULTILINE)
    named = {name for cell in rows for name in re.findall(r"`([a-z0-9_]+)`", cell)}
    folders = [ROOT / name for name in ("functions", "shared", "tests", "infra")]
    code = "\n".join(
        file.read_text() for folder in folders for end in ("rs", "py") for file in folder.rglob(f"*.{end}")
    )
    missing = sorted(named - set(re.findall(r"\b(?:fn|def) (\w+)", code)))
    if not named or missing:
        raise StackError(f"docs/build/threat-model.md names tests that do not exist: {', '.join(missing)}")


def check_messages() -> None:
    """Every line of a log that the runbook quotes is in the code."""
    text = FENCE.sub("", (DOCS / "use" / "runbook.md").read_text())
    quoted = {found[1] for span in CODE.findall(text) if (found := MESSAGE.fullmatch(span))}
    files = (file for folder in ("functions", "shared") for file in (ROOT / folder).rglob("*.rs"))
    inline = ROOT / "infra" / "template.yaml"
    code = "\n".join(file.read_text() for file in (*files, inline))
    missing = sorted(message for message in quoted if message not in code)
    if not quoted or missing:
        raise StackError(f"docs/use/runbook.md quotes messages that no function logs: {missing}")


def check_diagrams() -> None:
    """No diagram is Mermaid: the book does not render it. Diagrams are SVG files in docs/images."""
    drawn = [
        str(document.relative_to(ROOT))
        for document in documents()
        if re.search(r"^ *```mermaid", document.read_text(), re.MULTILINE)
    ]
    if drawn:
        raise StackError(f"these documents have Mermaid diagrams, which the book does not render: {', '.join(drawn)}")


def check_width() -> None:
    """Prose wraps at 120 columns; code and tables may be wider."""
    wide = []
    for document in documents():
        text = FENCE.sub(lambda found: "\n" * found.group().count("\n"), document.read_text())
        lines = enumerate(text.splitlines(), 1)
        wide += [
            f"{document.relative_to(ROOT)}:{number}"
            for number, line in lines
            if len(line) > WIDTH and not line.startswith("|")
        ]
    if wide:
        raise StackError(f"these lines are wider than {WIDTH} columns:\n" + "\n".join(wide))


def slugs(markdown: str) -> set[str]:
    """Returns the anchors of a document's headings, as GitHub makes them."""
    seen: Counter[str] = Counter()
    anchors = set()
    for heading in HEADING.findall(FENCE.sub("", markdown)):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        anchors.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return anchors
