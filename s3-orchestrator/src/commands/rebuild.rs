//! `rebuild`: a lost catalog, made anew from what lies on the backends.
//!
//! Without `-execute` it only looks: what it found, what it would do, what it costs; and with `-read`, what was decided
//! before and would go on.

use std::path::Path;
use std::process::ExitCode;

use admin::rfc3339;
use catalog::{Decided, Rebuilt};
use config::Config;
use engine::{Choices, Found, FoundCatalogs, Plan};
use format::shipped::ShippedName;

use crate::cli::fail;
use crate::wiring::{StartError, rebuild as wiring};

/// What the command line asks for.
#[derive(Debug, Default)]
pub(crate) struct Flags {
    /// Do it; else only look.
    pub execute: bool,
    /// Read what would be applied, and say what was decided; without `execute`.
    pub read: bool,
    /// The limits of the present period may be spent.
    pub confirm_limits: bool,
    /// What to do where something is missing.
    pub choices: Choices,
}

/// Looks, or rebuilds.
pub(crate) fn run(path: &Path, flags: &Flags) -> ExitCode {
    let loaded = match Config::load(path, &|name| std::env::var(name).ok()) {
        Ok(loaded) => loaded,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::FAILURE;
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start threads: {error}")),
    };
    match runtime.block_on(rebuild(&loaded.config, flags)) {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

async fn rebuild(config: &Config, flags: &Flags) -> Result<ExitCode, StartError> {
    let places = wiring::places(config).await?;
    let found = engine::find(&places).await;
    print!("{}", found_text(&found));
    let plan = engine::plan(&found, &flags.choices)?;
    print!("{}", plan_text(config, &plan));
    let progress = |name: &ShippedName, done, all| println!("{done}/{all} {}", name.key());
    if !flags.execute {
        if flags.read {
            print!("{}", decided_text(&wiring::glance(&places, &plan, progress).await?.decided));
        } else {
            println!(
                "which drains, brake and quarantine would go on is said by `-read`, for as many requests"
            );
        }
        println!("\nnothing was changed; `-execute` does it");
        return Ok(ExitCode::SUCCESS);
    }
    let (rebuilt, lying) = wiring::run(config, &places, &plan, flags.confirm_limits, progress).await?;
    print!("{}", result_text(&rebuilt, lying, flags.confirm_limits));
    Ok(if rebuilt.wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn found_text(found: &FoundCatalogs) -> String {
    let mut text = String::from("found\n");
    for (backend, reserved) in &found.backends {
        let line = match reserved {
            Err(why) => format!("cannot be read: {why}"),
            Ok(reserved) => {
                let markers: Vec<String> = reserved
                    .markers
                    .iter()
                    .map(|marker| format!("deployment {} epoch {}", marker.deployment, marker.epoch))
                    .collect();
                let markers = if markers.is_empty() { "no marker".to_owned() } else { markers.join(", ") };
                format!("{markers}; {} segments and pieces of snapshots", reserved.shipped.len())
            }
        };
        text.push_str(&format!("  {backend}: {line}\n"));
    }
    text
}

fn plan_text(config: &Config, plan: &Plan) -> String {
    let snapshot = plan.snapshot.map_or("no snapshot".to_owned(), |name| {
        format!("the snapshot {} of {} pages", name.key(), plan.pages.len())
    });
    format!(
        "\nwould make the catalog {} of deployment {}, epoch {}, from {snapshot} and {} segments\n\
         costs {} requests besides the listings above, and what they download\n\
         then lists each backend whole, for what came after the last segment: a request for a thousand objects there\n",
        config.database.path.display(),
        plan.deployment,
        plan.epoch,
        plan.segments.len(),
        plan.requests(),
    )
}

/// What was decided before, and goes on.
fn decided_text(decided: &Decided) -> String {
    let mut text = String::new();
    for (backend, since) in &decided.drains {
        text.push_str(&format!(
            "backend {backend} is draining since {}: it is given nothing new, and is emptied\n",
            rfc3339(*since)
        ));
    }
    if let Some((since, why)) = &decided.brake {
        text.push_str(&format!(
            "the brake holds all deletes since {} ({why}), until `s3-orchestrator admin brake-release`\n",
            rfc3339(*since)
        ));
    }
    if let Some(first) = decided.quarantine_ends {
        text.push_str(&format!(
            "{} replicas were in quarantine before and are deleted when their time is over, the first on {}\n",
            decided.quarantined,
            rfc3339(first)
        ));
    }
    if decided.held > 0 {
        text.push_str(&format!(
            "{} replicas were in quarantine before and are deleted by nobody but you\n",
            decided.held
        ));
    }
    if text.is_empty() {
        text.push_str("nothing drained, no brake held and nothing was in quarantine\n");
    }
    text.push_str("what was decided after the last segment is not known: look whether all of it is here\n");
    text
}

fn result_text(rebuilt: &Rebuilt, lying: Found, confirmed: bool) -> String {
    let mut text = format!("\nrebuilt: {} objects, {} blobs\n", rebuilt.objects, rebuilt.blobs);
    if rebuilt.unreadable > 0 {
        text.push_str(&format!(
            "{} blobs have no replica that is known: objects made of them cannot be read\n",
            rebuilt.unreadable
        ));
    }
    text.push_str(&decided_text(&rebuilt.decided));
    if let Some(path) = &rebuilt.replaced {
        text.push_str(&format!("the catalog that was there lies in {} now\n", path.display()));
    }
    if lying.reclaimed > 0 {
        text.push_str(&format!(
            "{} replicas that no segment named are of blobs that are known: they are read where nothing else is \
             left, and count once the process has proved them\n",
            lying.reclaimed
        ));
    }
    if lying.strays > 0 {
        text.push_str(&format!(
            "{} replicas that nothing names are in quarantine: some may be writes from after the last \
             segment. `s3-orchestrator admin quarantine list` shows them; nothing deletes them but you\n",
            lying.strays
        ));
    }
    for line in &rebuilt.wrong {
        text.push_str(&format!("does not add up: {line}\n"));
    }
    if !confirmed {
        text.push_str(
            "limits stay closed until their next period, for nobody knows what was spent in this one; look at \
             your providers, then `s3-orchestrator admin limits-open` opens them\n",
        );
    }
    text
}
