"""`make vendor`: copies the libraries of the pages in functions/api/console from npm.

npm verifies each package against the hash in `package-lock.json`. Those that are modules are joined into one without
bare specifiers, so that a page can load it without an import map, which a strict Content-Security-Policy forbids. The
manifest has the hash of each copy, and `make lint` compares them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from pathlib import Path

from common import ROOT, StackError, step
from node import installed

VENDOR = ROOT / "functions" / "api" / "console" / "vendor"
MANIFEST = VENDOR / "manifest.json"

# The modules that are joined into `vendor.js`, each after those that it imports, and the names that the console uses.
MODULES = {
    "preact": ("preact/dist/preact.mjs", ("h", "render", "Component", "Fragment")),
    "preact/hooks": ("preact/hooks/dist/hooks.mjs", ("useEffect", "useLayoutEffect", "useRef", "useState", "useMemo")),
    "@preact/signals-core": ("@preact/signals-core/dist/signals-core.mjs", ("signal", "computed", "effect", "batch")),
    "@preact/signals": ("@preact/signals/dist/signals.mjs", ("useSignal", "useComputed")),
    "htm": ("htm/dist/htm.mjs", ()),
}

# What is copied of Swagger UI: the least that shows a contract.
SWAGGER_UI = ("swagger-ui-bundle.js", "swagger-ui.css")

# The packages, and the files of theirs that have their licences.
LICENSED = ("@preact/signals", "@preact/signals-core", "htm", "preact", "swagger-ui-dist", "uplot")
LICENSES = ("LICENSE", "NOTICE", "swagger-ui-bundle.js.LICENSE.txt")

# The statements of a minified module.
IMPORT = re.compile(r'import\{([^}]*)\}from"([^"]+)";?')
EXPORT_FROM = re.compile(r'export\{([^}]*)\}from"([^"]+)";?')
EXPORT = re.compile(r"export\{([^}]*)\};?")
SOURCE_MAP = re.compile(r"//# sourceMappingURL=\S+\s*$")


def vendor() -> int:
    """Writes the copies and their manifest."""
    step("installing the pinned packages of the console")
    modules = installed(VENDOR, "vendor") / "node_modules"
    for file in VENDOR.iterdir():
        if file.name not in ("package.json", "package-lock.json"):
            file.unlink()
    (VENDOR / "vendor.js").write_text(joined(modules))
    plot = (modules / "uplot" / "dist" / "uPlot.iife.min.js").read_text()
    (VENDOR / "uplot.js").write_text(f"{plot.rstrip()}\nexport default uPlot;\n")
    shutil.copy(modules / "uplot" / "dist" / "uPlot.min.css", VENDOR / "uplot.css")
    for name in SWAGGER_UI:
        shutil.copy(modules / "swagger-ui-dist" / name, VENDOR)
    (VENDOR / "LICENSES.txt").write_text("\n".join(license_of(modules, name) for name in LICENSED))
    MANIFEST.write_text(json.dumps(hashes(), indent=2) + "\n")
    print(f"{len(hashes())} files are in {VENDOR.relative_to(ROOT)}")
    return 0


def joined(modules: Path) -> str:
    """Returns all modules as one. Each is a function that returns what it exports, because minified names collide."""
    parts = ["// Written by `make vendor`. Do not edit; LICENSES.txt has the licences."]
    variables: dict[str, str] = {}
    for name, (path, used) in MODULES.items():
        package = name if name.startswith("@") else name.partition("/")[0]
        version = json.loads((modules / package / "package.json").read_text())["version"]
        variables[name] = re.sub(r"\W+(\w)", lambda match: match[1].upper(), name.lstrip("@")) + "Module"
        parts.append(f"\n// {name} {version}")
        parts.append(f"const {variables[name]} = {wrapped(name, (modules / path).read_text(), variables)};")
        if used:
            parts.append(f"export const {{ {', '.join(used)} }} = {variables[name]};")
    parts.append(f"export const html = {variables['htm']}.default.bind({variables['preact']}.h);")
    return "\n".join(parts) + "\n"


def wrapped(name: str, code: str, variables: dict[str, str]) -> str:
    """Returns a module as a function call that returns its exports."""
    code = SOURCE_MAP.sub("", code)
    exports: list[str] = []

    def imported(match: re.Match) -> str:
        return f"const{{{renamed(match[1], ':')}}}={variable(match[2], variables)};"

    def exported_from(match: re.Match) -> str:
        exports.extend(f"{part}:{variable(match[2], variables)}.{part}" for part in match[1].split(","))
        return ""

    def exported(match: re.Match) -> str:
        exports.extend(":".join(reversed(part.split(" as "))) for part in match[1].split(","))
        return ""

    code = EXPORT_FROM.sub(exported_from, IMPORT.sub(imported, code))
    code = EXPORT.sub(exported, code)
    if "export default function" in code:
        code = code.replace("export default function", "const exportedDefault=function", 1)
        exports.append("default:exportedDefault")
    if not exports or re.search(r"\b(import|export)\b", code):
        raise StackError(f"{name} has a statement that infra/local/vendor.py does not know")
    return f"(() => {{{code.strip()};return{{{','.join(exports)}}};}})()"


def renamed(names: str, separator: str) -> str:
    """Returns a list of imported names as a pattern of an object."""
    return ",".join(part.replace(" as ", separator) for part in names.split(","))


def variable(name: str, variables: dict[str, str]) -> str:
    """Returns the variable of a module."""
    if name not in variables:
        raise StackError(f"infra/local/vendor.py must list {name} before the modules that import it")
    return variables[name]


def license_of(modules: Path, name: str) -> str:
    """Returns the licence of a package, and those of what is in its files."""
    files = [file for file in (modules / name / part for part in LICENSES) if file.exists()]
    return "\n\n".join([f"== {name}", *(file.read_text().strip() for file in files)]) + "\n"


def hashes() -> dict[str, str]:
    """Returns the hash of each copy, in the form of npm."""
    files = sorted(file for file in VENDOR.iterdir() if file.suffix in (".js", ".css", ".txt"))
    return {file.name: integrity(file) for file in files}


def integrity(file: Path) -> str:
    """Returns the hash of a file."""
    return "sha512-" + base64.b64encode(hashlib.sha512(file.read_bytes()).digest()).decode()


def check_vendored() -> None:
    """The copies are what `make vendor` wrote."""
    if json.loads(MANIFEST.read_text()) != hashes():
        raise StackError(
            f"the files in {VENDOR.relative_to(ROOT)} are not those of manifest.json: run make vendor instead of "
            "changing them"
        )
