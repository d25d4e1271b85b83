//! `docs/metrics.md` names what a process shows: all of it, and nothing that it does not.

use std::collections::{BTreeMap, BTreeSet};

use s3_client::{PutBody, PutObject};

use crate::support::{Server, client, get, wait_until};

const DOCUMENT: &str = include_str!("../../../docs/metrics.md");

/// The cells of each row below a heading of the document.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let rest = DOCUMENT.split_once(heading).expect("the document has it").1;
    let section = rest.split_once("\n## ").map_or(rest, |(section, _)| section);
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    section.lines().filter(|line| line.starts_with("| `")).map(cells).collect()
}

/// Each family on a page, with its type.
fn shown(page: &str) -> BTreeMap<String, String> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE s3o_")?.split_once(' '));
    types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
}

#[tokio::test]
async fn the_document_and_the_page_name_the_same_metrics() {
    let dir = tempfile::tempdir().unwrap();
    let more = "telemetry: { metrics: { enabled: true } }\n\
                lifecycle: { rules: [{ prefix: \"tmp/\", expiration_days: 1 }] }\n";
    let config = crate::support::config(dir.path(), "", more);
    let limits = "api_request_limit: 100000, egress_byte_limit: 1GB, ingress_byte_limit: 1GB";
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("quota_bytes: 1GB", &format!("quota_bytes: 1GB, {limits}")))
        .unwrap();
    let server = Server::start(&config).await;
    server.ready().await;
    let put = PutObject { key: "k", body: PutBody::Bytes("v".into()), metadata: &[] };
    client(&server.addr, "b", ("key", "secret")).put_object(put).await.unwrap();

    let documented: BTreeMap<String, (String, bool)> = rows("| name | type | labels | first |")
        .into_iter()
        .map(|row| (row[0].trim_matches('`').to_owned(), (row[1].clone(), row[3] == "always")))
        .collect();
    assert!(documented.len() > 60, "the table was read");
    let missing = |page: &BTreeMap<String, String>| -> BTreeSet<String> {
        let always = documented.iter().filter(|(_, (_, always))| *always).map(|(name, _)| name.clone());
        always.filter(|name| !page.contains_key(name)).collect()
    };
    // The first walk over all replicas, and the first look at limits, take a moment.
    let mut page = BTreeMap::new();
    wait_until("all is shown", async || {
        page = shown(&get(&server.addr, "/metrics").await.2);
        missing(&page).is_empty()
    })
    .await;
    for (name, kind) in &page {
        let known = documented.get(name).unwrap_or_else(|| panic!("{name} is not in docs/metrics.md"));
        assert_eq!(known.0, *kind, "{name}");
    }
    let absent: Vec<String> = rows("## Names of the Go program that are not here")
        .iter()
        .flat_map(|row| row[0].split(", ").map(|name| name.trim_matches('`').to_owned()).collect::<Vec<_>>())
        .collect();
    assert!(absent.len() > 50);
    for name in &absent {
        assert!(!page.contains_key(name) && !documented.contains_key(name), "{name} is here");
    }
}
