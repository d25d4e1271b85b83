//! Listings of objects: a page costs the page.

use rusqlite::{Connection, Row, params};

use super::rows::{self, Json, Key};
use super::stmt;
use super::walk::{Scope, successor};
use crate::{BucketId, CatalogError, ListPage, ListQuery, Listed, ListedObject};

pub(super) fn list(conn: &Connection, query: &ListQuery) -> Result<ListPage, CatalogError> {
    counted(conn, query).map(|(page, _)| page)
}

/// A page, and how many rows were looked at for it.
pub(super) fn counted(conn: &Connection, query: &ListQuery) -> Result<(ListPage, u64), CatalogError> {
    let mut page = ListPage::default();
    let mut rows_seen = 0;
    if query.limit == 0 {
        return Ok((page, rows_seen));
    }
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let scope = Scope::new(&query.prefix, query.delimiter.as_deref());
    let mut next = Some(scope.start(query.after.as_ref()));
    while let Some(from) = next.take() {
        let mut statement = stmt(
            conn,
            "SELECT key, size, etag, modified, checksums, headers ->> 'storage_class' FROM objects \
             WHERE bucket = ?1 AND key >= ?2 AND key < ?3 ORDER BY key",
        )?;
        let mut found = statement.query(params![query.bucket.0, from, scope.end()])?;
        while let Some(row) = found.next()? {
            rows_seen += 1;
            if page.lines.len() == limit {
                page.truncated = true;
                return Ok((page, rows_seen));
            }
            let key = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
            if let Some(common) = scope.common_prefix(key) {
                page.lines.push(Listed::Prefix(text(query.bucket, common)?));
                next = Some(successor(common));
                break;
            }
            page.lines.push(Listed::Object(listed(row)?));
        }
    }
    Ok((page, rows_seen))
}

fn listed(row: &Row<'_>) -> rusqlite::Result<ListedObject> {
    Ok(ListedObject {
        key: row.get::<_, Key>(0)?.0,
        size: rows::size(row, 1)?,
        etag: rows::etag(row, 2)?,
        modified: rows::time(row, 3)?,
        checksums: row.get::<_, Json<_>>(4)?.0,
        storage_class: row.get(5)?,
    })
}

/// A common prefix as text.
pub(super) fn text(bucket: BucketId, bytes: &[u8]) -> Result<String, CatalogError> {
    String::from_utf8(bytes.to_owned())
        .map_err(|_| CatalogError::Damaged(format!("a key in bucket {} is not UTF-8", bucket.0)))
}
