"""`make package`: the functions, the template, the bill of materials and the licences, for a deployment without Rust.

`TWICE=1` builds the commit in two new checkouts and compares every byte."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import tomllib
import zlib
from pathlib import Path

from build import TARGET
from common import LOCAL, ROOT, StackError, step
from expand import write_template
from reproducible import PROCESSORS, commit_of, compile_functions, output, write_sums, write_zip
from sbom import write_licenses, write_sbom

README = """# {name}

What one deployment of Dynahook {version}, commit {commit}, consists of. It needs no Rust.

- `template.yaml`: the stack. `source.yaml`: attaches a table to it.
- `arm64`, `x86_64`: the functions' code.
- `sbom.cdx.json`: what the code consists of (CycloneDX 1.6). `LICENSES.txt`: the licences of that.
- `SHA256SUMS`: `sha256sum --check SHA256SUMS` verifies all other files.

Copy this folder into a bucket in the stack's region and deploy:

    aws s3 cp --recursive . s3://BUCKET/{name}
    aws cloudformation deploy --stack-name dynahook --template-file template.yaml --s3-bucket BUCKET \\
      --capabilities CAPABILITY_IAM --parameter-overrides CodeBucket=BUCKET \\
      JwtIssuer=https://login.example.com JwtAudience=dynahook JwksUrl=https://login.example.com/jwks.json

docs/use/deploy.md of the commit describes this, Terraform and CDK, parameters and updates.
"""


def package() -> int:
    """Makes the package of the commit that is checked out."""
    check_compression()
    twice = os.environ.get("TWICE", "") not in ("", "0")
    if changed := output(ROOT, "git", "status", "--porcelain", "--untracked-files=no"):
        raise StackError(f"a package is made of a commit; commit these changes first, or stash them:\n{changed}")
    folder = make_twice() if twice else make(ROOT, TARGET.absolute(), TARGET / "package")
    print(f"\n{folder}")
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            print(f"{file.stat().st_size / 1e6:8.2f} MB  {file.relative_to(folder)}")
    return 0


def check_compression() -> None:
    """zlib-ng, which replaces zlib in some Pythons, finds other matches, so its archives have other bytes."""
    if "ng" in zlib.ZLIB_RUNTIME_VERSION:
        raise StackError(
            f"this Python compresses with zlib {zlib.ZLIB_RUNTIME_VERSION}, whose archives differ from those of other "
            "machines: run make package with a Python that has the original zlib, such as Debian's or Ubuntu's"
        )


def make(checkout: Path, target: Path, parent: Path) -> Path:
    """Builds and packs the commit of a checkout; returns the package's folder."""
    name, version, commit = name_of(checkout)
    folder = parent / name
    shutil.rmtree(folder, ignore_errors=True)
    for processor in PROCESSORS:
        step(f"building the functions for {processor} in {checkout}")
        started = time.monotonic()
        built = compile_functions(checkout, target, processor, LOCAL / f"package-{processor}.log")
        print(f"  built in {time.monotonic() - started:.0f} s", flush=True)
        for binary in sorted(built.glob("*/bootstrap")):
            write_zip(binary, folder / processor / f"{binary.parent.name}.zip")
    step("writing the template, the bill of materials and the licences")
    write_template(checkout / "infra" / "template.yaml", name, folder / "template.yaml")
    shutil.copyfile(checkout / "infra" / "source.yaml", folder / "source.yaml")
    write_sbom(checkout, version, commit, folder / "sbom.cdx.json")
    write_licenses(checkout, folder / "LICENSES.txt")
    (folder / "README.md").write_text(README.format(name=name, version=version, commit=commit))
    write_sums(folder)
    return folder


def name_of(checkout: Path) -> tuple[str, str, str]:
    """Returns the name of a checkout's package, its version, and the commit as the functions name it."""
    version = tomllib.loads((checkout / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    commit = commit_of(checkout)
    return f"dynahook-{version}-{commit}", version, commit


def make_twice() -> Path:
    """Builds the commit in two new checkouts, each with a target directory of its own, and compares the packages.
    Returns the first one, moved to where a package is expected."""
    scratch = LOCAL / "package"
    shutil.rmtree(scratch, ignore_errors=True)
    made = []
    # Names of different lengths, because a path may also move what follows it.
    for name in ("first", "the-second-checkout"):
        checkout = scratch / name
        subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(checkout)], check=True)
        head = output(ROOT, "git", "rev-parse", "HEAD")
        subprocess.run(["git", "checkout", "--quiet", "--detach", head], cwd=checkout, check=True)
        made.append(make(checkout, checkout / "target", scratch / f"{name}-package"))
        # Some gigabytes, which the next build needs.
        shutil.rmtree(checkout)
    first, second = made
    if different := differences(first, second):
        raise StackError(f"two builds of this commit differ in {', '.join(different)}; {scratch} has both")
    print(f"two builds of {first.name} are equal in all {len(files(first))} files", flush=True)
    folder = TARGET / "package" / first.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(first, folder)
    shutil.rmtree(scratch)
    return folder


def differences(first: Path, second: Path) -> list[str]:
    """Returns the files that only one folder has, or whose bytes differ."""
    ours, theirs = files(first), files(second)
    return sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))


def files(folder: Path) -> dict[str, bytes]:
    """Returns the content of all files of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
