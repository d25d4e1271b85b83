//! What multipart uploads promise.

use types::{ByteRange, ETag, UploadId};

use super::world::{Reserved, World, etag, key, md5, now, state};
use crate::{
    AbortUpload, CatalogError, CompleteUpload, Content, CopyPart, ListedUpload, MatchTags, Object, Part,
    PartsQuery, Precondition, Refusal, ReplicaState, UploadsPage, UploadsQuery, Want, WriteOutcome,
};

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, CatalogError>, expected: &Refusal) {
    assert_eq!(answer.expect_err("refused").refusal(), Some(expected));
}

fn abort_of(w: &World, upload: UploadId, text: &str) -> AbortUpload {
    AbortUpload { change: w.ids.change(), at: now(), upload, bucket: w.bucket, key: key(text) }
}

fn copy_part_of(w: &World, source: &Object, range: ByteRange, upload: UploadId, number: u32) -> CopyPart {
    CopyPart {
        change: w.ids.change(),
        at: now(),
        source_bucket: source.bucket,
        source_key: source.key.clone(),
        source_change: source.change,
        range,
        upload,
        bucket: w.bucket,
        key: key("k"),
        number,
        manifest: w.ids.manifest(),
        opaque_etag: ETag::from_text("00112233445566778899aabbccddeeff"),
    }
}

fn manifest(object: &Object) -> types::ManifestId {
    match object.state.content {
        Content::Manifest(manifest) => manifest,
        Content::Blob(_) => panic!("{object:?}"),
    }
}

pub(super) async fn parts_become_an_object(w: World) {
    let upload = w.upload("k").await;
    for (number, size) in [(7, 30), (2, 10), (3, 20), (9, 99)] {
        w.part(upload, "k", number, size).await;
    }
    assert_eq!(w.get("k").await, None);
    let charged = w.charged().await;
    let completed = w.complete(upload, "k", &[2, 3, 7]).await;
    assert!(!completed.already);
    let object = w.get("k").await.unwrap();
    assert_eq!((&object.state, object.state.size), (&completed.state, 60));
    assert_eq!(w.charged().await, charged, "no byte moved, and the unlisted part is yet to be deleted");
    assert_eq!(w.count(ReplicaState::Doomed).await, 2, "of the unlisted part");

    let (parts, count) = w.catalog.object_parts(manifest(&object), 2, 1).await.unwrap().unwrap();
    assert_eq!((parts.len(), parts[0].number, parts[0].size, count), (1, 3, 20, 3));
    assert_eq!(parts[0].etag, etag(20));
    for (number, expected) in [(2, Some((0, 10))), (7, Some((30, 30))), (1, None), (9, None)] {
        let found = w.catalog.locate(w.bucket, &key("k"), Want::Part(number)).await.unwrap().unwrap();
        assert_eq!(found.range.ok().map(|r| (r.start, r.length)), expected, "part {number}");
        assert_eq!(found.parts, Some(3));
        assert_eq!(found.pieces.len(), usize::from(expected.is_some()));
    }
    w.delete(&["k"]).await;
    w.nothing_is_left().await;
}

pub(super) async fn a_part_sent_again_replaces_the_first(w: World) {
    let upload = w.upload("k").await;
    w.part(upload, "k", 1, 10).await;
    w.part(upload, "k", 1, 11).await;
    assert_eq!(w.count(ReplicaState::Doomed).await, 2);
    let completed = w.complete(upload, "k", &[1]).await;
    assert_eq!(completed.state.size, 11);
    w.delete(&["k"]).await;
    w.nothing_is_left().await;
}

