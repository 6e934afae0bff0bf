"""Builds the functions so that the same commit gives the same bytes on every machine, and packs them likewise.

rustc and the C compiler write paths of the machine into binaries, for messages of panics and assertions. Here each such
path gets a name that is the same everywhere."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import zipfile
from pathlib import Path

from common import StackError, run

# Rust's names for the processors, and the options of cargo-lambda.
PROCESSORS = {
    "arm64": ("aarch64-unknown-linux-gnu", "--arm64"),
    "x86_64": ("x86_64-unknown-linux-gnu", "--x86-64"),
}

# Variables that would change what compilers do, or where Cargo writes.
UNWANTED = ("CFLAGS", "CPPFLAGS", "CXXFLAGS", "LDFLAGS", "RUSTFLAGS")

# The time of every file in an archive: the first that a zip can hold. A commit's own time would change archives whose
# content is the same.
EARLIEST = (1980, 1, 1, 0, 0, 0)


def compile_functions(checkout: Path, target: Path, processor: str, log: Path) -> Path:
    """Compiles all functions of a checkout for a processor; returns the folder with `<binary>/bootstrap`."""
    _, option = PROCESSORS[processor]
    names = path_names(checkout, target)
    rustflags = ",".join(f'"--remap-path-prefix={path}={name}"' for path, name in names)
    folder = target / "lambda" / processor
    command = ["cargo", "lambda", "build", "--release", "--locked", option, "--lambda-dir", str(folder)]
    command += ["--manifest-path", str(checkout / "Cargo.toml"), "--config", f"build.rustflags=[{rustflags}]"]
    environment = {
        "CARGO_TARGET_DIR": str(target),
        "CARGO_INCREMENTAL": "0",
        # For C code of dependencies; the compiler takes the last one that fits, as rustc does.
        "CFLAGS": " ".join(f"-ffile-prefix-map={path}={name}" for path, name in names),
        "SOURCE_DATE_EPOCH": commit_time(checkout),
        "TZ": "UTC",
        "LC_ALL": "C.UTF-8",
    }
    unwanted = [name for name in os.environ if name.endswith(UNWANTED)]
    run(command, f"cargo lambda build for {processor}", log, environment, folder=checkout, without=unwanted)
    commit = commit_of(checkout)
    for binary in sorted(folder.glob("*/bootstrap")):
        check_paths(binary, [path for path, _ in names])
        check_commit(binary, commit)
    return folder


def path_names(checkout: Path, target: Path) -> list[tuple[str, str]]:
    """Returns the machine's paths and what they are called in a binary, the most special last."""
    home = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")
    # Each registry has a folder whose name depends on its address, so it differs where a mirror is used.
    subprocess.run(["cargo", "fetch", "--locked", "--quiet"], cwd=checkout, check=True)
    registries = sorted((home / "registry" / "src").iterdir())
    rust = output(checkout, "rustc", "--version", "--verbose")
    commit = next(line.split()[1] for line in rust.splitlines() if line.startswith("commit-hash"))
    # If the component rust-src is installed, rustc writes its path instead of /rustc/….
    library = Path(output(checkout, "rustc", "--print", "sysroot")) / "lib" / "rustlib" / "src" / "rust"
    rustup = Path(os.environ.get("RUSTUP_HOME") or Path.home() / ".rustup")
    names = [(home, "/cargo"), *((registry, "/cargo/registry") for registry in registries)]
    names += [(rustup, "/rustup"), (library, f"/rustc/{commit}"), (checkout, "/dynahook"), (target, "/target")]
    for path, _ in names:
        if set(' "\\=') & set(str(path)):
            raise StackError(f"{path} has a space, a quote, = or \\ in its name, which compilers' options cannot hold")
    return [(str(path), name) for path, name in outer_first(names)]


def outer_first(names: list[tuple[Path, str]]) -> list[tuple[Path, str]]:
    """Returns the paths with each folder before what is in it: compilers take the last one that fits. Cargo's home may
    be in the checkout, and the checkout in the home."""
    return sorted(names, key=lambda entry: len(entry[0].parts))


def check_paths(binary: Path, paths: list[str]) -> None:
    """Raises an error if a path of this machine is in a binary, which is then different elsewhere."""
    content = binary.read_bytes()
    if found := [path for path in paths if path.encode() in content]:
        raise StackError(f"{binary} contains {', '.join(found)}, so it cannot be reproduced on another machine")


def check_commit(binary: Path, commit: str) -> None:
    """Raises an error if a binary names another commit. Cargo compiles the version again after a commit, but not after
    changes are taken back, so a binary in `target` may still say that it has some."""
    content = binary.read_bytes()
    if commit.encode() not in content or f"{commit}-modified".encode() in content:
        raise StackError(
            f"{binary} does not say that it was built from {commit}: run touch functions/*/src/main.rs, then again"
        )


def commit_of(checkout: Path) -> str:
    """Returns the commit as the functions name it, in the macro `version` of shared/runtime."""
    return output(checkout, "git", "describe", "--always", "--exclude=*", "--abbrev=12")


def commit_time(checkout: Path) -> str:
    """Returns the time of the commit in seconds since 1970."""
    return output(checkout, "git", "log", "-1", "--format=%ct")


def output(folder: Path, *command: str) -> str:
    """Returns what a command prints."""
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def write_zip(binary: Path, archive: Path) -> None:
    """Writes the archive of a function: one executable file, without the time, the owner and the system of the
    machine."""
    entry = zipfile.ZipInfo("bootstrap", EARLIEST)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system = 3  # Unix, or Lambda would not see the mode
    entry.external_attr = (stat.S_IFREG | 0o755) << 16
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(entry, binary.read_bytes(), compresslevel=9)


def write_sums(folder: Path) -> None:
    """Writes SHA256SUMS of all files of a folder, which `sha256sum --check` reads."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder)}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(lines))
