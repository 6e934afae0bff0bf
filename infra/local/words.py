"""Finds words that make prose hard to read: `python3 infra/local/words.py [PATH…]` lists them, and counts them by area.

Prose is Markdown outside code, comments and messages of Rust and Python, and whole YAML, TOML and shell files.
A message is a string with a space in it."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# What to write instead of each pattern. The patterns ignore case.
MARKERS = {
    r"\bnobody\b": "name the component, or use “no one”",
    r"\bsomebody\b": "“someone”, or name who it is",
    r"\bwhoever\b": "name the caller or the component",
    r"\bbeside\b": "“next to”, “in addition to” or “with”",
    r"\btold\b": "“notified”, “configured” or “given”",
    r"\banew\b": "“again”",
    r"\bstands\b(?! for\b| in for\b)": "“is”, or say where it is kept",
    r"\b(?:that|which|who) (?:is|are|was) none\b|\bis none(?: of them)?[.,;:]": "say what is missing or ignored",
    r"\b(?:is|are|was|were) to be\b": "“must be”, or the plain verb",
    r"\bwhat is so\b": "“what holds”, or name it",
    r"\bgoes back\b": "“returns to” or “is returned”",
    r"\blet(?:s|ting)? go\b": "“released” or “sent”",
    r"\b(?:is|are|was) (?:not |no )?good\b": "“is valid”, “works” or “counts as success”",
    r"\btells? of\b": "“reports” or “describes”",
    r"\bcame of\b": "“outcome” or “result”",
}

# Files whose subject is these words, and text that others wrote.
EXCLUDED = (
    "infra/local/words.py",
    "infra/tests/test_words.py",
    "tests/fixtures/",
    "tests/fuzz/seeds/",
    "tests/fuzz/artifacts/",
)

# Markdown code: fenced blocks and spans.
FENCE = re.compile(r"^ *(```|~~~).*?^ *\1", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`[^`\n]*`")

# Rust, in the order in which a lexer tries: comments, raw strings, strings, characters (so that '"' opens no string).
RUST = re.compile(
    r"""(?P<comment>//[^\n]*|/\*.*?\*/)
      | b?r(?P<hashes>\#*)"(?P<raw>.*?)"(?P=hashes)
      | b?c?"(?P<string>(?:\\.|[^"\\])*)"
      | '(?:\\.[^']*|[^'\\\n])'""",
    re.DOTALL | re.VERBOSE,
)

# What separates the words of a match: spaces, or a line break and the mark of a comment's next line.
MARK = re.compile(r"[ \t]*\n[ \t]*(?://[/!]?|\#|>|\*)?[ \t]*|[ \t]+")


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Yields the texts of a file that people read, each with its first line."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix == ".md":
        blank = FENCE.sub(lambda found: "\n" * found.group().count("\n"), text)
        yield from paragraphs(SPAN.sub("`", blank))
    elif path.suffix == ".rs":
        yield from rust(text)
    elif path.suffix == ".py":
        yield from python(text)
    else:
        yield from paragraphs(text)


def paragraphs(text: str) -> Iterator[tuple[int, str]]:
    """Yields the paragraphs of a text, so that a pattern also finds words that a line break separates."""
    line = 1
    for part in re.split(r"(\n\s*\n)", text):
        if part.strip():
            yield line, part
        line += part.count("\n")


def joined(comments: list[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Joins comments of consecutive lines."""
    while comments:
        first, text = comments.pop(0)
        line = first
        while comments and comments[0][0] == line + 1:
            line, more = comments.pop(0)
            text = f"{text}\n{more}"
        yield first, text


def rust(text: str) -> Iterator[tuple[int, str]]:
    """Yields the comments and messages of Rust code."""
    comments = []
    for found in RUST.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        if comment := found["comment"]:
            comments.append((line, SPAN.sub("`", comment)))
        elif " " in (string := found["string"] or found["raw"] or ""):
            yield line, string
    yield from joined(comments)


def python(text: str) -> Iterator[tuple[int, str]]:
    """Yields the comments, docstrings and messages of Python code."""
    comments = []
    middle = getattr(tokenize, "FSTRING_MIDDLE", None)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            comments.append((token.start[0], SPAN.sub("`", token.string)))
        elif token.type in (tokenize.STRING, middle) and " " in token.string:
            yield token.start[0], SPAN.sub("`", token.string)
    yield from joined(comments)


def findings(path: Path) -> list[tuple[int, str, str]]:
    """Returns the marker words of a file: line, word and what to write instead."""
    found = []
    for first, text in prose(path):
        for pattern, instead in MARKERS.items():
            spaced = pattern.replace(" ", f"(?:{MARK.pattern})")
            for match in re.finditer(spaced, text, re.IGNORECASE):
                line = first + text.count("\n", 0, match.start())
                found.append((line, MARK.sub(" ", match.group()), instead))
    return sorted(found)


def files(paths: Iterable[str]) -> list[Path]:
    """Returns the files with prose below these paths that Git knows or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *paths]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    kinds = (".md", ".rs", ".py", ".yaml", ".yml", ".toml", ".sh")
    wanted = {name for name in names if name.endswith(kinds) or name in ("Makefile", ".ci/run")}
    return [ROOT / name for name in sorted(wanted) if not name.startswith(EXCLUDED) and (ROOT / name).is_file()]


def search(paths: Iterable[str]) -> dict[Path, list[tuple[int, str, str]]]:
    """Returns what is found below these paths, file by file."""
    found = {file: findings(file) for file in files(paths)}
    return {file: words for file, words in found.items() if words}


def lines(found: dict[Path, list[tuple[int, str, str]]]) -> list[str]:
    """Returns one line for each word that was found."""
    return [
        f"{file.relative_to(ROOT)}:{line}: “{word}”: {instead}"
        for file, words in found.items()
        for line, word, instead in words
    ]


def main(arguments: list[str]) -> int:
    """Prints what is found below the paths, or in the whole repository."""
    found = search([str(Path(argument).resolve()) for argument in arguments])
    for line in lines(found):
        print(line)
    total = sum(map(len, found.values()))
    print(f"{total} in {len(found)} files", file=sys.stderr)
    if not arguments:
        areas: dict[str, int] = {}
        for file, words in found.items():
            area = "/".join(file.relative_to(ROOT).parts[:2]) if len(file.relative_to(ROOT).parts) > 1 else file.name
            areas[area] = areas.get(area, 0) + len(words)
        for area, count in sorted(areas.items(), key=lambda item: -item[1]):
            print(f"{count:5} {area}", file=sys.stderr)
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