pub(super) async fn parts_of_several_blobs_and_of_none(w: World) {
    let upload = w.upload("k").await;
    let several = [w.reserve(3, 2).await, w.reserve(0, 2).await, w.reserve(4, 2).await];
    w.catalog.commit_part(w.part_of(upload, "k", 1, &several)).await.unwrap();
    w.part(upload, "k", 2, 0).await;
    let several = [w.reserve(5, 2).await, w.reserve(6, 2).await];
    w.catalog.commit_part(w.part_of(upload, "k", 3, &several)).await.unwrap();
    w.part(upload, "k", 4, 0).await;
    w.audit().await;
    w.complete(upload, "k", &[1, 2, 3, 4]).await;
    w.audit().await;
    let found = w.catalog.locate(w.bucket, &key("k"), Want::Whole).await.unwrap().unwrap();
    let runs: Vec<_> = found.pieces.iter().map(|piece| (piece.range.start, piece.range.length)).collect();
    assert_eq!(runs, [(0, 3), (3, 4), (7, 5), (12, 6)]);
    let empty = w.catalog.locate(w.bucket, &key("k"), Want::Part(2)).await.unwrap().unwrap();
    assert_eq!((empty.range, empty.parts), (Ok(ByteRange::new(7, 0)), Some(4)));
    w.delete(&["k"]).await;
    w.nothing_is_left().await;

    let upload = w.upload("k").await;
    w.part(upload, "k", 1, 0).await;
    w.complete(upload, "k", &[1]).await;
    let found = w.catalog.locate(w.bucket, &key("k"), Want::Whole).await.unwrap().unwrap();
    assert_eq!((found.range, found.pieces.len()), (Ok(ByteRange::whole(0)), 0));
    w.delete(&["k"]).await;
    w.nothing_is_left().await;
}

pub(super) async fn an_upload_ends_once(w: World) {
    let upload = w.upload("k").await;
    w.part(upload, "k", 1, 10).await;
    let wrong_key = CompleteUpload { key: key("other"), ..w.complete_of(upload, "k", &[1]) };
    refused(w.catalog.complete_upload(wrong_key).await, &Refusal::NoSuchUpload);
    refused(w.catalog.abort_upload(abort_of(&w, upload, "other")).await, &Refusal::NoSuchUpload);
    let missing = w.complete_of(upload, "k", &[1, 2]);
    refused(w.catalog.complete_upload(missing).await, &Refusal::InvalidPart { number: 2 });
    let first = w.complete(upload, "k", &[1]).await;
    let second = w.complete(upload, "k", &[1]).await;
    assert_eq!((first.already, second.already, &second.state), (false, true, &first.state));
    refused(w.catalog.complete_upload(w.complete_of(upload, "k", &[1, 1])).await, &Refusal::NoSuchUpload);
    refused(w.catalog.abort_upload(abort_of(&w, upload, "k")).await, &Refusal::NoSuchUpload);
    assert_eq!(w.catalog.find_upload(upload, w.bucket, &key("k")).await.unwrap(), None);
    let late = w.part_of(upload, "k", 2, &[w.reserve(5, 1).await]);
    refused(w.catalog.commit_part(late).await, &Refusal::NoSuchUpload);
    w.put("k", 3).await;
    let third = w.complete(upload, "k", &[1]).await;
    assert_eq!(third.state, first.state, "the recorded answer, though it was overwritten since");
    assert_eq!(w.get("k").await.unwrap().state.size, 3);
}

pub(super) async fn an_aborted_upload_leaves_nothing(w: World) {
    let upload = w.upload("k").await;
    w.part(upload, "k", 1, 10).await;
    let several = [w.reserve(3, 2).await, w.reserve(4, 2).await];
    w.catalog.commit_part(w.part_of(upload, "k", 2, &several)).await.unwrap();
    assert_eq!(w.totals().await.uploads_open, 1);
    w.catalog.abort_upload(abort_of(&w, upload, "k")).await.unwrap();
    assert_eq!(w.totals().await.uploads_open, 0);
    refused(w.catalog.abort_upload(abort_of(&w, upload, "k")).await, &Refusal::NoSuchUpload);
    refused(w.catalog.complete_upload(w.complete_of(upload, "k", &[1])).await, &Refusal::NoSuchUpload);
    w.nothing_is_left().await;
}

