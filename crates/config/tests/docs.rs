//! The table in `docs/config.md` is the table of the code.

use std::collections::HashSet;
use std::path::Path;

const BEGIN: &str = "<!-- keys: begin -->\n";
const END: &str = "<!-- keys: end -->\n";

/// Run with `UPDATE_DOCS=1` to write the table anew.
#[test]
fn the_documented_keys_are_the_keys_of_the_code() {
    check("docs/config.md", &config::to_markdown());
}

#[test]
fn the_documented_keys_of_snapshots_are_the_keys_of_the_code() {
    check("docs/vault-snapshot.md", &config::snapshot::to_markdown());
}

fn check(page: &str, table: &str) {
    // Tests run in their package's folder, wherever they were built.
    let path = Path::new("../..").join(page);
    let page = std::fs::read_to_string(&path).expect("the page is there");
    let begin = page.find(BEGIN).expect("the page has a place for the table") + BEGIN.len();
    let end = page.find(END).expect("the table has an end");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{}{table}\n{}", &page[..begin], &page[end..]))
            .expect("the page can be written");
        return;
    }
    assert_eq!(page[begin..end].trim(), table.trim(), "run this test with UPDATE_DOCS=1");
}

#[test]
fn every_key_is_documented_once() {
    let rows = config::all_keys();
    let keys: HashSet<_> = rows.iter().map(|row| &row.key).collect();
    assert_eq!(keys.len(), rows.len());
    for row in &rows {
        assert!(!row.meaning.is_empty() && !row.kind.is_empty(), "{row:?}");
    }
}

/// Every key that the Go program knows, from its first to its last version.
#[test]
fn every_key_of_the_go_program_is_known() {
    let rows = config::all_keys();
    let known: HashSet<_> = rows.iter().map(|row| row.key.as_str()).collect();
    let missing: Vec<_> =
        include_str!("fixtures/go-keys.txt").lines().filter(|key| !known.contains(key)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
