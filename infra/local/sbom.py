"""The software bill of materials of a package (CycloneDX), and the licences of what is in its binaries.

Cargo says which crates are compiled into the functions: those that `cargo build` resolves for their processors, without
build dependencies, procedural macros and the dependencies of tests. The console's libraries come from npm."""

from __future__ import annotations

import base64
import json
import re
import tomllib
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from reproducible import PROCESSORS, commit_time, output

# A line of `cargo tree`: the depth, the name and the version of a crate.
TREE = re.compile(r"(\d+)(\S+) v(\S+)")
CONSOLE = Path("functions") / "api" / "console" / "vendor"
LICENSE_FILE = re.compile(r"(?i)(licen[cs]e|copying|copyright|notice|unlicense).*")


@dataclass(frozen=True, order=True)
class Crate:
    """A package that Cargo compiles."""

    name: str
    version: str


@dataclass
class Graph:
    """What the functions consist of: each crate with those that it calls, and the crates of the functions."""

    crates: dict[Crate, set[Crate]] = field(default_factory=dict)
    functions: set[Crate] = field(default_factory=set)

    def add(self, tree: str) -> None:
        """Adds what `cargo tree --prefix depth` printed. It prints the dependencies of a crate once."""
        path: list[Crate] = []
        for line in filter(None, tree.splitlines()):
            found = TREE.match(line)
            if not found:
                raise ValueError(f"cargo tree printed {line}")
            depth, crate = int(found[1]), Crate(found[2], found[3])
            path = [*path[:depth], crate]
            self.crates.setdefault(crate, set())
            if depth == 0:
                self.functions.add(crate)
            else:
                self.crates[path[-2]].add(crate)


def read_graph(checkout: Path) -> Graph:
    """Asks Cargo what it compiles into the functions, for each processor."""
    graph = Graph()
    for triple, _ in PROCESSORS.values():
        tree = ["cargo", "tree", "--locked", "--edges", "normal,no-proc-macro", "--target", triple]
        graph.add(output(checkout, *tree, "--prefix", "depth", "--format", "{p}"))
    return graph


def write_sbom(checkout: Path, version: str, commit: str, file: Path) -> None:
    """Writes the bill. Its time is that of the commit and its serial number derives from version and commit, so that
    the same commit gives the same file."""
    graph, metadata = read_graph(checkout), read_metadata(checkout)
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"pkg:generic/dynahook@{version}+{commit}"))
    bom.metadata.timestamp = datetime.fromtimestamp(int(commit_time(checkout)), UTC)
    whole = Component(
        name="dynahook", version=f"{version}+{commit}", type=ComponentType.APPLICATION, bom_ref="dynahook"
    )
    whole.licenses.add(license_of(metadata[min(graph.functions)]["license"]))
    bom.metadata.component = whole
    sums = checksums((checkout / "Cargo.lock").read_text())
    components = {crate: component(crate, metadata[crate], sums.get(crate)) for crate in sorted(graph.crates)}
    for crate, one in components.items():
        bom.components.add(one)
        bom.register_dependency(one, [components[other] for other in sorted(graph.crates[crate])])
    rust = rust_library(output(checkout, "rustc", "--version"))
    console = console_libraries(json.loads((checkout / CONSOLE / "package-lock.json").read_text()))
    for one in (rust, *console):
        bom.components.add(one)
    bom.register_dependency(whole, [rust, *(components[crate] for crate in sorted(graph.functions))])
    api = next(crate for crate in graph.functions if crate.name == "api")
    bom.register_dependency(components[api], console)
    file.write_text(JsonV1Dot6(bom).output_as_string(indent=2) + "\n")


def read_metadata(checkout: Path) -> dict[Crate, dict]:
    """Returns what the manifests of all packages say."""
    listed = json.loads(output(checkout, "cargo", "metadata", "--locked", "--format-version", "1"))["packages"]
    return {Crate(one["name"], one["version"]): one for one in listed}


def checksums(lock: str) -> dict[Crate, str]:
    """Returns the hashes of Cargo.lock; crates of the workspace have none."""
    listed = tomllib.loads(lock)["package"]
    return {Crate(one["name"], one["version"]): one["checksum"] for one in listed if "checksum" in one}


def component(crate: Crate, manifest: dict, checksum: str | None) -> Component:
    """Returns a crate in the form of CycloneDX. Crates of the workspace are not on crates.io, so they have no package
    URL there."""
    one = Component(name=crate.name, version=crate.version, type=ComponentType.LIBRARY)
    one.bom_ref.value = f"cargo:{crate.name}@{crate.version}"
    if checksum:
        one.purl = PackageURL("cargo", name=crate.name, version=crate.version)
        one.hashes.add(HashType(alg=HashAlgorithm.SHA_256, content=checksum))
    if manifest["license"]:
        one.licenses.add(license_of(manifest["license"]))
    if repository := manifest["repository"]:
        one.external_references.add(ExternalReference(type=ExternalReferenceType.VCS, url=XsUri(repository)))
    return one


def license_of(expression: str):
    """Returns a licence expression; older crates write a slash for OR."""
    return LicenseFactory().make_with_expression(expression.replace("/", " OR "))


def rust_library(version: str) -> Component:
    """Returns Rust's standard library, from the version that rustc prints: `rustc 1.95.0 (…)`."""
    number = version.split()[1]
    one = Component(name="rust-std", version=number, type=ComponentType.LIBRARY, bom_ref=f"rust-std@{number}")
    one.purl = PackageURL("github", "rust-lang", "rust", version=number)
    one.licenses.add(license_of("MIT OR Apache-2.0"))
    return one


def console_libraries(lock: dict) -> list[Component]:
    """Returns the console's libraries from npm's lock file. Of the packages that they depend on, nothing is copied."""
    found = []
    for name in sorted(lock["packages"][""]["dependencies"]):
        package = lock["packages"][f"node_modules/{name}"]
        version = package["version"]
        namespace, _, rest = name.rpartition("/")
        one = Component(name=name, version=version, type=ComponentType.LIBRARY, bom_ref=f"npm:{name}@{version}")
        one.purl = PackageURL("npm", namespace or None, rest, version=version)
        digest = base64.b64decode(package["integrity"].removeprefix("sha512-")).hex()
        one.hashes.add(HashType(alg=HashAlgorithm.SHA_512, content=digest))
        one.licenses.add(license_of(package["license"]))
        found.append(one)
    return found


def write_licenses(checkout: Path, file: Path) -> None:
    """Writes the licence files of all crates, each text once, after the names of the crates that have it."""
    graph, metadata = read_graph(checkout), read_metadata(checkout)
    texts: dict[str, list[str]] = {}
    for crate in sorted(graph.crates):
        folder = Path(metadata[crate]["manifest_path"]).parent
        if folder.is_relative_to(checkout):
            folder = checkout
        title = f"{crate.name} {crate.version} ({metadata[crate]['license'] or 'see its text'})"
        own = sorted(path for path in folder.iterdir() if path.is_file() and LICENSE_FILE.fullmatch(path.name))
        # Some crates name their licence and have no file of it.
        found = [path.read_text(errors="replace").strip() for path in own] or ["(the crate has no licence file)"]
        for text in found:
            texts.setdefault(text, []).append(title)
    parts = ["\n".join(dict.fromkeys(titles)) + f"\n\n{text}\n" for text, titles in texts.items()]
    parts.append("The console's libraries\n\n" + (checkout / CONSOLE / "LICENSES.txt").read_text())
    file.write_text(f"\n{'=' * 120}\n\n".join(parts))