pub(super) async fn a_completion_keeps_its_precondition(w: World) {
    w.put("k", 1).await;
    let upload = w.upload("k").await;
    w.part(upload, "k", 1, 10).await;
    let mut complete = w.complete_of(upload, "k", &[1]);
    complete.precondition = Precondition { if_match: None, if_none_match: Some(MatchTags::Any) };
    refused(w.catalog.complete_upload(complete.clone()).await, &Refusal::PreconditionFailed);
    complete.precondition =
        Precondition { if_match: Some(MatchTags::Tags(vec![etag(1)])), if_none_match: None };
    w.catalog.complete_upload(complete).await.unwrap();
    assert_eq!(w.get("k").await.unwrap().state.size, 10);
}

pub(super) async fn a_bucket_has_so_many_open_uploads(w: World) {
    let create = |open_max| crate::CreateUpload { open_max, ..w.upload_of("k") };
    let first = create(Some(2));
    w.catalog.create_upload(first.clone()).await.unwrap();
    w.catalog.create_upload(create(Some(2))).await.unwrap();
    let bucket = first.bucket_name.clone();
    let full = Refusal::TooManyUploads { bucket, open_max: 2 };
    refused(w.catalog.create_upload(create(Some(2))).await, &full);
    w.catalog.create_upload(create(None)).await.unwrap();
    assert_eq!(w.totals().await.uploads_open, 3);
    for _ in 0..2 {
        w.catalog.abort_upload(abort_of(&w, first.upload.upload, "k")).await.ok();
    }
    assert_eq!(w.totals().await.uploads_open, 2);
    refused(w.catalog.create_upload(create(Some(2))).await, &full);
}

pub(super) async fn a_range_becomes_a_part(w: World) {
    let blob = w.put("one", 100).await;
    let many = w.put_blobs("many", &[10, 20, 30]).await;
    let charged = w.charged().await;
    let upload = w.upload("k").await;
    let opaque = ETag::from_text("00112233445566778899aabbccddeeff");
    let cases = [
        (&blob, ByteRange::whole(100), ETag::of_md5(md5(100))),
        (&blob, ByteRange::new(1, 99), opaque.clone()),
        (&blob, ByteRange::new(0, 99), opaque.clone()),
        (&many, ByteRange::new(10, 20), ETag::of_md5(md5(20))),
        (&many, ByteRange::new(5, 40), opaque.clone()),
        (&many, ByteRange::whole(60), opaque.clone()),
    ];
    let mut total = 0;
    for (number, (source, range, expected)) in (1..).zip(cases) {
        let copy = copy_part_of(&w, source, range, upload, number);
        let part = w.catalog.copy_part(copy).await.unwrap();
        assert_eq!((part.number, part.size, part.etag), (number, range.length, expected), "{range}");
        total += range.length;
    }
    w.audit().await;
    assert_eq!(w.charged().await, charged, "no byte moved");
    w.delete(&["one", "many"]).await;
    w.complete(upload, "k", &[1, 2, 3, 4, 5, 6]).await;
    let found = w.catalog.locate(w.bucket, &key("k"), Want::Whole).await.unwrap().unwrap();
    assert_eq!(found.range, Ok(ByteRange::whole(total)));
    let slices: Vec<_> =
        found.pieces.iter().map(|p| (p.range.start, p.range.length, p.blob_size, p.blob_offset)).collect();
    let expected = [
        (0, 100, 100, 0),
        (100, 99, 100, 1),
        (199, 99, 100, 0),
        (298, 20, 20, 0),
        (318, 5, 10, 5),
        (323, 20, 20, 0),
        (343, 15, 30, 0),
        (358, 10, 10, 0),
        (368, 20, 20, 0),
        (388, 30, 30, 0),
    ];
    assert_eq!(slices, expected);
    w.delete(&["k"]).await;
    w.nothing_is_left().await;
}

