//! The commands: each builds the tool, does one thing, and says by its exit code how it ended.

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use age::{Identity, Recipient};
use config::snapshot::{Config, Grammars};
use runtime::{Chance, Clock, Phase, Shutdown};
use tokio::signal::unix::{SignalKind, signal};
use vault::Secret;

use crate::cli::{Flags, USAGE};
use crate::listener::push;
use crate::logging;
use crate::metrics::Metrics;
use crate::place::Destination;
use crate::schedule::Cron;
use crate::take::{Report, Tool};
use crate::trouble::Trouble;

/// Something was stored, but not everywhere; or it was, and a person should look at it.
const PARTLY: u8 = 3;

/// How values are written that the configuration only carries.
const GRAMMARS: Grammars = Grammars {
    cron: |text| Cron::parse(text).map(|_| ()),
    recipient: |text| Recipient::parse(text).map(|_| ()).map_err(|error| error.to_string()),
    identity: |text| Identity::parse_file(text).map(|_| ()).map_err(|error| error.to_string()),
};

pub(crate) fn run(command: &str, flags: Flags) -> ExitCode {
    let loaded = Config::load(&flags.config, &|name| std::env::var(name).ok(), GRAMMARS);
    let (config, warnings) = match loaded {
        Ok(loaded) => loaded,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(USAGE);
        }
    };
    logging::start(&config);
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
    let tool = Arc::new(Tool::new(config, flags.identity.as_deref())?);
    let _signals = end_by_signal(tool.shutdown.clone())?;
    let (from, wanted) = (flags.from.as_deref(), flags.snapshot.as_deref());
    match command {
        "run" => return Ok(tool.take_one(flags.yes).await),
        "daemon" => tool.daemon().await?,
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
    fn new(config: Config, identity: Option<&Path>) -> Result<Self, Trouble> {
        let recipients = config.encryption.recipients.iter().map(|text| Recipient::parse(text));
        let recipients =
            recipients.collect::<Result<_, _>>().map_err(|error| Trouble::lasting(error.to_string()))?;
        let mut texts: Vec<String> =
            config.encryption.identities.iter().map(|secret| secret.expose().to_owned()).collect();
        if let Some(path) = identity {
            let text = std::fs::read_to_string(path);
            texts.push(
                text.map_err(|error| Trouble::lasting(format!("cannot read {}: {error}", path.display())))?,
            );
        }
        let identities = texts.iter().map(|text| Identity::parse_file(text)).collect::<Result<Vec<_>, _>>();
        let identities =
            identities.map_err(|error| Trouble::lasting(format!("the identity {error}")))?.concat();
        Ok(Self {
            destinations: Destination::all(&config)?,
            metrics: Metrics::new(config.destinations.iter().map(|destination| destination.name.as_str())),
            recipients,
            identities,
            config,
            clock: Clock::system(),
            chance: Chance::from_os(),
            shutdown: Shutdown::new(),
        })
    }

    /// Notes how a run ended, for metrics and logs.
    pub(crate) fn conclude(&self, outcome: &Result<Report, Trouble>) {
        let well = matches!(outcome, Ok(report) if report.stored.is_some() && report.failures.is_empty());
        self.metrics.ended(well);
        if let Err(trouble) = outcome {
            tracing::error!("no snapshot was taken: {trouble}");
        }
    }

    async fn take_one(&self, accept: bool) -> ExitCode {
        let outcome = self.run(accept).await;
        self.conclude(&outcome);
        if let Some(gateway) = &self.config.metrics.pushgateway
            && let Err(trouble) = push(gateway, &self.config.metrics.job, self.metrics.text(None)).await
        {
            // The snapshot is there all the same.
            tracing::warn!("{trouble}");
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
                destination.snapshots(&self.config.name).await
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
            match self.prune(destination, dry).await {
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
                Err(trouble) => {
                    eprintln!("error: {}: {trouble}", destination.name);
                    well = false;
                }
            }
        }
        well
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
        let mut text = String::new();
        let read = if path == Path::new("-") {
            std::io::stdin().read_to_string(&mut text)
        } else {
            std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text))
        };
        read.map_err(|error| Trouble::lasting(format!("cannot read {}: {error}", path.display())))?;
        let shares = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        Ok(shares.map(Secret::from).collect())
    }
}
