//! GetObjectAttributes.

use catalog::{Object, Want};
use engine::{GetObject, Read, ReadConditions};
use http::HeaderMap;
use http::header::LAST_MODIFIED;

use crate::answer::Answer;
use crate::error::{Code, Fault, Outcome};
use crate::headers::{self, ascii};
use crate::route::Verified;
use crate::xml::Writer;
use crate::{checksums, dates};

/// Most parts of a page.
const PARTS_MAX: u32 = 1000;

/// Which attributes are asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    etag: bool,
    checksum: bool,
    parts: bool,
    class: bool,
    size: bool,
}

/// Tells what is asked for of an object's state.
pub(crate) async fn get_object_attributes(request: Verified) -> Outcome<Answer> {
    let bucket = request.bucket()?;
    headers::check_owner(&request.headers, "x-amz-expected-bucket-owner")?;
    let wanted = wanted(&request.headers)?;
    let page = (
        number(&request.headers, "x-amz-part-number-marker")?.unwrap_or_default(),
        number(&request.headers, "x-amz-max-parts")?.unwrap_or(PARTS_MAX).min(PARTS_MAX),
    );
    let get = GetObject {
        bucket: bucket.bucket.clone(),
        key: request.key()?.clone(),
        want: Want::State,
        conditions: ReadConditions::default(),
    };
    let read = request.shared.engine.get_object(get).await?;
    request.note_read(&read);
    let Read::Found(opened) = read else {
        return Err(Code::InternalError.into());
    };
    let object = opened.object;
    let parts = if wanted.parts { object_parts(&request, &object, page).await? } else { None };
    let state = &object.state;
    let document = Writer::document("GetObjectAttributesResponse", 512, |w| {
        if wanted.etag {
            // Without quotes, here alone.
            w.text("ETag", state.etag.as_str());
        }
        if let (true, Some(kind)) = (wanted.checksum, checksums::type_of(&state.checksums)) {
            w.element("Checksum", |w| {
                checksums::into_xml(w, &state.checksums);
                w.text("ChecksumType", kind);
            });
        }
        if let Some(parts) = &parts {
            w.element("ObjectParts", |w| parts.write(w));
        }
        if wanted.class {
            w.text("StorageClass", state.headers.storage_class.as_deref().unwrap_or("STANDARD"));
        }
        if wanted.size {
            w.number("ObjectSize", state.size);
        }
    });
    Ok(Answer::xml(document).with(LAST_MODIFIED, dates::http_date(state.modified)))
}

fn wanted(headers: &HeaderMap) -> Outcome<Wanted> {
    let mut wanted = Wanted::default();
    for value in headers.get_all("x-amz-object-attributes") {
        for name in value.to_str().unwrap_or("?").split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                "ETag" => wanted.etag = true,
                "Checksum" => wanted.checksum = true,
                "ObjectParts" => wanted.parts = true,
                "StorageClass" => wanted.class = true,
                "ObjectSize" => wanted.size = true,
                _ => return Err(Fault::argument("Invalid attribute name specified.")),
            }
        }
    }
    if wanted == Wanted::default() {
        return Err(Fault::request(
            "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or empty",
        ));
    }
    Ok(wanted)
}

fn number(headers: &HeaderMap, name: &str) -> Outcome<Option<u32>> {
    let Some(text) = ascii(headers, name) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| Fault::argument(format!("{name} is not a number")))
}

struct Parts {
    after: u32,
    limit: u32,
    count: u32,
    parts: Vec<catalog::Part>,
    truncated: bool,
}

async fn object_parts(
    request: &Verified,
    object: &Object,
    (after, limit): (u32, u32),
) -> Outcome<Option<Parts>> {
    // One more than asked for tells whether there are more.
    let found = request.shared.engine.object_parts(object, after, limit + 1).await?;
    Ok(found.map(|(mut parts, count)| {
        let truncated = parts.len() > limit as usize;
        parts.truncate(limit as usize);
        Parts { after, limit, count, parts, truncated }
    }))
}

impl Parts {
    fn write(&self, w: &mut Writer) {
        w.flag("IsTruncated", self.truncated);
        w.number("MaxParts", self.limit);
        w.number("PartNumberMarker", self.after);
        w.number("NextPartNumberMarker", self.parts.last().map_or(self.after, |part| part.number));
        w.number("PartsCount", self.count);
        for part in &self.parts {
            w.element("Part", |w| {
                w.number("PartNumber", part.number);
                w.number("Size", part.size);
                checksums::into_xml(w, &part.checksums);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_stand_in_one_header_or_several() {
        let mut headers = HeaderMap::new();
        headers.append("x-amz-object-attributes", "ETag, ObjectSize".parse().unwrap());
        headers.append("x-amz-object-attributes", "Checksum".parse().unwrap());
        let expected = Wanted { etag: true, size: true, checksum: true, ..Wanted::default() };
        assert_eq!(wanted(&headers).unwrap(), expected);
        headers.append("x-amz-object-attributes", "Colour".parse().unwrap());
        assert_eq!(wanted(&headers).unwrap_err().code, Code::InvalidArgument);
        assert_eq!(wanted(&HeaderMap::new()).unwrap_err().code, Code::InvalidRequest);
    }
}
