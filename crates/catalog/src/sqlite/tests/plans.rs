//! What statements cost: the plan of each, and the rows that a page of a listing looks at.

use rusqlite::{Connection, params};

use super::{statements, suite_in_memory};
use crate::sqlite::{list, repair, schema};
use crate::{BucketId, ListPosition, ListQuery};

/// Tables that stay small: as many rows as the configuration names, or one.
const SMALL: &[&str] =
    &["backends", "buckets", "instances", "meta", "counters", "rounds", "brake", "brake_minutes"];

/// Walks a whole index, which the statement names because it holds only what is looked for.
const WHOLE_INDEXES: &[&str] =
    &["replicas_writing", "blobs_under_replicated", "blobs_surplus", "replicas_quarantined"];

/// Whether a line of a plan walks a table that grows.
fn walks(line: &str) -> bool {
    let Some(rest) = line.strip_prefix("SCAN ") else { return false };
    let table = rest.split(' ').next().unwrap_or(rest);
    let whole_index = rest.rsplit(' ').next().is_some_and(|index| WHOLE_INDEXES.contains(&index));
    let made_here = rest.starts_with('(') || rest == "CONSTANT ROW";
    !SMALL.contains(&table) && !whole_index && !made_here
}

fn plan(conn: &Connection, sql: &str) -> Vec<String> {
    let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    // A plan does not depend on the values.
    for at in 1..=statement.parameter_count() {
        statement.raw_bind_parameter(at, 1).unwrap();
    }
    let mut rows = statement.raw_query();
    let mut lines = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        lines.push(row.get(3).unwrap());
    }
    lines
}

#[tokio::test]
async fn n63_n65_no_statement_walks_a_table_that_grows() {
    suite_in_memory().await;
    let mut conn = Connection::open_in_memory().unwrap();
    schema::migrate(&mut conn, 0).unwrap();
    let known = statements();
    let is_checked = |sql: &&&str| {
        let control = ["BEGIN", "COMMIT", "SAVEPOINT", "ROLLBACK", "RELEASE"];
        // The audit reads everything on purpose; tests make tables of their own.
        !control.iter().any(|word| sql.starts_with(word))
            && !sql.starts_with("/* audit */")
            && !sql.contains("INTO c ")
    };
    let checked: Vec<_> = known.iter().filter(is_checked).collect();
    assert!(checked.len() > 60, "the suite runs every statement: {}", checked.len());
    let mut wrong = Vec::new();
    for sql in checked {
        let lines = plan(&conn, sql);
        if lines.iter().any(|line| walks(line)) {
            wrong.push(format!("{sql}\n    {}", lines.join("\n    ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_walk_is_recognised() {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch("CREATE TABLE t (a PRIMARY KEY, b)").unwrap();
    assert!(plan(&conn, "SELECT * FROM t WHERE b = ?1").iter().any(|line| walks(line)));
    assert!(plan(&conn, "SELECT a FROM t ORDER BY a").iter().any(|line| walks(line)));
    assert!(!plan(&conn, "SELECT * FROM t WHERE a = ?1").iter().any(|line| walks(line)));
}

/// A bucket with `folders` folders of `each` keys.
fn bucket(folders: u32, each: u32) -> Connection {
    let mut conn = Connection::open_in_memory().unwrap();
    schema::migrate(&mut conn, 0).unwrap();
    let tx = conn.transaction().unwrap();
    let sql = "INSERT INTO objects (bucket, key, size, etag, modified, revision, change, blob, access_key) \
               VALUES (1, ?1, 1, 'e', 1, 1, x'00', x'00', 'a')";
    let mut insert = tx.prepare(sql).unwrap();
    for folder in 0..folders {
        for number in 0..each {
            insert.execute(params![format!("all/{folder:05}/{number:07}").into_bytes()]).unwrap();
        }
    }
    drop(insert);
    tx.commit().unwrap();
    conn
}

fn rows_for(conn: &Connection, prefix: &str, delimiter: Option<&str>, after: Option<ListPosition>) -> u64 {
    let query = ListQuery {
        bucket: BucketId(1),
        prefix: prefix.to_owned(),
        delimiter: delimiter.map(str::to_owned),
        after,
        limit: 100,
    };
    list::counted(conn, &query).unwrap().1
}

#[test]
fn n73_a_page_costs_the_page_and_not_the_bucket() {
    for (folders, each) in [(300, 10), (300, 200), (2, 30_000)] {
        let conn = bucket(folders, each);
        let middle = Some(ListPosition::Key("all/00001/0000003".to_owned()));
        let cases = [
            ("", None, None),
            ("all/", None, middle.clone()),
            ("", Some("/"), None),
            ("all/", Some("/"), None),
            ("all/", Some("/"), middle),
            ("all/", Some("/"), Some(ListPosition::Prefix("all/00001/".to_owned()))),
            ("all/00001/", Some("/"), None),
            ("none/", Some("/"), None),
        ];
        for (prefix, delimiter, after) in cases {
            let rows = rows_for(&conn, prefix, delimiter, after.clone());
            assert!(rows <= 101, "{rows} rows of {folders} x {each}: {prefix:?} {delimiter:?} {after:?}");
        }
    }
}

/// Some blobs that lack replicas: `queued` that still have one, and as many that have none and wait.
fn short_blobs(queued: u32) -> Connection {
    let mut conn = Connection::open_in_memory().unwrap();
    schema::migrate(&mut conn, 0).unwrap();
    let tx = conn.transaction().unwrap();
    let sql = "INSERT INTO blobs (blob, size, refs, wanted, replicas_live, next_attempt) \
               VALUES (?1, 1, 1, 2, ?2, ?3)";
    let mut insert = tx.prepare(sql).unwrap();
    for number in 0..queued {
        let id = |kind: u8| [&[kind; 12][..], &number.to_be_bytes()].concat();
        insert.execute(params![id(1), 1, 0]).unwrap();
        insert.execute(params![id(2), 0, 1_000_000]).unwrap();
        insert.execute(params![id(3), 2, 0]).unwrap();
    }
    insert.execute(params![[9_u8; 16], 0, 5]).unwrap();
    drop(insert);
    tx.commit().unwrap();
    conn
}

/// Steps of SQLite's machine that one look at the queue takes.
fn steps_for_a_look(queued: u32) -> i32 {
    use rusqlite::StatementStatus::VmStep;
    let conn = short_blobs(queued);
    let due = repair::short_blobs(&conn, types::Timestamp::from_millis(10), 50).unwrap().due;
    assert_eq!((due.len(), due[0].blob.to_bytes()), (50, [9; 16]), "the most endangered first");
    // The statement that was kept counts what it took.
    let mut steps = 0;
    for sql in statements().iter().filter(|sql| sql.contains("blobs_endangered")) {
        steps += conn.prepare_cached(sql).unwrap().get_status(VmStep);
    }
    steps
}

#[test]
fn n64_a_look_at_a_hundred_thousand_costs_as_much_as_at_a_hundred() {
    let (few, many) = (steps_for_a_look(100), steps_for_a_look(100_000));
    assert!(few > 0 && many <= few * 2, "{few} steps with a hundred, {many} with a hundred thousand");
}
