//! Paths: whatever they hold, they come back as they were and stay in their place.

use std::collections::BTreeSet;

use format::PathGrammar;
use runtime::{Chance, Clock, Ids};
use types::{BucketName, ObjectKey, ReplicaPath};

use super::bench::{Bench, Failure, Outcome, ensure};

/// Text that stores are known to trip over.
fn hostile() -> Vec<String> {
    let fixed = [
        "../x",
        "..",
        ".",
        "a//b",
        "/lead",
        "//",
        "a/./b",
        "a/../b",
        "nul\0nul",
        "line\nbreak",
        "cr\rtab\t",
        "ключ/鍵/é",
        "trailing/",
        "trailing",
        "a",
        "a/b",
        "a/b/c",
        "Case/Name",
        "case/name",
        "per%20cent",
        "per cent",
        "%2F",
        "%",
        "=41",
        "A",
        "=",
        "~",
        "x~y",
        "x~y/z",
        "plus+plus",
        "a&b?c#d",
        "quote\"'`$(x)",
        "back\\slash",
        ".hidden",
        ".s3-orchestrator-tmp/x",
        ".s3-orchestrator/marker/x",
        "-dash",
        " ",
        "\u{fffd}",
        "%e",
        "%f",
        "a%f",
        "a%m",
        "a%d/x",
        "a%+/x",
        "CON",
        "*",
        "lost+found/x",
        "emoji-🦀",
    ];
    let mut all: Vec<_> = fixed.into_iter().map(str::to_owned).collect();
    all.push("s".repeat(255));
    all.push("s".repeat(256));
    all.push("s".repeat(700));
    all.push(format!("{}/{}", "s".repeat(300), "t".repeat(300)));
    all.push("\0".repeat(400));
    all.push("鍵".repeat(300));
    all.push("d/".repeat(450));
    all.push("l".repeat(960));
    all
}

pub(super) async fn hostile_paths_round_trip(bench: &Bench) -> Outcome {
    if !bench.traits.any_path {
        return Ok(());
    }
    let paths = hostile().iter().map(|rest| bench.path(rest)).collect::<Outcome<Vec<_>>>()?;
    round_trip(bench, &paths).await
}

pub(super) async fn paths_of_our_grammar_round_trip(bench: &Bench) -> Outcome {
    let grammar = PathGrammar::new(&bench.prefix);
    let ids = Ids::new(Clock::system(), Chance::from_os());
    let legal = |error: types::NameError| Failure(error.to_string());
    let mut paths = Vec::new();
    for bucket in ["photos", "My_Bucket", "odd!$'()*+,;=@:~"] {
        let bucket = BucketName::parse(bucket).map_err(legal)?;
        for key in hostile() {
            let key = ObjectKey::parse(&key).map_err(legal)?;
            paths.push(grammar.replica(&bucket, &key, ids.blob(), ids.replica()));
        }
    }
    round_trip(bench, &paths).await?;
    for path in paths {
        ensure(grammar.parse(path.as_str()).is_some(), || format!("{path} is not read back"))?;
    }
    Ok(())
}

/// The failure, with the path that it is about.
fn named(path: &ReplicaPath) -> impl Fn(Failure) -> Failure {
    move |failure| Failure(format!("{path:?}: {failure}"))
}

/// All of them lie there at once, each with bytes of its own.
async fn round_trip(bench: &Bench, paths: &[ReplicaPath]) -> Outcome {
    for path in paths {
        bench.put(path, path.as_str().as_bytes()).await.map_err(named(path))?;
    }
    for path in paths {
        let back = bench.get(path, None).await.map_err(named(path))?;
        ensure(back == path.as_str(), || format!("{path:?} holds another's bytes"))?;
    }
    let expected: BTreeSet<_> = paths.iter().map(|path| path.as_str().to_owned()).collect();
    let listed = bench.list("").await?;
    let found: BTreeSet<_> = listed.iter().map(|entry| entry.path.as_str().to_owned()).collect();
    let (missing, strange): (Vec<_>, Vec<_>) =
        (expected.difference(&found).collect(), found.difference(&expected).collect());
    ensure(missing.is_empty() && strange.is_empty() && listed.len() == found.len(), || {
        format!("{} listed; not listed: {missing:?}; strange: {strange:?}", listed.len())
    })?;
    for (i, path) in paths.iter().enumerate() {
        bench.backend.delete(path).await.map_err(|error| named(path)(error.into()))?;
        if let Some(next) = paths.get(i + 1) {
            let back = bench.get(next, None).await.map_err(named(next))?;
            ensure(back == next.as_str(), || format!("deleting {path:?} changed {next:?}"))?;
        }
    }
    let left = bench.list("").await?;
    ensure(left.is_empty(), || format!("not deleted: {left:?}"))
}
