//! `validate`: what a configuration means, or everything that is wrong with it.

use std::path::Path;
use std::process::ExitCode;

use config::{Config, Loaded, Strategy};

/// Reads a file and shows what is in force.
pub(crate) fn run(path: &Path) -> ExitCode {
    match Config::load(path, &|name| std::env::var(name).ok()) {
        Ok(loaded) => {
            print!("{}", report(path, &loaded));
            ExitCode::SUCCESS
        }
        Err(problems) => {
            eprintln!("{problems}");
            ExitCode::FAILURE
        }
    }
}

fn report(path: &Path, loaded: &Loaded) -> String {
    let config = &loaded.config;
    let routing = match config.routing_strategy {
        Strategy::Pack => "pack",
        Strategy::Spread => "spread",
    };
    let mut lines = vec![
        format!("config {}: valid", path.display()),
        format!("backends: {}", config.backends.len()),
        format!("buckets: {}", config.buckets.len()),
        format!("routing: {routing}, replication factor {}", config.replication.factor),
    ];
    lines.extend(loaded.warnings.iter().map(|warning| format!("warning: {warning}")));
    let missing = config.not_built();
    if !missing.is_empty() {
        lines.push("`serve` would refuse to start, for this release lacks what the file asks for:".into());
        lines.extend(missing.iter().map(|missing| format!("  {missing}")));
    }
    format!("{}\n\n# in force\n{}", lines.join("\n"), config.effective())
}
