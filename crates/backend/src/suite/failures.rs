//! Deletes, and puts that must leave nothing.

use std::time::Duration;

use bytes::Bytes;
use futures::future::try_join_all;
use futures::{StreamExt, stream};
use tokio::sync::oneshot;

use super::bench::{Bench, Failure, Outcome, broken, chunked, ensure, expect_kind, pattern};
use crate::{Body, ErrorKind, PutOptions};

/// Longest wait for a driver to take what a body offers it.
const TAKE_SECONDS_MAX: u64 = 30;

pub(super) async fn deleting_nothing_succeeds(bench: &Bench) -> Outcome {
    bench.backend.delete(&bench.path("never/was")?).await?;
    bench.backend.delete(&bench.path("never")?).await?;
    Ok(())
}

pub(super) async fn what_was_deleted_is_gone(bench: &Bench) -> Outcome {
    let (gone, stays) = (bench.path("f/gone")?, bench.path("f/stays")?);
    bench.put(&gone, b"gone").await?;
    bench.put(&stays, b"stays").await?;
    bench.backend.delete(&gone).await?;
    bench.absent(&gone).await?;
    bench.backend.delete(&gone).await?;
    ensure(bench.get(&stays, None).await? == "stays", || "a neighbour was changed".to_owned())
}

pub(super) async fn many_are_deleted_at_once(bench: &Bench) -> Outcome {
    let none = bench.backend.delete_many(&[]).await?;
    ensure(none.is_empty(), || format!("{} answers for nothing", none.len()))?;
    let mut paths = Vec::new();
    for i in 0..1_000 {
        let path = bench.path(&format!("f-{}/{i}", i % 7))?;
        if i % 20 == 0 {
            bench.put(&path, b"x").await?;
        }
        paths.push(path);
    }
    let stays = bench.path("f-0/stays")?;
    bench.put(&stays, b"x").await?;
    let answers = bench.backend.delete_many(&paths).await?;
    ensure(answers.len() == paths.len(), || format!("{} answers for 1000", answers.len()))?;
    for (path, answer) in paths.iter().zip(answers) {
        answer.map_err(|error| Failure(format!("{path}: {error}")))?;
    }
    let left: Vec<_> = bench.list("").await?.into_iter().map(|entry| entry.path).collect();
    ensure(left == [stays], || format!("left: {left:?}"))
}

pub(super) async fn a_failed_body_leaves_nothing(bench: &Bench) -> Outcome {
    for (length, given) in
        [(10, 0), (10, 9), (200_000, 100_000), (200_000, 199_999), (3 << 20, 2 << 20), (10, 10)]
    {
        let body = broken(length as u64, &pattern(given), Some("the client went away"));
        refused(bench, &format!("fails/{length}/{given}"), body).await?;
    }
    Ok(())
}

pub(super) async fn a_short_body_leaves_nothing(bench: &Bench) -> Outcome {
    for (length, given) in [(1, 0), (10, 9), (70_000, 69_999), (3 << 20, 2 << 20)] {
        let body = broken(length as u64, &pattern(given), None);
        refused(bench, &format!("short/{length}/{given}"), body).await?;
    }
    Ok(())
}

pub(super) async fn a_long_body_leaves_nothing(bench: &Bench) -> Outcome {
    for (length, given) in [(0, 1), (10, 11), (70_000, 70_001), (2 << 20, 3 << 20)] {
        let body = broken(length as u64, &pattern(given), None);
        refused(bench, &format!("long/{length}/{given}"), body).await?;
    }
    Ok(())
}

async fn refused(bench: &Bench, rest: &str, body: Body) -> Outcome {
    let path = bench.path(rest)?;
    let answer = bench.backend.put(&path, body, PutOptions::default()).await;
    expect_kind(&format!("put {rest}"), answer, ErrorKind::BadBody)?;
    bench.absent(&path).await
}

/// All but the last byte is taken, then the caller goes away.
pub(super) async fn a_dropped_put_leaves_nothing(bench: &Bench) -> Outcome {
    for size in [10, 100_000, 3 << 20] {
        let path = bench.path(&format!("dropped/{size}"))?;
        let (taken, all_taken) = oneshot::channel::<()>();
        let given = chunked(&pattern(size - 1), 50_021).stream;
        let rest = stream::once(async move {
            let _ = taken.send(());
            std::future::pending::<()>().await;
            Ok(Bytes::new())
        });
        let body = Body { length: size as u64, stream: Box::pin(given.chain(rest)) };
        let put = bench.backend.put(&path, body, PutOptions::default());
        let both = async {
            tokio::select! {
                answer = put => Err(Failure(format!("a body without end was answered: {answer:?}"))),
                _ = all_taken => Ok(()),
            }
        };
        runtime::timeout(Duration::from_secs(TAKE_SECONDS_MAX), both)
            .await
            .map_err(|_| Failure(format!("{} bytes were not taken", size - 1)))??;
        bench.absent(&path).await?;
        bench.backend.delete(&path).await?;
    }
    Ok(())
}

pub(super) async fn puts_and_deletes_race_in_one_folder(bench: &Bench) -> Outcome {
    let one = async |worker: usize| {
        for round in 0..15 {
            let path = bench.path(&format!("race/deep/{worker}-{round}"))?;
            bench.put(&path, b"raced").await?;
            ensure(bench.get(&path, None).await? == "raced", || format!("{path} was lost"))?;
            bench.backend.delete(&path).await?;
        }
        Ok::<_, Failure>(())
    };
    try_join_all((0..8).map(one)).await?;
    let left = bench.list("").await?;
    ensure(left.is_empty(), || format!("left: {left:?}"))
}
