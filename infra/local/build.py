"""Builds the functions: soon and for this machine, which is what the local stack runs, or with `sam build`, which is
what AWS gets."""

from __future__ import annotations

import os
import platform
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

from common import LOCAL, REGION, ROOT, StackError, run, step
from samcli.yamlhelper import yaml_dump, yaml_parse
from tokens import AUDIENCE, ISSUER

TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")

# What `sam build` makes for AWS, and what is made for the local stack: `<logical id>/bootstrap` for each function.
SAM_BUILD = ROOT / ".aws-sam" / "build"
BUILD = LOCAL / "build"

# Cargo's settings of a `sam build` whose functions are only started. The release profile takes several times as long.
UNOPTIMIZED = {
    "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "256",
    "CARGO_PROFILE_RELEASE_LTO": "off",
    "CARGO_PROFILE_RELEASE_OPT_LEVEL": "0",
}
ARCHITECTURES = {"x86_64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}


def build() -> Path:
    """Builds the functions for the local stack and returns a template like infra/template.yaml that has their code.

    One call of Cargo builds all functions in the dev profile; `sam build` calls it once for each, for the release
    profile. Cargo decides what has to be done."""
    compiled = LOCAL / "build.log"
    step(
        "building the functions"
        + ("" if (TARGET / "debug" / "sweep").exists() else " (the first time takes some minutes)")
    )
    command = ["cargo", "build", "--locked", "--bins"]
    run(command, "cargo build", compiled, {}, lambda: f"{compiled.read_text().count(' Compiling ')} crates compiled")
    template = yaml_parse((ROOT / "infra" / "template.yaml").read_text())
    for name, function in functions(template):
        binary = function["Metadata"]["BuildProperties"]["Binary"]
        install(TARGET / "debug" / binary, BUILD / name / "bootstrap")
        function["Properties"]["CodeUri"] = pack(binary).name
    file = BUILD / "template.yaml"
    file.write_text(yaml_dump(template))
    return file


def functions(template: dict) -> Iterator[tuple[str, dict]]:
    """Returns the functions that Cargo builds, by their logical ids."""
    for name, resource in template["Resources"].items():
        if resource.get("Metadata", {}).get("BuildMethod") == "rust-cargolambda":
            yield name, resource


def install(built: Path, file: Path) -> None:
    """Puts a binary where it is started from, unless it is there. The next build does not write into a link, but
    replaces its own."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists() and file.samefile(built):
        return
    file.unlink(missing_ok=True)
    try:
        file.hardlink_to(built)
    except OSError:
        shutil.copy2(built, file)


def pack(binary: str) -> Path:
    """Returns a binary's archive, made when the binary changes. It does not travel far: compressing it would take
    longer than it saves."""
    built, archive = TARGET / "debug" / binary, BUILD / f"{binary}.zip"
    if not archive.exists() or archive.stat().st_mtime < built.stat().st_mtime:
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
            file.write(built, "bootstrap")
    return archive


def sam_build(
    processor: str | None = None, folder: Path = SAM_BUILD, environment: dict[str, str] | None = None
) -> None:
    """Builds the functions as they are deployed, by default for this machine; `environment` changes Cargo's
    settings."""
    processor = processor or architecture()
    parameters = overrides({"Architecture": processor, "JwtIssuer": ISSUER, "JwtAudience": AUDIENCE})
    environment = {"AWS_DEFAULT_REGION": REGION, **(environment or {})}
    # SAM calls Cargo for each function, which builds what that one needs; this call builds for all at once, and leaves
    # SAM's nothing to do.
    step(f"building the functions for {processor} with cargo lambda build")
    log = LOCAL / f"build-{processor}.log"
    at_once = ["cargo", "lambda", "build", "--release", *(["--arm64"] if processor == "arm64" else [])]
    run(at_once, "cargo lambda build", log, environment)
    step(f"building the functions for {processor} with sam build")
    command = [
        "sam",
        "build",
        "--config-env",
        "local",
        "--build-dir",
        str(folder),
        "--parameter-overrides",
        *parameters,
    ]
    run(command, "sam build", LOCAL / f"sam-build-{processor}.log", environment)


def overrides(parameters: dict[str, str]) -> list[str]:
    """Returns template parameters as SAM reads them."""
    escaped = {key: value.replace('"', '\\"') for key, value in parameters.items()}
    return [f'ParameterKey={key},ParameterValue="{value}"' for key, value in escaped.items()]


def architecture() -> str:
    """Returns this machine's architecture: the emulator runs the binaries as they are."""
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        raise StackError(f"the functions cannot be built for a {machine} machine")
    return ARCHITECTURES[machine]