pub(super) async fn a_range_is_of_the_source_that_its_caller_saw(w: World) {
    let source = w.put("one", 100).await;
    let upload = w.upload("k").await;
    let whole = ByteRange::whole(100);
    let beyond = copy_part_of(&w, &source, ByteRange::new(1, 100), upload, 1);
    refused(w.catalog.copy_part(beyond).await, &Refusal::Changed("the source"));
    let unknown = copy_part_of(&w, &source, whole, w.ids.upload(), 1);
    refused(w.catalog.copy_part(unknown).await, &Refusal::NoSuchUpload);
    w.put("one", 100).await;
    refused(
        w.catalog.copy_part(copy_part_of(&w, &source, whole, upload, 1)).await,
        &Refusal::Changed("the source"),
    );
    w.delete(&["one"]).await;
    refused(w.catalog.copy_part(copy_part_of(&w, &source, whole, upload, 1)).await, &Refusal::NoSuchKey);
    let empty = w.put("empty", 0).await;
    let part = w.catalog.copy_part(copy_part_of(&w, &empty, ByteRange::whole(0), upload, 1)).await.unwrap();
    assert_eq!(part.etag, etag(0));
}

pub(super) async fn parts_are_listed_page_by_page(w: World) {
    let upload = w.upload("k").await;
    for number in [3, 1, 9] {
        w.part(upload, "k", number, u64::from(number)).await;
    }
    let query = |after, limit| PartsQuery { upload, bucket: w.bucket, key: key("k"), after, limit };
    let page = w.catalog.list_parts(&query(0, 2)).await.unwrap();
    assert_eq!(page.parts.iter().map(|part| part.number).collect::<Vec<_>>(), [1, 3]);
    assert!(page.truncated);
    assert_eq!(page.upload.upload, upload);
    let page = w.catalog.list_parts(&query(3, 2)).await.unwrap();
    let last =
        Part { number: 9, size: 9, etag: etag(9), modified: now(), checksums: crate::Checksums::default() };
    assert_eq!((page.parts, page.truncated), (vec![last], false));
    assert!(!w.catalog.list_parts(&query(0, 0)).await.unwrap().truncated);
    let other = PartsQuery { key: key("other"), ..query(0, 2) };
    refused(w.catalog.list_parts(&other).await, &Refusal::NoSuchUpload);
}

fn lines(page: &UploadsPage) -> Vec<String> {
    let line = |line: &ListedUpload| match line {
        ListedUpload::Upload(upload) => upload.key.as_str().to_owned(),
        ListedUpload::Prefix(prefix) => format!("{prefix}*"),
    };
    page.lines.iter().map(line).collect()
}

pub(super) async fn uploads_are_listed_page_by_page(w: World) {
    for name in ["a", "b/1", "b/2", "c", "a", "a"] {
        w.upload(name).await;
    }
    let gone = w.upload("d").await;
    w.catalog.abort_upload(abort_of(&w, gone, "d")).await.unwrap();
    let mut query = UploadsQuery {
        bucket: w.bucket,
        prefix: String::new(),
        delimiter: None,
        after_key: None,
        after_upload: None,
        limit: 100,
    };
    let page = w.catalog.list_uploads(&query).await.unwrap();
    assert_eq!(
        (lines(&page), page.truncated),
        (["a", "a", "a", "b/1", "b/2", "c"].map(str::to_owned).to_vec(), false)
    );
    let ids: Vec<_> = page
        .lines
        .iter()
        .map(|line| match line {
            ListedUpload::Upload(upload) => upload.upload,
            ListedUpload::Prefix(_) => panic!("no delimiter was given"),
        })
        .collect();
    assert!(ids[..3].is_sorted());
    query.after_key = Some("a".to_owned());
    assert_eq!(lines(&w.catalog.list_uploads(&query).await.unwrap()), ["b/1", "b/2", "c"]);
    query.after_upload = Some(ids[0]);
    query.limit = 2;
    let page = w.catalog.list_uploads(&query).await.unwrap();
    assert_eq!((lines(&page), page.truncated), (["a", "a"].map(str::to_owned).to_vec(), true));
    query.delimiter = Some("/".to_owned());
    (query.after_key, query.after_upload) = (None, None);
    query.limit = 4;
    let page = w.catalog.list_uploads(&query).await.unwrap();
    assert_eq!((lines(&page), page.truncated), (["a", "a", "a", "b/*"].map(str::to_owned).to_vec(), true));
    query.after_key = Some("b/".to_owned());
    let page = w.catalog.list_uploads(&query).await.unwrap();
    assert_eq!((lines(&page), page.truncated), (vec!["c".to_owned()], false));
    query.limit = 0;
    assert!(!w.catalog.list_uploads(&query).await.unwrap().truncated);
}

