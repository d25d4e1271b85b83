//! Expiry: objects that are old enough, uploads that nobody goes on with.

use async_trait::async_trait;
use runtime::mutation;
use rusqlite::{Connection, OptionalExtension, params};
use types::{ChangeId, Timestamp, UploadId};

use super::rows::{self, Json, Key, millis};
use super::walk::{Scope, just_behind};
use super::writer::{Dooms, Tx};
use super::{Sqlite, content, journal, stmt};
use crate::journal::{Entry, Item};
use crate::{BucketId, CatalogError, ExpiredPage, ExpiredQuery, Expiry, Metadata, SeenObject, StaleUpload};

#[async_trait]
impl Expiry for Sqlite {
    async fn expired(&self, query: &ExpiredQuery) -> Result<ExpiredPage, CatalogError> {
        let query = query.clone();
        self.scan(move |conn| expired(conn, &query)).await
    }

    async fn expire_objects(
        &self,
        change: ChangeId,
        bucket: BucketId,
        seen: Vec<SeenObject>,
    ) -> Result<u32, CatalogError> {
        self.write(move |tx| expire_objects(tx, change, bucket, &seen)).await
    }

    async fn stale_uploads(&self, before: Timestamp, limit: u32) -> Result<Vec<StaleUpload>, CatalogError> {
        self.scan(move |conn| stale_uploads(conn, before, limit)).await
    }
}

fn expired(conn: &Connection, query: &ExpiredQuery) -> Result<ExpiredPage, CatalogError> {
    let scope = Scope::new(&query.prefix, None);
    let behind = query.after.as_ref().map(|key| just_behind(key.as_str().as_bytes()));
    let from = behind.unwrap_or_default().max(scope.start(None));
    let mut statement = stmt(
        conn,
        "SELECT key, modified, tags, change FROM objects \
         WHERE bucket = ?1 AND key >= ?2 AND key < ?3 ORDER BY key LIMIT ?4",
    )?;
    let mut found = statement.query(params![query.bucket.0, from, scope.end(), query.rows_max])?;
    let (mut page, mut looked_at) = (ExpiredPage::default(), 0);
    while let Some(row) = found.next()? {
        looked_at += 1;
        let key = row.get::<_, Key>(0)?.0;
        if looked_at == query.rows_max {
            page.next = Some(key.clone());
        }
        let carries = |tags: &Metadata| query.tags.iter().all(|tag| tags.contains(tag));
        if rows::time(row, 1)? < query.before && carries(&row.get::<_, Json<Metadata>>(2)?.0) {
            page.objects.push(SeenObject { key, change: ChangeId::from_bytes(row.get(3)?) });
        }
    }
    Ok(page)
}

fn expire_objects(
    tx: &mut Tx<'_>,
    change: ChangeId,
    bucket: BucketId,
    seen: &[SeenObject],
) -> Result<u32, CatalogError> {
    if let Some(recorded) = journal::find(tx, change)? {
        return Ok(removed(&recorded.entry));
    }
    tx.dooms(Dooms::ByWorker);
    let (mut entry, mut sequence) = (Entry::new(), None);
    for object in seen {
        let key = object.key.as_str().as_bytes();
        let anyhow = mutation::is_on("expire.unchanged");
        let content = tx
            .stmt(
                "DELETE FROM objects WHERE bucket = ?1 AND key = ?2 AND (change = ?3 OR ?4) \
                 RETURNING blob, manifest",
            )?
            .query_row(params![bucket.0, key, object.change.to_bytes(), anyhow], |row| rows::content(row, 0))
            .optional()?;
        let Some(content) = content else { continue };
        content::drop_ref(tx, content, &mut entry)?;
        let revision = *sequence.get_or_insert_with(|| tx.next_sequence());
        entry.push(Item::Removed { bucket: bucket.0, key: object.key.clone(), revision });
    }
    if let Some(sequence) = sequence {
        journal::append(tx, change, sequence, &entry, None)?;
    }
    Ok(removed(&entry))
}

fn removed(entry: &Entry<'_>) -> u32 {
    let removed = entry.items.iter().filter(|item| matches!(item, Item::Removed { .. }));
    u32::try_from(removed.count()).unwrap_or(u32::MAX)
}

fn stale_uploads(conn: &Connection, before: Timestamp, limit: u32) -> Result<Vec<StaleUpload>, CatalogError> {
    // An upload's id begins with its time.
    let youngest = UploadId::from_parts(before, 0);
    let found = stmt(
        conn,
        "SELECT upload, bucket, key FROM uploads INDEXED BY uploads_by_age \
         WHERE state = 0 AND upload < ?1 AND initiated < ?2 AND NOT EXISTS \
         (SELECT 1 FROM parts WHERE parts.upload = uploads.upload AND parts.modified >= ?2) \
         ORDER BY upload LIMIT ?3",
    )?
    .query_map(params![youngest.to_bytes(), millis(before), limit], |row| {
        Ok(StaleUpload {
            upload: UploadId::from_bytes(row.get(0)?),
            bucket: BucketId(row.get(1)?),
            key: row.get::<_, Key>(2)?.0,
        })
    })?
    .collect::<rusqlite::Result<_>>()?;
    Ok(found)
}
