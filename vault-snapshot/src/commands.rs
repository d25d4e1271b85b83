//! The commands: each builds the tool, does one thing, and says by its exit code how it ended.

use std::io::{IsTerminal, Read};
use std::path::Path;
use std::process::ExitCode;

use config::LogFormat;
use config::snapshot::Config;
use destination::{Decision, Destination};
use http::Method;
use runtime::{Phase, Shutdown};
use tokio::signal::unix::{SignalKind, signal};
use vault::{Secret, SecretBytes};

use crate::cli::{Flags, USAGE};
use crate::take::Report;
use crate::tool::{self, Tool};
use crate::trouble::Trouble;

/// Something was stored, but not everywhere; or it was, and a person should look at it.
const PARTLY: u8 = 3;

pub(crate) fn run(command: &str, flags: Flags) -> ExitCode {
    let (config, warnings) = match tool::load(&flags) {
        Ok(loaded) => loaded,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(USAGE);
        }
    };
    // Before the first secret is fetched, and before there is a second thread.
    let undone = companion::harden(!config.disable_mlock);
    let json = match config.log_format {
        LogFormat::Auto => None,
        LogFormat::Text => Some(false),
        LogFormat::Json => Some(true),
    };
    // What a command prints stays apart, on stdout.
    let is_terminal = std::io::stderr().is_terminal();
    companion::start_logs(config.log_level.as_str(), json, is_terminal, std::io::stderr);
    undone.iter().for_each(|warning| tracing::warn!("{warning}"));
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(obey(command, config, flags)),
        Err(error) => Err(error.into()),
    };
    outcome.unwrap_or_else(|trouble| {
        eprintln!("error: {trouble}");
        ExitCode::FAILURE
    })
}

async fn obey(command: &str, config: Config, flags: Flags) -> Result<ExitCode, Trouble> {
    let tool = Tool::new(config, &flags, tool::Lasting::new())?;
    let _signals = end_by_signal(tool.lasting.shutdown.clone())?;
    let (from, wanted) = (flags.from.as_deref(), flags.snapshot.as_deref());
    match command {
        "run" => return Ok(tool.take_one(flags.yes).await),
        "daemon" => tool.daemon(&flags).await?,
        "list" => return Ok(exit(tool.list().await)),
        "verify" => return tool.verify_chosen(from, wanted, flags.yes).await,
        "prune" => return Ok(exit(tool.prune_all(flags.yes).await)),
        "restore" => {
            let proved = tool.prove(tool.source(from, wanted).await?).await?;
            let shares = tool.shares(flags.unseal_keys.as_deref())?;
            tool.restore(proved, flags.to.as_deref(), &shares, flags.yes).await?;
        }
        "drill" => {
            let proved = tool.prove(tool.source(from, wanted).await?).await?;
            let shares = tool.shares(flags.unseal_keys.as_deref())?;
            tool.drill(proved, &shares).await?;
        }
        other => return Err(Trouble::lasting(format!("there is no command `{other}`"))),
    }
    Ok(ExitCode::SUCCESS)
}

/// The first signal ends in good order, the second at once.
fn end_by_signal(shutdown: Shutdown) -> Result<runtime::Task<()>, Trouble> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(runtime::spawn(async move {
        for phase in [Phase::Draining, Phase::Stopped] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if phase == Phase::Stopped {
                std::process::exit(130);
            }
            tracing::warn!("ending, and leaving nothing half done; a second signal ends at once");
            shutdown.advance(phase);
        }
    }))
}

