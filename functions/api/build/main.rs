//! Embeds files in the binary: those of the console, and the pages that answers of the API link to.

#![expect(clippy::print_stdout, reason = "Cargo reads it")]

use std::env;
use std::error::Error;
use std::path::PathBuf;

mod console;
mod help;

fn main() -> Result<(), Box<dyn Error>> {
    let (package, output) = (variable("CARGO_MANIFEST_DIR")?, variable("OUT_DIR")?);
    let repository = package.join("../..").canonicalize()?;
    console::write(&package, &repository, &output)?;
    help::write(&package, &repository, &output)
}

fn variable(name: &str) -> Result<PathBuf, String> {
    env::var_os(name).map(PathBuf::from).ok_or_else(|| format!("{name} is not set"))
}
