//! The multipart uploads of a worker, across restarts of the server.

use std::collections::BTreeMap;

use testkit::wire::{Answer, Call};

use crate::value::{Run, Value, md5_hex};
use crate::worker::{Stop, Worker};

/// Highest part number that is used.
const PARTS_MAX: u64 = 9;

/// An upload that was acknowledged and not ended yet, as far as its worker knows.
#[derive(Debug)]
pub(crate) struct Upload {
    key: String,
    id: String,
    /// Parts that were acknowledged.
    parts: BTreeMap<u64, Run>,
    /// The part whose answer has not come.
    unsure: Option<(u64, Run)>,
    /// How it ends, where that was asked for and not answered.
    ending: Option<Ending>,
}

#[derive(Debug, Clone)]
enum Ending {
    Completed(Value),
    Aborted,
}

impl Upload {
    fn call(&self, method: &str) -> Call {
        Call::new(method, &self.key).query("uploadId", &self.id)
    }

    fn manifest(&self) -> String {
        let part = |(number, run): (&u64, &Run)| {
            let etag = md5_hex(&run.bytes());
            format!("<Part><PartNumber>{number}</PartNumber><ETag>\"{etag}\"</ETag></Part>")
        };
        let parts: String = self.parts.iter().map(part).collect();
        format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>")
    }
}

impl Worker {
    /// The next step of an upload.
    pub(crate) async fn multipart(&mut self) -> Result<(), Stop> {
        let Some(upload) = &self.upload else { return self.create().await };
        match self.chance.below(100) {
            0..15 if !upload.parts.is_empty() => self.complete().await,
            15..20 => self.abort().await,
            _ => self.send_part().await,
        }
    }

    async fn create(&mut self) -> Result<(), Stop> {
        let key = self.own_key();
        let call = Call::new("POST", &key).flag("uploads");
        let answer = self.wire.send(&call).await?;
        self.expect(&answer, 200, &call)?;
        let Some(id) = answer.element("UploadId") else {
            return Err(Stop::Wrong(format!("an upload without an id: {}", answer.text())));
        };
        self.upload = Some(Upload { key, id, parts: BTreeMap::new(), unsure: None, ending: None });
        Ok(())
    }

    /// Sends a part, often one that was sent before.
    async fn send_part(&mut self) -> Result<(), Stop> {
        let (number, run) = (1 + self.chance.below(PARTS_MAX), self.new_run());
        let upload = self.upload.as_mut().expect("it is open");
        upload.unsure = Some((number, run));
        let call = upload.call("PUT").query("partNumber", &number.to_string()).body(run.bytes());
        let answer = self.wire.send(&call).await?;
        self.expect(&answer, 200, &call)?;
        let upload = self.upload.as_mut().expect("it is open");
        upload.parts.insert(number, run);
        upload.unsure = None;
        Ok(())
    }

    async fn complete(&mut self) -> Result<(), Stop> {
        let upload = self.upload.as_mut().expect("it is open");
        let value = Value::of_parts(upload.parts.values().copied().collect());
        upload.ending = Some(Ending::Completed(value.clone()));
        let call = upload.call("POST").body(upload.manifest());
        let write = self.history.begin(&upload.key, Some(value.clone()));
        let answer = self.wire.send(&call).await?;
        self.expect(&answer, 200, &call)?;
        check_completed(&answer, &value)?;
        self.history.acknowledge(&write);
        self.upload = None;
        Ok(())
    }

    async fn abort(&mut self) -> Result<(), Stop> {
        let upload = self.upload.as_mut().expect("it is open");
        upload.ending = Some(Ending::Aborted);
        let call = upload.call("DELETE");
        let answer = self.wire.send(&call).await?;
        self.expect(&answer, 204, &call)?;
        self.upload = None;
        Ok(())
    }

    /// After a restart: every acknowledged part is still there, and an ending that was not answered has
    /// happened as a whole or not at all. `seen` is what the keys hold.
    pub(crate) async fn recover(&mut self, seen: &BTreeMap<String, Option<Value>>) -> Result<(), Stop> {
        let Some(upload) = self.upload.take() else { return Ok(()) };
        let held = seen.get(&upload.key).cloned().flatten();
        let answer = self.wire.send(&upload.call("GET")).await?;
        match (answer.status, &upload.ending) {
            (404, Some(Ending::Aborted)) => Ok(()),
            (404, Some(Ending::Completed(value))) => {
                if held.as_ref() != Some(value) {
                    let key = &upload.key;
                    return Err(Stop::Wrong(format!(
                        "{key}: its upload is gone, but it holds {held:?}, not {value:?}"
                    )));
                }
                // A completion is remembered: whoever lost the answer asks again.
                let again = self.wire.send(&upload.call("POST").body(upload.manifest())).await?;
                self.expect(&again, 200, &upload.call("POST"))?;
                check_completed(&again, value)
            }
            (200, ending) => {
                if let Some(Ending::Completed(value)) = ending
                    && held.as_ref() == Some(value)
                {
                    let key = &upload.key;
                    return Err(Stop::Wrong(format!("{key} holds {value:?}, but its upload is still open")));
                }
                self.upload = Some(adopt(upload, &answer)?);
                Ok(())
            }
            _ => Err(Stop::Wrong(format!(
                "an open upload is lost: {upload:?}: {} {}",
                answer.status,
                answer.text()
            ))),
        }
    }

    /// Aborts what is open.
    pub(crate) async fn give_up(&mut self) -> Result<(), Stop> {
        if self.upload.is_some() { self.abort().await } else { Ok(()) }
    }
}

fn check_completed(answer: &Answer, value: &Value) -> Result<(), Stop> {
    if answer.element("ETag").as_ref() == Some(&value.etag) {
        return Ok(());
    }
    Err(Stop::Wrong(format!("a completion of {value:?} was answered with {}", answer.text())))
}

/// Compares the listing of parts with what was acknowledged, and believes it where that is unsure.
fn adopt(mut upload: Upload, listing: &Answer) -> Result<Upload, Stop> {
    let (numbers, etags, sizes) =
        (listing.elements("PartNumber"), listing.elements("ETag"), listing.elements("Size"));
    let mut listed = BTreeMap::new();
    for ((number, etag), size) in numbers.iter().zip(etags).zip(sizes) {
        let number: u64 = number.parse().map_err(|_| Stop::Wrong(listing.text()))?;
        let known = upload.parts.get(&number).copied();
        let unsure = upload.unsure.filter(|(unsure, _)| *unsure == number).map(|(_, run)| run);
        let is =
            |run: &Run| etag == format!("\"{}\"", md5_hex(&run.bytes())) && size == run.length.to_string();
        let Some(run) = [known, unsure].into_iter().flatten().find(is) else {
            return Err(Stop::Wrong(format!("part {number} is listed with {etag} and {size}: {upload:?}")));
        };
        listed.insert(number, run);
    }
    if let Some(lost) = upload.parts.keys().find(|number| !listed.contains_key(number)) {
        return Err(Stop::Wrong(format!("part {lost} was acknowledged and is lost: {upload:?}")));
    }
    upload.parts = listed;
    upload.unsure = None;
    upload.ending = None;
    Ok(upload)
}