fn exit(well: bool) -> ExitCode {
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Tool {
    /// Notes how a run ended, for metrics and logs.
    pub(crate) fn conclude(&self, outcome: &Result<Report, Trouble>) {
        let well = matches!(outcome, Ok(report) if report.stored.is_some() && report.failures.is_empty());
        self.lasting.metrics.ended(well);
        if let Err(trouble) = outcome {
            tracing::error!("no snapshot was taken: {trouble}");
        }
    }

    async fn take_one(&self, accept: bool) -> ExitCode {
        let outcome = self.run(accept).await;
        self.conclude(&outcome);
        if let Some(gateway) = &self.config.metrics.pushgateway {
            let url = format!("{}/metrics/job/{}", gateway.as_str(), self.config.metrics.job);
            let numbers = self.lasting.metrics.text(None);
            if let Err(why) = companion::send(Method::PUT, &url, companion::KIND, numbers).await {
                // The snapshot is there all the same.
                tracing::warn!("the Pushgateway did not take the numbers: {why}");
            }
        }
        match outcome {
            Ok(Report { stored: None, .. }) => {
                eprintln!("error: the snapshot was stored nowhere");
                ExitCode::FAILURE
            }
            Ok(Report { stored: Some(name), failures, alarm }) => {
                println!("{name}");
                for (destination, trouble) in &failures {
                    eprintln!("error: {destination}: {trouble}");
                }
                if let Some(alarm) = &alarm {
                    eprintln!("alarm: {alarm}");
                }
                if failures.is_empty() && alarm.is_none() {
                    ExitCode::SUCCESS
                } else {
                    ExitCode::from(PARTLY)
                }
            }
            Err(trouble) => {
                eprintln!("error: {trouble}");
                ExitCode::FAILURE
            }
        }
    }

    async fn verify_chosen(
        &self,
        from: Option<&str>,
        wanted: Option<&str>,
        all: bool,
    ) -> Result<ExitCode, Trouble> {
        let mut well = true;
        for destination in self.chosen(from)? {
            let chosen = if all {
                destination.snapshots(&self.config.name).await.map_err(Trouble::from)
            } else {
                self.find(&destination, wanted).await.map(|held| vec![held])
            };
            let chosen = chosen.unwrap_or_else(|trouble| {
                eprintln!("error: {}: {trouble}", destination.name);
                well = false;
                Vec::new()
            });
            for held in chosen {
                match self.verify(&destination, &held).await {
                    Ok(how) => println!("{}: {}: {how}", destination.name, held.name),
                    Err(trouble) => {
                        eprintln!("error: {}: {}: {trouble}", destination.name, held.name);
                        well = false;
                    }
                }
            }
        }
        Ok(exit(well))
    }

    async fn prune_all(&self, dry: bool) -> bool {
        let mut well = true;
        for destination in &self.destinations {
            let now = self.lasting.clock.now();
            let decisions = if dry {
                destination.judge(&self.config.name, now).await
            } else {
                self.prune(destination).await
            };
            match decisions {
                Ok(decisions) => {
                    for decision in decisions {
                        let what = match (decision.reasons.as_slice(), dry) {
                            ([], true) => "would be removed".to_owned(),
                            ([], false) => "removed".to_owned(),
                            (reasons, _) => format!("stays: {}", reasons.join(", ")),
                        };
                        println!("{}: {}: {what}", destination.name, decision.held.name);
                    }
                }
                Err(error) => {
                    eprintln!("error: {}: {error}", destination.name);
                    well = false;
                }
            }
        }
        well
    }

    /// Removes what no rule wants, and what runs left that are dead by now.
    pub(crate) async fn prune(&self, destination: &Destination) -> std::io::Result<Vec<Decision>> {
        let now = self.lasting.clock.now();
        destination.prune(&self.config.name, now, now.minus(self.config.checks.leftovers_after)).await
    }

    /// The unseal keys of the saved cluster: of a file, of standard input, or of the configuration.
    fn shares(&self, path: Option<&Path>) -> Result<Vec<Secret>, Trouble> {
        let Some(path) = path else {
            let shares: Vec<_> =
                self.config.drill.unseal_keys.iter().map(|share| Secret::from(share.expose())).collect();
            let missing =
                || Trouble::lasting("the unseal keys are missing: -unseal-keys FILE, or drill.unseal_keys");
            return if shares.is_empty() { Err(missing()) } else { Ok(shares) };
        };
        let mut bytes = Vec::new();
        let read = if path == Path::new("-") {
            std::io::stdin().read_to_end(&mut bytes)
        } else {
            std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut bytes))
        };
        let unreadable =
            |why: &dyn std::fmt::Display| Trouble::lasting(format!("cannot read {}: {why}", path.display()));
        read.map_err(|error| unreadable(&error))?;
        let text = Secret::try_from(SecretBytes::from(bytes)).map_err(|error| unreadable(&error))?;
        Ok(companion::texts_in(&text))
    }
}
