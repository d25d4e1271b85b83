//! Listings: everything, once, with its size.

use std::collections::BTreeMap;

use super::bench::{Bench, Failure, Outcome, ensure, pattern};

/// Puts some entries, nested and flat; what they are and how large.
async fn populate(bench: &Bench) -> Outcome<BTreeMap<String, u64>> {
    let mut all = BTreeMap::new();
    for i in 0..45_usize {
        let rest = match i % 3 {
            0 => format!("list/{i}"),
            1 => format!("list/folder-{}/{i}", i % 4),
            _ => format!("list/folder-{}/deep/er/{i}", i % 4),
        };
        let path = bench.path(&rest)?;
        bench.put(&path, &pattern(i)).await?;
        all.insert(path.as_str().to_owned(), i as u64);
    }
    Ok(all)
}

async fn expect_listed(bench: &Bench, rest: &str, expected: &BTreeMap<String, u64>) -> Outcome {
    let listed = bench.list(rest).await?;
    let mut found = BTreeMap::new();
    for entry in listed {
        let path = entry.path.as_str().to_owned();
        if found.insert(path.clone(), entry.size).is_some() {
            return Err(Failure(format!("{path} is listed twice")));
        }
    }
    ensure(found == *expected, || format!("under {rest:?}: found {found:?}, expected {expected:?}"))
}

pub(super) async fn every_entry_exactly_once(bench: &Bench) -> Outcome {
    let all = populate(bench).await?;
    expect_listed(bench, "", &all).await?;
    expect_listed(bench, "list/", &all).await?;
    let prefix = format!("{}list/folder-1/deep/", bench.prefix);
    let some = all.into_iter().filter(|(path, _)| path.starts_with(&prefix)).collect();
    expect_listed(bench, "list/folder-1/deep/", &some).await
}

pub(super) async fn a_prefix_may_end_inside_a_segment(bench: &Bench) -> Outcome {
    let all: BTreeMap<_, _> = ["ab", "abc/x", "abd", "a/b", "b", "abc/y/z"]
        .into_iter()
        .map(|rest| (format!("{}{rest}", bench.prefix), 3))
        .collect();
    for rest in all.keys().filter_map(|path| path.strip_prefix(&bench.prefix)) {
        bench.put(&bench.path(rest)?, b"xyz").await?;
    }
    for rest in ["a", "ab", "abc", "abc/", "abc/y", "abc/y/z", "zzz", "abc/y/z/"] {
        let prefix = format!("{}{rest}", bench.prefix);
        let some = all.iter().filter(|(path, _)| path.starts_with(&prefix));
        expect_listed(bench, rest, &some.map(|(path, size)| (path.clone(), *size)).collect()).await?;
    }
    Ok(())
}

pub(super) async fn nothing_there_is_an_empty_listing(bench: &Bench) -> Outcome {
    expect_listed(bench, "", &BTreeMap::new()).await?;
    let path = bench.path("once")?;
    bench.put(&path, b"x").await?;
    bench.backend.delete(&path).await?;
    expect_listed(bench, "", &BTreeMap::new()).await
}

pub(super) async fn a_cursor_keeps_its_meaning(bench: &Bench) -> Outcome {
    populate(bench).await?;
    let mut cursor: Option<String> = None;
    loop {
        let once = bench.backend.list(&bench.prefix, cursor.as_deref()).await?;
        let again = bench.backend.list(&bench.prefix, cursor.as_deref()).await?;
        ensure(once.entries == again.entries, || format!("cursor {cursor:?} gave two different pages"))?;
        match again.next {
            Some(next) => cursor = Some(next),
            None => return Ok(()),
        }
    }
}

pub(super) async fn deleting_while_listing_skips_nothing(bench: &Bench) -> Outcome {
    let mut left = populate(bench).await?;
    let mut cursor: Option<String> = None;
    loop {
        let page = bench.backend.list(&bench.prefix, cursor.as_deref()).await?;
        for entry in page.entries {
            bench.backend.delete(&entry.path).await?;
            left.remove(entry.path.as_str());
        }
        match page.next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    ensure(left.is_empty(), || format!("never listed: {left:?}"))?;
    expect_listed(bench, "", &left).await
}
