//! Objects that expire. Each has one client that writes it now and then, so it is known what may be there: until it
//! is old enough, exactly what was written last; some time later, nothing.

use std::sync::Arc;
use std::time::Duration;

use catalog::{Client as Caller, ObjectHeaders, Precondition, Want};
use engine::{EngineError, GetObject, PutObject, Read, ReadConditions};
use types::{ETag, ObjectKey};

use crate::process::Process;
use crate::simulation::Site;
use crate::{ExpiryPlan, Law, body};

/// What all of their keys begin with.
pub(crate) const PREFIX: &str = "expiring/";
/// Bytes in each.
const BYTES: usize = 300;

/// Writes one of them as often as the plan says.
pub(crate) async fn write(site: Site, plan: ExpiryPlan, number: usize) {
    let key = ObjectKey::parse(&format!("{PREFIX}{number}")).expect("a short key");
    for (index, pause) in plan.pauses_ms[number].iter().enumerate() {
        runtime::sleep(Duration::from_millis(*pause)).await;
        let seed = plan.seed ^ ((number as u64) << 32) ^ index as u64;
        let Some((began, etag)) = put(&site, &key, seed).await else { continue };
        // Instances do not tell the time to the second.
        let exact_ms = if site.world().plan.instances.is_some() { 2_000 } else { 0 };
        watch(&site, &key, &etag, (began + plan.age_ms).saturating_sub(exact_ms)).await;
    }
}

async fn process_of(site: &Site) -> Arc<Process> {
    loop {
        if let Some(process) = site.process() {
            return process;
        }
        runtime::sleep(Duration::from_millis(150)).await;
    }
}

/// Writes; gives when it began, where it was told that it was done.
async fn put(site: &Site, key: &ObjectKey, seed: u64) -> Option<(u64, ETag)> {
    let process = process_of(site).await;
    let world = site.world();
    let data = body::draw(BYTES, seed);
    let etag = ETag::of_md5(engine::md5_of(&data));
    let began = world.now_ms();
    let request = PutObject {
        bucket: process.bucket.clone(),
        key: key.clone(),
        body: body::incoming(world, &data, seed, None),
        headers: ObjectHeaders::default(),
        metadata: Vec::new(),
        tags: Vec::new(),
        precondition: Precondition::default(),
        client: Caller::default(),
    };
    let engine = process.engine.clone();
    let answer = process.request(async move { engine.put_object(request).await }).await;
    world.event(format_args!("{key} was written: {}", matches!(answer, Ok(Ok(_)))));
    matches!(answer, Ok(Ok(_))).then_some((began, etag))
}

/// Until it is old enough it is there.
async fn watch(site: &Site, key: &ObjectKey, etag: &ETag, until_ms: u64) {
    let world = site.world();
    for _ in 0..3 {
        let left = until_ms.saturating_sub(world.now_ms());
        runtime::sleep(Duration::from_millis(world.chance.below(left.max(1)))).await;
        let process = process_of(site).await;
        let (engine, bucket) = (process.engine.clone(), process.bucket.clone());
        let conditions = ReadConditions::default();
        let request = GetObject { bucket, key: key.clone(), want: Want::State, conditions };
        let found = process.request(async move { engine.get_object(request).await }).await;
        let found = match found {
            Ok(Ok(Read::Found(opened))) => Some(opened.object.state.etag),
            Ok(Err(EngineError::NoSuchKey)) => None,
            _ => continue,
        };
        if world.now_ms() < until_ms && found.as_ref() != Some(etag) {
            let what = format!("{key} is {found:?}, and it was {etag} until {until_ms} ms at least");
            world.violate(Law::Expiry, what);
        }
    }
}
