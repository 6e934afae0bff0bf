"""Which Rust file imports which: no loops, the domain's layers, and routes that stay apart. And which files of code or
tests are too long."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

# A file of code or tests that has more lines than this should be two files.
LINES = 400

# Files of code and tests, as pathspecs of Git. A `*` also matches folders.
CODE = (
    "*.rs",
    "*.py",
    "*.js",
    "*.ts",
    "*.css",
    "*.html",
    "*.yaml",
    "*.yml",
    ".ci",
    "Makefile",
)

# Files that may be longer: libraries from npm, and the template, which SAM reads as one file.
EXCLUDED = ("functions/api/console/vendor", "infra/template.yaml")

TOKEN = re.compile(
    r"""
    (?P<skip>//[^\n]*|\s+|b?"(?:\\.|[^"\\])*"|b?'(?:\\[^\n]*?|[^'\\\n])'|'[A-Za-z_]\w*)
    |(?P<raw>b?r(?P<hashes>\#*)".*?"(?P=hashes))
    |(?P<word>(?:r\#)?[A-Za-z_]\w*)
    |(?P<number>\d\w*)
    |(?P<mark>::|.)
    """,
    re.VERBOSE | re.DOTALL,
)

TEST = re.compile(r"cfg \( (?:test|all \( test)\b")

# A row of the table in the domain's documentation; its first cell names modules.
ROW = re.compile(r"^//! \| ((?:\[?`\w+`\]?[ ,]*)+)\|", re.MULTILINE)


@dataclass
class Module:
    """A module: where its items are written, and whether only tests compile it."""

    path: tuple[str, ...]
    file: Path
    test: bool


@dataclass
class Crate:
    """The modules of one target, by path, and the names in the files that lead to other modules."""

    root: Path
    modules: dict[tuple[str, ...], Module] = field(default_factory=dict)
    paths: dict[Path, list[tuple[tuple[str, ...], tuple[str, ...]]]] = field(default_factory=dict)
    # What modules show of others: the path by which it is asked for, and the one that it has.
    shown: dict[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict)

    def imports(self) -> dict[Path, set[Path]]:
        """Returns the files that each file of code imports; those that only tests compile are left out."""
        graph: dict[Path, set[Path]] = {module.file: set() for module in self.modules.values() if not module.test}
        for file, paths in self.paths.items():
            for _, target in paths:
                if file in graph and (found := self.resolve(target)) and not found.test and found.file != file:
                    graph[file].add(found.file)
        return graph

    def resolve(self, path: tuple[str, ...]) -> Module | None:
        """Returns the innermost module that a path leads to, through whatever shows it."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.shown:
                return self.resolve(self.shown[path[:end]] + path[end:])
        for end in range(len(path), -1, -1):
            if module := self.modules.get(path[:end]):
                return module
        return None


def tokens(text: str) -> list[str]:
    """Returns the words and marks of Rust source, without comments, literals and lifetimes."""
    text = block_comments(text)
    return [match[0] for match in TOKEN.finditer(text) if match.lastgroup in ("word", "mark", "number")]


def block_comments(text: str) -> str:
    """Removes `/* … */`, which this workspace hardly has; nested ones are not read."""
    return re.sub(r"/\*(?![^\n]*\").*?\*/", " ", text, flags=re.DOTALL)


def read(root: Path, name: str = "") -> Crate:
    """Reads a target from its root file on, along its `mod` declarations; `name` is what others call the target."""
    crate = Crate(root)
    pending: list[tuple[tuple[str, ...], Path, bool]] = [((), root, False)]
    while pending:
        path, file, test = pending.pop()
        crate.modules[path] = Module(path, file, test)
        source = Source(crate, file, test)
        source.read(tokens(file.read_text()), path)
        pending.extend(source.declared)
        crate.paths.setdefault(file, []).extend(source.found)
    shown = ((path, rooted(crate, path[:-1], target, name)) for path, target in crate.shown.items())
    crate.shown = {path: target for path, target in shown if target is not None and target[: len(path)] != path}
    for paths in crate.paths.values():
        paths[:] = [(of, absolute) for of, path in paths if (absolute := rooted(crate, of, path, name)) is not None]
    return crate


def rooted(crate: Crate, module: tuple[str, ...], path: tuple[str, ...], name: str) -> tuple[str, ...] | None:
    """Returns a path as one from the crate's root; nothing for a path into another crate or to a local name."""
    head, rest = path[0], path[1:]
    if head == "crate" or (name and head == name):
        return rest
    if head in ("self", "super"):
        base = module
        while path and path[0] in ("self", "super"):
            base = base[:-1] if path[0] == "super" else base
            path = path[1:]
        return base + path
    return (*module, *path) if (*module, head) in crate.modules else None


class Source:
    """Reads one file."""

    def __init__(self, crate: Crate, file: Path, test: bool) -> None:
        self.crate, self.file, self.test = crate, file, test
        # The modules that other files hold, and each path with the module in which it is written.
        self.declared: list[tuple[tuple[str, ...], Path, bool]] = []
        self.found: list[tuple[tuple[str, ...], tuple[str, ...]]] = []

    def read(self, words: list[str], module: tuple[str, ...]) -> None:
        """Reads the items of a module; those that only tests compile are skipped, apart from the files they declare."""
        # What `use` calls a module or an item, for paths that begin with it.
        names: dict[str, tuple[str, ...]] = {}
        plain: list[tuple[str, ...]] = []
        other = set(without_uses(words))
        at, attribute = 0, ""
        while at < len(words):
            word = words[at]
            if word == "#" and words[at + 1 : at + 2] in (["["], ["!"]):
                end = closing(words, at + (1 if words[at + 1] == "[" else 2))
                attribute += " ".join(words[at:end]) + " "
                at = end
                continue
            if TEST.search(attribute) and word not in ("pub", "mod", "(", ")"):
                at = item_end(words, at)
            elif word == "mod" and at + 2 < len(words) and words[at + 2] in (";", "{"):
                at = self.module(words, at, module, bool(TEST.search(attribute)))
            elif word == "use":
                is_pub = words[max(0, at - 1) : at] == ["pub"] or words[max(0, at - 4) : at - 2] == ["pub", "("]
                end = words.index(";", at)
                for path, alias in tree(words[at + 1 : end]):
                    names[alias] = path
                    if is_pub:
                        self.crate.shown[(*module, alias)] = path
                    # A re-export alone is no import: a file that uses the name imports the file that defines it.
                    if not is_pub or not alias or alias in other:
                        self.found.append((module, path))
                at = end + 1
            elif re.match(r"[A-Za-z_$]", word) and words[at + 1 : at + 2] == ["::"] and words[at - 1 : at] != ["::"]:
                called = [word]
                at += 1
                while words[at : at + 1] == ["::"] and re.match(r"[A-Za-z_]", words[at + 1]):
                    called.append(words[at + 1])
                    at += 2
                plain.append(tuple(called))
            elif word in ("pub", "(", ")", "crate", "super", "in") and attribute:
                at += 1
                continue
            else:
                at += 1
            attribute = ""
        for path in plain:
            self.found.append((module, path))
            if path[0] in names:
                self.found.append((module, names[path[0]] + path[1:]))

    def module(self, words: list[str], at: int, module: tuple[str, ...], test: bool) -> int:
        """Reads a `mod`; returns where it ends."""
        inner = (*module, words[at + 1])
        if words[at + 2] == ";":
            self.declared.append((inner, self.place(inner), self.test or test))
            return at + 3
        end = closing(words, at + 2)
        if not test:
            self.crate.modules[inner] = Module(inner, self.file, self.test)
            self.read(words[at + 3 : end - 1], inner)
        return end

    def place(self, path: tuple[str, ...]) -> Path:
        """Returns the file of a module that this file declares."""
        attribute = re.search(rf'#\[path = "([^"]+)"\]\s*(?:pub )?mod {path[-1]};', self.file.read_text())
        if attribute:
            return (self.file.parent / attribute[1]).resolve()
        if self.file == self.crate.root or self.file.name == "mod.rs":
            folder = self.file.parent
        else:
            folder = self.file.parent / self.file.stem
        return next(p for p in (folder / f"{path[-1]}.rs", folder / path[-1] / "mod.rs") if p.exists())


def without_uses(words: list[str]) -> Iterator[str]:
    """Returns the words of a module outside its `use` and `mod` declarations."""
    skip = False
    for at, word in enumerate(words):
        skip = skip or word == "use" or (word == "mod" and words[at + 2 : at + 3] == [";"])
        if not skip:
            yield word
        skip = skip and word != ";"


def closing(words: list[str], at: int) -> int:
    """Returns the place after the bracket that closes the one at a place."""
    depth = 0
    for place in range(at, len(words)):
        depth += (words[place] in "([{") - (words[place] in ")]}")
        if depth == 0:
            return place + 1
    return len(words)


def item_end(words: list[str], at: int) -> int:
    """Returns the place after an item, which ends with `;` or its braces."""
    while at < len(words) and words[at] not in (";", "{"):
        at = closing(words, at) if words[at] in ("(", "[") else at + 1
    if words[at : at + 1] == ["{"]:
        at = closing(words, at)
        return at + 1 if words[at : at + 1] == [";"] else at
    return at + 1


def tree(words: list[str], prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Returns the paths of a `use`, nested or not, each with the name that it gets."""
    path, at, alias = prefix, 0, ""
    while at < len(words):
        word = words[at]
        if word == "{":
            end = closing(words, at)
            for part in split(words[at + 1 : end - 1]):
                yield from tree(part, path)
            return
        if word == "as":
            alias = words[at + 1]
            break
        if word not in ("::", "*") and not (word == "self" and path):
            path = (*path, word)
        at += 1
    if path:
        yield path, alias or ("" if "*" in words else path[-1])


def split(words: list[str]) -> Iterator[list[str]]:
    """Splits the inside of braces at its own commas."""
    part: list[str] = []
    depth = 0
    for word in words:
        depth += (word == "{") - (word == "}")
        if word == "," and depth == 0:
            yield part
            part = []
        else:
            part.append(word)
    if part:
        yield part


def loops(graph: dict[Path, set[Path]]) -> list[list[Path]]:
    """Returns one loop for each group of files that import each other, as a way from a file back to itself."""
    found, left = [], set(graph)
    for start in sorted(graph):
        if start in left and (way := shortest(graph, start)):
            found.append(way)
            reach = reachable(graph, start)
            left -= {file for file in reach if start in reachable(graph, file)}
    return found


def reachable(graph: dict[Path, set[Path]], start: Path) -> set[Path]:
    """Returns what a file imports, directly or not."""
    seen: set[Path] = set()
    pending = [start]
    while pending:
        for file in graph.get(pending.pop(), ()):
            if file not in seen:
                seen.add(file)
                pending.append(file)
    return seen


def shortest(graph: dict[Path, set[Path]], start: Path) -> list[Path] | None:
    """Returns the shortest way from a file back to itself."""
    ways, seen = [[start]], set()
    for way in ways:
        for file in sorted(graph.get(way[-1], ())):
            if file == start:
                return [*way, start]
            if file not in seen:
                seen.add(file)
                ways.append([*way, file])
    return None


def layers(documentation: str) -> dict[str, int]:
    """Returns the row of each module in the table of a crate's documentation."""
    rows = [re.findall(r"`(\w+)`", cell) for cell in ROW.findall(documentation)]
    return {name: row for row, names in enumerate(rows) for name in names}


def downward(crate: Crate, rows: dict[str, int]) -> list[str]:
    """Returns what breaks the table: a module that is not in it, and an import of a lower row."""
    faults = [
        f"{name} has no row in the table of {crate.root}"
        for name in sorted({p[0] for p in crate.modules if p} - set(rows))
    ]
    faults += [
        f"{name} is in the table of {crate.root}, and no module"
        for name in sorted(set(rows) - {p[0] for p in crate.modules if p})
    ]
    owner = {module.file: module.path for module in sorted(crate.modules.values(), key=lambda m: -len(m.path))}
    for file, targets in crate.imports().items():
        for target in sorted(targets):
            of, to = owner[file][:1], owner[target][:1]
            if not of:
                continue
            if not to or rows.get(of[0], -1) < rows.get(to[0], -1):
                faults.append(f"{file} imports {target}, which is in a lower layer")
    return faults


def siblings(graph: dict[Path, set[Path]], folder: Path) -> list[str]:
    """Returns the imports between the files of a folder that belong to different files at its first level."""
    faults = []
    for file, targets in sorted(graph.items()):
        for target in sorted(targets):
            if folder in file.parents and folder in target.parents:
                first, second = (path.relative_to(folder).with_suffix("").parts for path in (file, target))
                if not (first[: len(second)] == second or second[: len(first)] == first):
                    faults.append(f"{file} imports {target}")
    return faults


def long_files(files: Iterable[Path]) -> list[str]:
    """Returns the files with too many lines."""
    counted = ((file, file.read_text().count("\n")) for file in sorted(files))
    return [
        f"{file} has {lines} lines; a file of code or tests has at most {LINES}"
        for file, lines in counted
        if lines > LINES
    ]


def code_files(root: Path) -> set[Path]:
    """Returns the files of code and tests, tracked by Git or new."""
    pathspecs = [*CODE, *(f":(exclude){path}" for path in EXCLUDED)]
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *pathspecs]
    names = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.split("\0")
    return {root / name for name in names if (root / name).is_file()}


def check(root: Path) -> list[str]:
    """Checks every target of the workspace; returns what is wrong."""
    metadata = ["cargo", "metadata", "--no-deps", "--offline", "--format-version", "1"]
    packages = json.loads(subprocess.run(metadata, cwd=root, check=True, capture_output=True, text=True).stdout)[
        "packages"
    ]
    faults: list[str] = []
    for package in packages:
        for target in package["targets"]:
            if "custom-build" in target["kind"]:
                continue
            crate = read(Path(target["src_path"]).resolve())
            graph = crate.imports()
            routes = crate.root.parent / "routes"
            if package["name"] == "api" and "lib" in target["kind"]:
                faults += siblings(graph, routes)
            faults += ["a loop of imports: " + " → ".join(map(str, loop)) for loop in loops(graph)]
            if package["name"] == "domain" and "lib" in target["kind"]:
                faults += downward(crate, layers(crate.root.read_text()))
    faults += long_files(code_files(root))
    return [fault.replace(f"{root}/", "") for fault in faults]
