//! `check`: is everything in place? Asks nodes and key sources, and sends no share.

use std::fmt::Write as _;

use companion::fetch;

use crate::config::{Cluster, Config};
use crate::seal::judge;
use crate::watch::find;

/// Says what it finds, and whether all is well.
pub(crate) async fn check(config: &Config) -> (String, bool) {
    let mut report = Report { text: String::new(), is_well: true };
    for warning in &config.warnings {
        report.say(&format!("warning: {warning}"));
    }
    for cluster in &config.clusters {
        check_cluster(config, cluster, &mut report).await;
    }
    report.say(if report.is_well { "all is well" } else { "NOT all is well" });
    (report.text, report.is_well)
}

struct Report {
    text: String,
    is_well: bool,
}

impl Report {
    fn say(&mut self, line: &str) {
        let _ = writeln!(self.text, "{line}");
    }

    fn complain(&mut self, line: &str) {
        self.is_well = false;
        self.say(&format!("PROBLEM: {line}"));
    }
}

async fn check_cluster(config: &Config, cluster: &Cluster, report: &mut Report) {
    report.say(&format!("cluster {}", cluster.name));
    let (shares, problems) = fetch(&cluster.sources, config.allow_readable_files).await;
    let count = shares.ids().len();
    drop(shares);
    report.say(&format!("  {count} distinct shares from {} key sources", cluster.sources.len()));
    for problem in problems {
        report.complain(&format!("key source: {problem}"));
    }
    let nodes = match find(cluster).await {
        Ok(nodes) => nodes,
        Err(why) => return report.complain(&why),
    };
    for node in nodes {
        let seal = match node.seal_status().await {
            Ok(seal) => seal,
            Err(error) => {
                report.complain(&error.to_string());
                continue;
            }
        };
        let health = node.health().await.ok();
        let state = judge(&seal, health.as_ref(), false, cluster.cluster_id.as_deref());
        let (address, word, needed) = (node.address(), state.word(), seal.threshold as usize);
        report.say(&format!("  {address}: {word}, {needed} of {} shares open it", seal.shares));
        if !state.is_open() && !state.wants_shares() {
            report.complain(&format!("{address} is {word}"));
        }
        if count == 0 {
            report.complain("there is no share");
        } else if count < needed {
            report.say(&format!(
                "  {count} shares alone do not open {address}: other holders have to give the rest"
            ));
        }
    }
}