pub(super) async fn racing_completions_make_one_object(w: World) {
    let upload = w.upload("k").await;
    for number in 1..=5 {
        w.part(upload, "k", number, 10).await;
    }
    let tasks: Vec<_> = (0..20)
        .map(|at| {
            let w = w.clone();
            runtime::spawn(async move {
                match at % 3 {
                    0 => w.catalog.complete_upload(w.complete_of(upload, "k", &[1, 2])).await.map(Some),
                    1 => w.catalog.complete_upload(w.complete_of(upload, "k", &[3, 4, 5])).await.map(Some),
                    _ => w.catalog.abort_upload(abort_of(&w, upload, "k")).await.map(|()| None),
                }
            })
        })
        .collect();
    let (mut made, mut aborted) = (0, 0);
    for task in tasks {
        match task.await.unwrap() {
            Ok(Some(completed)) => made += usize::from(!completed.already),
            Ok(None) => aborted += 1,
            Err(error) => assert_eq!(error.refusal(), Some(&Refusal::NoSuchUpload)),
        }
    }
    assert_eq!(made + aborted, 1);
    w.audit().await;
    w.delete(&["k"]).await;
    w.nothing_is_left().await;
}

pub(super) async fn n57_a_completion_of_ten_thousand_parts_is_one_transaction(w: World) {
    let upload = w.upload("k").await;
    let source = w.put("one", 10_000).await;
    let copies: Vec<_> = (1..=10_000_u32)
        .map(|number| {
            let range = ByteRange::new(u64::from(number) - 1, 1);
            // Copied parts are quick to make; each is a manifest of its own, which is the dearer kind.
            let copy = copy_part_of(&w, &source, range, upload, number);
            let w = w.clone();
            runtime::spawn(async move { w.catalog.copy_part(copy).await.map(|part| part.number) })
        })
        .collect();
    for copy in copies {
        copy.await.unwrap().unwrap();
    }
    let numbers: Vec<u32> = (1..=10_000).collect();
    let complete = w.complete_of(upload, "k", &numbers);
    // This stands for what a client would send; finding its parts is not the catalog's time.
    let decide = std::sync::Arc::new(move |_: &crate::Upload, parts: &[Part]| {
        let numbers = parts.iter().map(|part| part.number).collect();
        Ok(crate::Completion { numbers, state: state(10_000) })
    });
    let clock = runtime::Clock::system();
    let began = clock.now().as_millis();
    w.catalog.complete_upload(CompleteUpload { decide, ..complete }).await.unwrap();
    println!("completed 10,000 parts in {} ms", clock.now().as_millis() - began);
    let found = w.catalog.locate(w.bucket, &key("k"), Want::Last(1)).await.unwrap().unwrap();
    assert_eq!(found.pieces.len(), 1);
    assert_eq!(found.pieces[0].blob_offset, 9_999);
    w.delete(&["one", "k"]).await;
    w.nothing_is_left().await;
}

pub(super) async fn a_part_that_nobody_keeps_is_refused(w: World) {
    let upload = w.upload("k").await;
    let reserved: Reserved = w.reserve(5, 2).await;
    let mut part = w.part_of(upload, "k", 1, std::slice::from_ref(&reserved));
    part.blobs = vec![reserved.with(|_| WriteOutcome::Unsent)];
    refused(w.catalog.commit_part(part).await, &Refusal::NothingLive);
    w.catalog.let_go(w.boot, reserved.with(|_| WriteOutcome::Unsent).fates).await.unwrap();
    w.catalog.abort_upload(abort_of(&w, upload, "k")).await.unwrap();
    w.nothing_is_left().await;
}
