"""Tests of what `make package` makes: archives, hashes and the whole package. That two builds are equal is shown by
`make package TWICE=1`."""

from __future__ import annotations

import os
import stat
import subprocess
import unittest
import zipfile
import zlib
from pathlib import Path
from unittest import mock

import package
import reproducible
from common import ROOT, StackError
from folder import Folder


class Archives(Folder):
    """The zips and SHA256SUMS."""

    def test_an_archive_depends_on_the_content_alone(self) -> None:
        archives = []
        for number, (mode, at) in enumerate(((0o700, 1_000_000_000), (0o644, 1_700_000_000))):
            binary, archive = self.folder / f"{number}" / "built", self.folder / f"{number}" / "a" / "function.zip"
            binary.parent.mkdir()
            binary.write_bytes(b"\x7fELF" * 10_000)
            binary.chmod(mode)
            os.utime(binary, (at, at))
            reproducible.write_zip(binary, archive)
            archives.append(archive)
        self.assertEqual(archives[0].read_bytes(), archives[1].read_bytes())
        with zipfile.ZipFile(archives[0]) as file:
            (entry,) = file.infolist()
            self.assertEqual((entry.filename, file.read(entry)), ("bootstrap", b"\x7fELF" * 10_000))
        # Lambda starts the file, so it must be executable.
        self.assertEqual(entry.external_attr >> 16, stat.S_IFREG | 0o755)
        self.assertEqual(entry.compress_type, zipfile.ZIP_DEFLATED)

    def test_sha256sum_verifies_every_file(self) -> None:
        (self.folder / "arm64").mkdir()
        for name in ("arm64/api.zip", "template.yaml", "arm64/sweep.zip"):
            (self.folder / name).write_text(name)
        reproducible.write_sums(self.folder)
        command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
        said = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=True).stdout
        self.assertEqual(said, "arm64/api.zip: OK\narm64/sweep.zip: OK\ntemplate.yaml: OK\n")
        (self.folder / "template.yaml").write_text("changed")
        self.assertNotEqual(subprocess.run(command, cwd=self.folder, capture_output=True, check=False).returncode, 0)

    def test_a_path_of_the_machine_in_a_binary_is_an_error(self) -> None:
        binary = self.folder / "bootstrap"
        binary.write_bytes(b"\0/cargo/registry/tokio-1.0.0/src/lib.rs\0")
        reproducible.check_paths(binary, ["/home/me/.cargo"])
        binary.write_bytes(b"\0/home/me/.cargo/registry/tokio-1.0.0/src/lib.rs\0")
        with self.assertRaisesRegex(StackError, "contains /home/me/.cargo"):
            reproducible.check_paths(binary, ["/home/me/.cargo", "/elsewhere"])

    def test_a_binary_of_another_commit_or_of_changes_is_an_error(self) -> None:
        binary = self.folder / "bootstrap"
        for version, accepted in (("0123456789ab", True), ("0123456789ab-modified", False), ("ba9876543210", False)):
            with self.subTest(version=version):
                binary.write_bytes(f"\0version{version}tokio\0".encode())
                if accepted:
                    reproducible.check_commit(binary, "0123456789ab")
                else:
                    with self.assertRaisesRegex(StackError, "touch functions"):
                        reproducible.check_commit(binary, "0123456789ab")

    def test_rustc_and_cargo_get_a_name_for_each_path_of_the_machine(self) -> None:
        names = dict(reproducible.path_names(ROOT, ROOT / "target"))
        self.assertEqual(names[str(ROOT)], "/dynahook")
        self.assertIn("/cargo/registry", names.values())
        paths = list(names)
        for outer in paths:
            for inner in paths[: paths.index(outer)]:
                self.assertFalse(Path(outer) in Path(inner).parents, f"{outer} hides {inner}")

    def test_a_folder_is_named_before_what_is_in_it(self) -> None:
        checkout, home, registry = Path("/a/b"), Path("/a/b/.local/cargo"), Path("/a/b/.local/cargo/registry")
        for paths in ([checkout, home, registry], [registry, checkout, home], [home, registry, checkout]):
            names = reproducible.outer_first([(path, path.name) for path in paths])
            self.assertEqual([path for path, _ in names], [checkout, home, registry])

    def test_a_difference_of_two_packages_is_found(self) -> None:
        for name in ("first", "second"):
            (self.folder / name / "arm64").mkdir(parents=True)
            (self.folder / name / "arm64" / "api.zip").write_bytes(b"same")
            (self.folder / name / "template.yaml").write_text(name)
        (self.folder / "second" / "new").write_text("")
        different = package.differences(self.folder / "first", self.folder / "second")
        self.assertEqual(different, ["new", "template.yaml"])

    def test_another_zlib_is_refused(self) -> None:
        with mock.patch.object(zlib, "ZLIB_RUNTIME_VERSION", "1.3.1.zlib-ng"), self.assertRaises(StackError):
            package.check_compression()


