"""Builds the functions: soon and for this machine, which is what the local stack runs, or with `sam build`, which is
what AWS gets."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common import LOCAL, REGION, ROOT, StackError, run, step
from main import build_command
from samcli.yamlhelper import yaml_dump, yaml_parse
from tokens import AUDIENCE, ISSUER

TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")

# What `sam build` makes for AWS, and what is made for the local stack: `<logical id>/bootstrap` for each function.
SAM_BUILD = ROOT / ".aws-sam" / "build"
BUILD = LOCAL / "build"
PACKED = LOCAL / "packed"

# Cargo's settings of a `sam build` whose functions are only started. The release profile takes several times as long.
# No variable changes what it says of single crates, so rustc gets the level once more, and the last one counts.
UNOPTIMIZED = {
    "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16",
    "CARGO_PROFILE_RELEASE_LTO": "off",
    "CARGO_PROFILE_RELEASE_OPT_LEVEL": "0",
    "RUSTFLAGS": "-C opt-level=0",
}
ARCHITECTURES = {"x86_64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}


def build(profile: str) -> Path:
    """Builds the functions for the local stack and returns a template like infra/template.yaml that has their code.

    One call of Cargo builds all functions; `sam build` calls it once for each, for the release profile. Cargo decides
    what has to be done. The profile is `local`, which is compiled soonest, or `dev`, which has much in common with the
    tests."""
    folder = TARGET / ("debug" if profile == "dev" else profile)
    compiled = LOCAL / "build.log"
    step("building the functions" + ("" if (folder / "sweep").exists() else " (the first time takes some minutes)"))
    run(
        build_command(profile),
        "cargo build",
        compiled,
        {},
        lambda: f"{compiled.read_text().count(' Compiling ')} crates compiled",
    )
    template = yaml_parse((ROOT / "infra" / "template.yaml").read_text())
    binaries = {name: function["Metadata"]["BuildProperties"]["Binary"] for name, function in functions(template)}
    with ThreadPoolExecutor() as threads:
        list(threads.map(lambda binary: pack(folder / binary), set(binaries.values())))
    for name, binary in binaries.items():
        install(PACKED / binary / "bootstrap", BUILD / name / "bootstrap")
        template["Resources"][name]["Properties"]["CodeUri"] = str(PACKED / binary / "bootstrap.zip")
    lacking = [name for name, one in template["Resources"].items() if is_lacking(one)]
    for name in lacking:
        del template["Resources"][name]
    _, variables = template["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    widget = variables["Alarms"]["Fn::If"][1]
    widget["Fn::Sub"] = re.sub(rf'"\$\{{({"|".join(lacking)})\.Arn\}}",\s*', "", widget["Fn::Sub"])
    file = BUILD / "template.yaml"
    file.write_text(yaml_dump(template))
    return file


def is_lacking(resource: dict) -> bool:
    """Says whether the emulator cannot create a resource: saved queries, and alarms that compute. Nothing refers to
    them but the dashboard, which names alarms by their ARNs."""
    computes = resource["Type"] == "AWS::CloudWatch::Alarm" and "Metrics" in resource["Properties"]
    return computes or resource["Type"] == "AWS::Logs::QueryDefinition"


def functions(template: dict) -> Iterator[tuple[str, dict]]:
    """Returns the functions that Cargo builds, by their logical ids."""
    for name, resource in template["Resources"].items():
        if resource.get("Metadata", {}).get("BuildMethod") == "rust-cargolambda":
            yield name, resource


def pack(built: Path) -> None:
    """Makes the archive of a binary that is new. Debug information, half of the binary, would be uploaded in vain."""
    folder = PACKED / built.name
    stripped, archive, mark = folder / "bootstrap", folder / "bootstrap.zip", folder / "made-of"
    made_of = f"{built} {built.stat().st_mtime_ns}"
    if mark.exists() and mark.read_text() == made_of:
        return
    stripped.parent.mkdir(parents=True, exist_ok=True)
    stripped.unlink(missing_ok=True)
    if strip := shutil.which("strip"):
        subprocess.run([strip, "-o", str(stripped), str(built)], check=True)
    else:
        shutil.copy2(built, stripped)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.write(stripped, "bootstrap")
    mark.write_text(made_of)


def install(packed: Path, file: Path) -> None:
    """Puts a binary where a test finds that of a function."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    file.hardlink_to(packed)


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
