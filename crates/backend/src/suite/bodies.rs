//! Bytes that come back as they were put.

use bytes::Bytes;
use futures::future::try_join_all;
use types::ByteRange;

use super::bench::{Bench, Failure, Outcome, chunked, ensure, expect_kind, pattern};
use crate::{Body, ErrorKind, PutOptions};

pub(super) async fn sizes_round_trip(bench: &Bench) -> Outcome {
    for (size, chunk) in [(0, 1), (1, 1), (65_535, 1_009), (65_536, 65_536), (65_537, 7_919)] {
        round_trip(bench, size, chunk).await?;
    }
    Ok(())
}

pub(super) async fn five_mebibytes_round_trip(bench: &Bench) -> Outcome {
    round_trip(bench, 5 << 20, 99_991).await
}

async fn round_trip(bench: &Bench, size: usize, chunk_bytes: usize) -> Outcome {
    let path = bench.path(&format!("size-{size}"))?;
    let data = pattern(size);
    bench.backend.put(&path, chunked(&data, chunk_bytes), PutOptions::default()).await?;
    let back = bench.get(&path, None).await?;
    ensure(back == data, || format!("{size} bytes came back changed"))?;
    let stat = bench.backend.head(&path).await?;
    ensure(stat.size == size as u64, || format!("head says {} of {size} bytes", stat.size))
}

pub(super) async fn ranges_are_exact(bench: &Bench) -> Outcome {
    let path = bench.path("ranged")?;
    let data = pattern(600_000);
    bench.put(&path, &data).await?;
    for (start, length) in
        [(0, 1), (599_999, 1), (65_536, 65_536), (262_143, 2), (300_000, 300_000), (0, 600_000), (1, 299_999)]
    {
        let range = ByteRange::new(start as u64, length as u64);
        let download = bench.backend.get(&path, Some(range)).await?;
        ensure(download.length == range.length, || format!("{range}: {} bytes", download.length))?;
        ensure(download.total == 600_000, || format!("{range}: a total of {}", download.total))?;
        let back = bench.get(&path, Some(range)).await?;
        ensure(back == data[start..start + length], || format!("{range}: other bytes came back"))?;
    }
    Ok(())
}

/// Whoever asks knows how long the blob is: a store that has less has lost bytes.
pub(super) async fn a_range_beyond_the_end_is_an_error(bench: &Bench) -> Outcome {
    let path = bench.path("short")?;
    bench.put(&path, &pattern(100)).await?;
    for (start, length) in [(50, 51), (100, 1), (5_000, 10), (0, 101)] {
        let range = ByteRange::new(start, length);
        let answer = bench.backend.get(&path, Some(range)).await;
        expect_kind(&format!("get {range} of 100"), answer, ErrorKind::Corrupt)?;
    }
    Ok(())
}

pub(super) async fn head_says_size_and_metadata(bench: &Bench) -> Outcome {
    let path = bench.path("described")?;
    let mut metadata = vec![
        ("s3o-key".to_owned(), "a=20b~c".to_owned()),
        ("s3o-empty-not".to_owned(), "x".to_owned()),
        ("s3o-long".to_owned(), "v".repeat(1_500)),
    ];
    let options = PutOptions { metadata: metadata.clone() };
    let body = Body::from_bytes(Bytes::from_static(b"hello"));
    bench.backend.put(&path, body, options).await?;
    let stat = bench.backend.head(&path).await?;
    ensure(stat.size == 5, || format!("head says {} of 5 bytes", stat.size))?;
    let mut found = stat.metadata;
    found.sort();
    metadata.sort();
    ensure(found == metadata, || format!("metadata came back as {found:?}"))?;
    let plain = bench.path("undescribed")?;
    bench.put(&plain, b"x").await?;
    let found = bench.backend.head(&plain).await?.metadata;
    ensure(found.is_empty(), || format!("metadata from nowhere: {found:?}"))
}

pub(super) async fn a_missing_path_is_not_found(bench: &Bench) -> Outcome {
    bench.put(&bench.path("here/is")?, b"x").await?;
    for missing in ["nowhere", "here/is-not", "here", "no/such/folder"] {
        let path = bench.path(missing)?;
        bench.absent(&path).await?;
        let ranged = bench.backend.get(&path, Some(ByteRange::new(0, 1))).await;
        expect_kind("a ranged get", ranged, ErrorKind::NotFound)?;
        let copied = bench.backend.copy(&path, &bench.path("target")?).await;
        expect_kind("a copy", copied, ErrorKind::NotFound)?;
    }
    bench.absent(&bench.path("target")?).await
}

pub(super) async fn a_copy_has_the_same_bytes(bench: &Bench) -> Outcome {
    let (from, to) = (bench.path("from/a")?, bench.path("to/another/b")?);
    let data = pattern(300_001);
    let options = PutOptions { metadata: vec![("s3o-key".to_owned(), "k".to_owned())] };
    bench.backend.put(&from, chunked(&data, 65_536), options.clone()).await?;
    bench.backend.copy(&from, &to).await?;
    ensure(bench.get(&to, None).await? == data, || "the copy has other bytes".to_owned())?;
    let found = bench.backend.head(&to).await?.metadata;
    ensure(found == options.metadata, || format!("the copy's metadata is {found:?}"))?;
    bench.backend.delete(&from).await?;
    ensure(bench.get(&to, None).await? == data, || "the copy went with its source".to_owned())
}

pub(super) async fn many_puts_at_once(bench: &Bench) -> Outcome {
    let data = pattern(70_000);
    let one = async |i: usize| {
        let path = bench.path(&format!("folder-{}/{i}", i % 5))?;
        let mine = &data[i..];
        bench.backend.put(&path, chunked(mine, 30_011), PutOptions::default()).await?;
        ensure(bench.get(&path, None).await? == mine, || format!("{path} has other bytes"))?;
        Ok::<_, Failure>(())
    };
    try_join_all((0..60).map(one)).await?;
    let listed = bench.list("").await?.len();
    ensure(listed == 60, || format!("{listed} of 60 are listed"))
}
