//! The proof of the books: every count and sum equals what it counts.

use rusqlite::Connection;

use super::stmt;
use crate::CatalogError;

/// Wrong lines reported per rule; the rest is more of the same.
const LINES_MAX: usize = 20;

pub(super) fn audit(conn: &Connection) -> Result<Vec<String>, CatalogError> {
    let mut lines = Vec::new();
    for (rule, sql) in RULES {
        let mut statement = stmt(conn, sql)?;
        let mut found = statement.query([])?;
        let mut wrong = 0;
        while let Some(row) = found.next()? {
            wrong += 1;
            if wrong > LINES_MAX {
                lines.push(format!("{rule}: and more"));
                break;
            }
            lines.push(format!("{rule}: {}", row.get::<_, String>(0)?));
        }
    }
    Ok(lines)
}

/// What holds, and the statement that finds where it does not. All of them read whole tables.
const RULES: &[(&str, &str)] = &[
    (
        "a blob counts its references",
        "/* audit */ WITH held (blob) AS (
             SELECT blob FROM objects WHERE blob IS NOT NULL UNION ALL
             SELECT blob FROM parts WHERE blob IS NOT NULL UNION ALL SELECT blob FROM entries),
         counted (blob, n) AS (SELECT blob, COUNT(*) FROM held GROUP BY blob)
         SELECT 'blob ' || hex(b.blob) || ' says ' || b.refs || ', has ' || COALESCE(c.n, 0)
         FROM blobs AS b LEFT JOIN counted AS c ON c.blob = b.blob WHERE b.refs <> COALESCE(c.n, 0)
         UNION ALL SELECT 'blob ' || hex(c.blob) || ' is referenced and not there'
         FROM counted AS c LEFT JOIN blobs AS b ON b.blob = c.blob WHERE b.blob IS NULL",
    ),
    (
        "a manifest counts its references",
        "/* audit */ WITH held (manifest) AS (
             SELECT manifest FROM objects WHERE manifest IS NOT NULL UNION ALL
             SELECT manifest FROM parts WHERE manifest IS NOT NULL),
         counted (manifest, n) AS (SELECT manifest, COUNT(*) FROM held GROUP BY manifest)
         SELECT 'manifest ' || hex(m.manifest) || ' says ' || m.refs || ', has ' || COALESCE(c.n, 0)
         FROM manifests AS m LEFT JOIN counted AS c ON c.manifest = m.manifest WHERE m.refs <> COALESCE(c.n, 0)
         UNION ALL SELECT 'manifest ' || hex(c.manifest) || ' is referenced and not there'
         FROM counted AS c LEFT JOIN manifests AS m ON m.manifest = c.manifest WHERE m.manifest IS NULL",
    ),
    (
        "a blob counts its live replicas",
        "/* audit */ WITH counted (blob, n) AS (SELECT blob, COUNT(*) FROM replicas WHERE state = 1 GROUP BY blob)
         SELECT 'blob ' || hex(b.blob) || ' says ' || b.replicas_live || ', has ' || COALESCE(c.n, 0)
         FROM blobs AS b LEFT JOIN counted AS c ON c.blob = b.blob WHERE b.replicas_live <> COALESCE(c.n, 0)",
    ),
    (
        "what was imported has its replica",
        "/* audit */ SELECT 'import of ' || i.path FROM imports AS i
         LEFT JOIN replicas AS r ON r.replica = i.replica AND r.backend = i.backend AND r.path = i.path
         WHERE r.replica IS NULL",
    ),
    (
        "a backend's sums are right",
        "/* audit */ WITH summed AS (SELECT backend, SUM(charged) AS charged, SUM(state = 1) AS live,
             SUM(state = 3) AS doomed, SUM(CASE WHEN state = 3 THEN charged ELSE 0 END) AS doomed_bytes
             FROM replicas GROUP BY backend)
         SELECT 'backend ' || b.name || ' says ' || b.charged || '/' || b.replicas_live || '/' || b.replicas_doomed
             || '/' || b.doomed_bytes || ', has ' || COALESCE(s.charged, 0) || '/' || COALESCE(s.live, 0) || '/'
             || COALESCE(s.doomed, 0) || '/' || COALESCE(s.doomed_bytes, 0)
         FROM backends AS b LEFT JOIN summed AS s ON s.backend = b.id
         WHERE b.charged <> COALESCE(s.charged, 0) OR b.replicas_live <> COALESCE(s.live, 0)
             OR b.replicas_doomed <> COALESCE(s.doomed, 0) OR b.doomed_bytes <> COALESCE(s.doomed_bytes, 0)",
    ),
    (
        "a replica has a blob and a backend",
        "/* audit */ SELECT 'replica ' || hex(r.replica) FROM replicas AS r
         LEFT JOIN blobs AS b ON b.blob = r.blob LEFT JOIN backends AS k ON k.id = r.backend
         WHERE b.blob IS NULL OR k.id IS NULL",
    ),
    (
        "a blob without references has doomed or writing replicas only, and at least one",
        "/* audit */ SELECT 'blob ' || hex(b.blob) FROM blobs AS b WHERE b.refs = 0 AND (
             EXISTS (SELECT 1 FROM replicas AS r WHERE r.blob = b.blob AND r.state IN (1, 2))
             OR NOT EXISTS (SELECT 1 FROM replicas AS r WHERE r.blob = b.blob))",
    ),
    (
        "a referenced blob can be read",
        "/* audit */ SELECT 'blob ' || hex(b.blob) FROM blobs AS b WHERE b.refs > 0
         AND NOT EXISTS (SELECT 1 FROM replicas AS r WHERE r.blob = b.blob AND r.state IN (1, 2))",
    ),
    (
        "a backend has one writing or live replica of a blob",
        "/* audit */ SELECT 'blob ' || hex(blob) || ' on backend ' || backend FROM replicas WHERE state IN (0, 1)
         GROUP BY blob, backend HAVING COUNT(*) > 1",
    ),
    (
        "a writing replica has a living owner, a doomed one its number, no other has either",
        "/* audit */ SELECT 'replica ' || hex(r.replica) || ' in state ' || r.state FROM replicas AS r
         LEFT JOIN instances AS i ON i.boot = r.owner
         WHERE (r.state = 0) <> (r.owner IS NOT NULL) OR (r.state = 3) <> (r.doomed_seq IS NOT NULL)
             OR (r.state = 0 AND COALESCE(i.alive, 0) = 0)",
    ),
    (
        "a manifest dissolves where nothing references it",
        "/* audit */ SELECT 'manifest ' || hex(manifest) FROM manifests WHERE (refs = 0) <> (doomed_seq IS NOT NULL)",
    ),
    (
        "entries cover their manifest without gap or overlap",
        "/* audit */ WITH runs AS (SELECT manifest, start, length,
             LAG(start + length, 1, 0) OVER (PARTITION BY manifest ORDER BY start) AS ended FROM entries),
         summed AS (SELECT manifest, SUM(length) AS size, MAX(start <> ended) AS torn FROM runs GROUP BY manifest)
         SELECT 'manifest ' || hex(m.manifest) FROM manifests AS m LEFT JOIN summed AS s ON s.manifest = m.manifest
         WHERE m.refs > 0 AND (m.size <> COALESCE(s.size, 0) OR COALESCE(s.torn, 0))
         UNION ALL SELECT 'entries of no manifest ' || hex(e.manifest) FROM entries AS e
         LEFT JOIN manifests AS m ON m.manifest = e.manifest WHERE m.manifest IS NULL",
    ),
    (
        "an entry lies within its blob",
        "/* audit */ SELECT 'manifest ' || hex(e.manifest) || ' at ' || e.start FROM entries AS e
         JOIN blobs AS b ON b.blob = e.blob WHERE e.blob_offset + e.length > b.size",
    ),
    (
        "the parts of a manifest cover it",
        "/* audit */ WITH summed AS (
             SELECT manifest, COUNT(*) AS n, SUM(size) AS size FROM manifest_parts GROUP BY manifest)
         SELECT 'manifest ' || hex(m.manifest) FROM manifests AS m LEFT JOIN summed AS s ON s.manifest = m.manifest
         WHERE m.parts <> COALESCE(s.n, 0) OR (m.parts > 0 AND m.size <> s.size)
         UNION ALL SELECT 'parts of no manifest ' || hex(s.manifest) FROM summed AS s
         LEFT JOIN manifests AS m ON m.manifest = s.manifest WHERE m.manifest IS NULL",
    ),
    (
        "an object or part is as long as its content",
        "/* audit */ SELECT 'object ' || quote(o.key) || ' in bucket ' || o.bucket FROM objects AS o
         LEFT JOIN blobs AS b ON b.blob = o.blob LEFT JOIN manifests AS m ON m.manifest = o.manifest
         WHERE o.size <> COALESCE(b.size, m.size, -1)
         UNION ALL SELECT 'part ' || p.number || ' of upload ' || hex(p.upload) FROM parts AS p
         LEFT JOIN blobs AS b ON b.blob = p.blob LEFT JOIN manifests AS m ON m.manifest = p.manifest
         WHERE p.size <> COALESCE(b.size, m.size, -1)",
    ),
    (
        "a referenced blob has a checksum of each block",
        "/* audit */ SELECT 'blob ' || hex(b.blob) FROM blobs AS b LEFT JOIN blocks AS k ON k.blob = b.blob
         WHERE COALESCE(length(k.crcs), 0) <> CASE WHEN b.refs > 0 THEN (b.size + 65535) / 65536 * 4 ELSE 0 END
         UNION ALL SELECT 'blocks of no blob ' || hex(k.blob) FROM blocks AS k
         LEFT JOIN blobs AS b ON b.blob = k.blob WHERE b.blob IS NULL",
    ),
    (
        "a bucket counts its open uploads",
        "/* audit */ WITH counted (bucket, n) AS (
             SELECT bucket, COUNT(*) FROM uploads WHERE state = 0 GROUP BY bucket)
         SELECT 'bucket ' || b.name || ' says ' || b.uploads_open || ', has ' || COALESCE(c.n, 0)
         FROM buckets AS b LEFT JOIN counted AS c ON c.bucket = b.id WHERE b.uploads_open <> COALESCE(c.n, 0)",
    ),
    (
        "a part belongs to an open upload",
        "/* audit */ SELECT 'part ' || p.number || ' of upload ' || hex(p.upload) FROM parts AS p
         LEFT JOIN uploads AS u ON u.upload = p.upload WHERE COALESCE(u.state, -1) <> 0",
    ),
    (
        "a grant has a living owner",
        "/* audit */ SELECT 'a grant of ' || g.backend || ' to ' || hex(g.owner) FROM grants AS g
         LEFT JOIN instances AS i ON i.boot = g.owner WHERE COALESCE(i.alive, 0) = 0",
    ),
    (
        "a limit's sums cover its grants",
        "/* audit */ WITH summed AS (SELECT backend, kind, period,
             SUM(CASE traffic WHEN 0 THEN granted ELSE 0 END) AS gc, SUM(CASE traffic WHEN 1 THEN granted ELSE 0 END) AS gm,
             SUM(CASE traffic WHEN 0 THEN spent ELSE 0 END) AS sc, SUM(CASE traffic WHEN 1 THEN spent ELSE 0 END) AS sm
             FROM grants GROUP BY backend, kind, period)
         SELECT 'limit ' || s.kind || ' of ' || s.backend FROM summed AS s
         LEFT JOIN limits AS l ON l.backend = s.backend AND l.kind = s.kind AND l.period = s.period
         WHERE COALESCE(l.granted_client, -1) < s.gc OR COALESCE(l.granted_maintenance, -1) < s.gm
             OR COALESCE(l.spent_client, -1) < s.sc OR COALESCE(l.spent_maintenance, -1) < s.sm
         UNION ALL SELECT 'limit ' || kind || ' of ' || backend || ' is overspent' FROM limits
         WHERE spent_client > granted_client OR spent_maintenance > granted_maintenance
             OR spent_client < 0 OR spent_maintenance < 0",
    ),
    (
        "the counters are ahead of all that they numbered",
        "/* audit */ SELECT 'sequence ' || c.sequence || ', doomed_seq ' || c.doomed_seq FROM counters AS c
         WHERE c.sequence < COALESCE((SELECT MAX(seq) FROM journal), 0)
             OR c.sequence < COALESCE((SELECT MAX(revision) FROM objects), 0)
             OR c.doomed_seq < COALESCE((SELECT MAX(doomed_seq) FROM replicas), 0)
             OR c.doomed_seq < COALESCE((SELECT MAX(doomed_seq) FROM manifests), 0)",
    ),
];
