//! The files of `console/`, compressed: those of the console, and of the page that shows the contract.
//!
//! The modules of the console are joined into one script: each file that a browser asks for is an invocation, and a new
//! account allows ten at once. The modules follow three rules, so that joining them needs no parser: imports name a file
//! in braces, exports stand before declarations, and no two modules declare the same name.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

/// The files that are sent as they are.
const AS_THEY_ARE: [(&str, &str); 6] = [
    ("icon.svg", SVG),
    ("reference.js", SCRIPT),
    ("vendor/LICENSES.txt", "text/plain; charset=utf-8"),
    ("vendor/swagger-ui-bundle.js", SCRIPT),
    ("vendor/swagger-ui.css", STYLE),
    ("vendor/uplot.js", SCRIPT),
];

/// The pages. They name the other files by their versions.
const PAGES: [&str; 2] = ["index.html", "reference.html"];

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// The style sheets that are joined into `style.css`. Later ones override earlier ones.
const STYLES: [&str; 9] = [
    "vendor/uplot.css",
    "styles/base.css",
    "styles/frame.css",
    "styles/surfaces.css",
    "styles/badges.css",
    "styles/forms.css",
    "styles/data.css",
    "styles/dialogs.css",
    "styles/narrow.css",
];

/// The page whose examples the console shows.
const EXAMPLES: &str = "docs/receive/verify.md";

/// Writes the files and `console.rs`, which lists them.
pub(crate) fn write(package: &Path, repository: &Path, output: &Path) -> Result<(), Box<dyn Error>> {
    let console = package.join("console");
    println!("cargo:rerun-if-changed={}", console.display());
    println!("cargo:rerun-if-changed={}", repository.join(EXAMPLES).display());
    let mut script =
        Script { folder: &console, open: Vec::new(), done: Vec::new(), names: BTreeSet::new(), text: String::new() };
    script.add("main.js")?;
    let mut style = String::new();
    for name in STYLES {
        style += &fs::read_to_string(console.join(name))?;
    }
    let mut files = vec![("main.js", SCRIPT, script.text.into_bytes()), ("style.css", STYLE, style.into_bytes())];
    let examples = examples(&fs::read_to_string(repository.join(EXAMPLES))?).to_string();
    files.push(("examples.json", "application/json", examples.into_bytes()));
    for (name, kind) in AS_THEY_ARE {
        files.push((name, kind, fs::read(console.join(name))?));
    }
    let versions: Vec<_> = files.iter().map(|(name, _, content)| (*name, hash(content))).collect();
    for name in PAGES {
        let mut page = fs::read_to_string(console.join(name))?;
        for (file, version) in &versions {
            page = page.replace(&format!("\"console/{file}\""), &format!("\"console/{file}?v={version}\""));
        }
        files.push((name, "text/html; charset=utf-8", page.into_bytes()));
    }
    let mut list = "static FILES: &[File] = &[\n".to_owned();
    for (number, (name, kind, content)) in files.iter().enumerate() {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(content)?;
        let compressed = output.join(format!("{number}.gz"));
        fs::write(&compressed, gzip.finish()?)?;
        writeln!(
            list,
            "File {{ name: {name:?}, kind: {kind:?}, version: {:?}, gzip: include_bytes!(\"{}\") }},",
            hash(content),
            compressed.display()
        )?;
    }
    fs::write(output.join("console.rs"), format!("{list}];\n"))?;
    Ok(())
}

fn hash(content: &[u8]) -> String {
    hex::encode(&Sha256::digest(content)[..8])
}

/// Returns the examples of a page: each with the heading above it and the last line of text before it.
fn examples(page: &str) -> serde_json::Value {
    let (mut heading, mut lead, mut examples) = ("", "", Vec::new());
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(title) = line.strip_prefix("## ") {
            (heading, lead) = (title, "");
        } else if let Some(language) = line.strip_prefix("```") {
            let code: Vec<_> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
            let language = language.split(' ').next();
            examples.push(serde_json::json!({
                "heading": heading, "lead": lead, "language": language, "code": code.join("\n"),
            }));
        } else if !line.is_empty() {
            lead = line;
        }
    }
    examples.into()
}

/// The modules that were joined so far.
struct Script<'a> {
    folder: &'a Path,
    open: Vec<String>,
    done: Vec<String>,
    names: BTreeSet<String>,
    text: String,
}

impl Script<'_> {
    /// Adds a module after those that it imports.
    fn add(&mut self, name: &str) -> Result<(), Box<dyn Error>> {
        if self.done.iter().any(|done| done == name) {
            return Ok(());
        }
        if self.open.iter().any(|open| open == name) {
            return Err(format!("the modules of the console import each other: {:?}, {name}", self.open).into());
        }
        self.open.push(name.to_owned());
        let source = fs::read_to_string(self.folder.join(name)).map_err(|error| format!("console/{name}: {error}"))?;
        let mut own = String::new();
        let mut rest = source.as_str();
        while let Some(line) = rest.split_inclusive('\n').next() {
            if line.starts_with("import ") {
                let (statement, after) = rest.split_once(';').ok_or("an import does not end")?;
                self.add(&imported(name, statement)?)?;
                rest = after.trim_start();
            } else {
                let line_of_script = line.strip_prefix("export ").unwrap_or(line);
                if let Some(declared) = declared(line_of_script).filter(|_| !name.starts_with("vendor/"))
                    && !self.names.insert(declared.to_owned())
                {
                    return Err(format!("console/{name}: another module declares {declared} too").into());
                }
                own += line_of_script;
                rest = &rest[line.len()..];
            }
        }
        self.text += &own;
        self.open.pop();
        self.done.push(name.to_owned());
        Ok(())
    }
}

/// Returns the name that a line declares for its whole module.
fn declared(line: &str) -> Option<&str> {
    let line = line.strip_prefix("async ").unwrap_or(line);
    let after = ["const ", "let ", "class ", "function "].iter().find_map(|word| line.strip_prefix(word))?;
    let name = after.split(|char: char| !char.is_alphanumeric() && char != '_').next()?;
    Some(name).filter(|name| !name.is_empty())
}

/// Returns the file that a statement imports.
fn imported(name: &str, statement: &str) -> Result<String, String> {
    let fault = || format!("console/{name}: write `import {{ names }} from \"./file.js\";` instead of `{statement}`");
    let (names, file) = statement.split_once(" from ").ok_or_else(fault)?;
    let file = file.trim().trim_matches('"').strip_prefix("./").ok_or_else(fault)?;
    if !names.starts_with("import {") || names.contains(" as ") {
        return Err(fault());
    }
    let folder = name.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
    Ok(format!("{folder}{file}"))
}