class Command(Folder):
    """`make package` without compilers: instead of them, a test says what is in the binaries."""

    def setUp(self) -> None:
        super().setUp()
        for name, value in (("LOCAL", self.folder / "local"), ("TARGET", self.folder / "target")):
            self.replace(name, value)

    def replace(self, name: str, value: object) -> None:
        """Replaces a name of the module until the test ends."""
        patch = mock.patch.object(package, name, value)
        patch.start()
        self.addCleanup(patch.stop)

    def compile(self, checkout: Path, target: Path, processor: str, log: Path) -> Path:
        """Makes two binaries that differ between processors."""
        for name in ("api", "sweep"):
            binary = target / "lambda" / processor / name / "bootstrap"
            binary.parent.mkdir(parents=True, exist_ok=True)
            binary.write_text(f"{name} {processor}")
        return target / "lambda" / processor

    def test_a_package_has_all_files_and_their_hashes(self) -> None:
        self.replace("compile_functions", self.compile)
        folder = package.make(ROOT, self.folder / "target", self.folder / "made")
        name, version, commit = package.name_of(ROOT)
        self.assertEqual((folder.name, name), (name, f"dynahook-{version}-{commit}"))
        zips = {f"{processor}/{function}.zip" for processor in ("arm64", "x86_64") for function in ("api", "sweep")}
        texts = {"LICENSES.txt", "README.md", "SHA256SUMS", "sbom.cdx.json", "source.yaml", "template.yaml"}
        self.assertEqual(package.files(folder).keys(), zips | texts)
        with zipfile.ZipFile(folder / "x86_64" / "sweep.zip") as file:
            self.assertEqual(file.read("bootstrap"), b"sweep x86_64")
        self.assertIn(f"{name}/${{Architecture}}/", (folder / "template.yaml").read_text())
        self.assertIn(f"s3://BUCKET/{name}", (folder / "README.md").read_text())
        command = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
        self.assertEqual(subprocess.run(command, cwd=folder, check=False).returncode, 0)

    def test_two_equal_builds_are_one_package(self) -> None:
        self.replace("compile_functions", self.compile)
        self.without_bill()
        folder = package.make_twice()
        self.assertEqual(folder, self.folder / "target" / "package" / package.name_of(ROOT)[0])
        self.assertIn("arm64/api.zip", package.files(folder))
        self.assertFalse((self.folder / "local" / "package").exists())

    def test_a_build_that_contains_its_folder_is_noticed(self) -> None:
        def compile_with_path(checkout: Path, target: Path, processor: str, log: Path) -> Path:
            built = self.compile(checkout, target, processor, log)
            if processor == "x86_64":
                (built / "api" / "bootstrap").write_text(f"{checkout}")
            return built

        self.replace("compile_functions", compile_with_path)
        self.without_bill()
        with self.assertRaisesRegex(StackError, r"differ in SHA256SUMS, x86_64/api\.zip;"):
            package.make_twice()

    def without_bill(self) -> None:
        """Leaves out what takes seconds and has a test of its own."""
        self.replace("write_sbom", lambda *_: None)
        self.replace("write_licenses", lambda *_: None)


if __name__ == "__main__":
    unittest.main()
