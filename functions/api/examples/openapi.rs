//! Prints the contract; `make openapi` keeps it in `infra/openapi.json`.
#![expect(clippy::print_stdout, reason = "this is what it is for")]

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("{}", api::openapi().to_pretty_json()?);
    Ok(())
}
