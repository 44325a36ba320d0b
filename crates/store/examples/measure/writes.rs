//! Durable writes: ours, SQLite's by itself, etcd's; in turns, so that a disk that changes its mind changes it for all.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};
use shoal_store::etcd::{EtcdOptions, EtcdStore};
use shoal_store::sqlite::{Options, SqliteStore};
use shoal_store::{Expect, Store, Write};

use super::{VALUE_BYTES, tell, tell_times};

/// Clients that write at once, and rows of one batch of SQLite by itself.
const WRITERS: usize = 16;

/// Turns of each.
const TURNS: usize = 3;

/// Time of one turn.
const TURN: Duration = Duration::from_secs(4);

pub(crate) async fn measure(dir: &Path, etcd: Option<&str>) -> Result<(), String> {
    let text = |error: shoal_store::Error| error.to_string();
    let store = Arc::new(SqliteStore::open(&Options::new(dir.join("writes"))).map_err(text)?);
    let mut raw = Raw::open(&dir.join("raw.db")).map_err(|error| error.to_string())?;
    let etcd: Option<Arc<dyn Store>> = match etcd {
        None => None,
        Some(endpoint) => {
            let root = format!("/measure/{}/", std::process::id()).into();
            let options = EtcdOptions { endpoints: vec![endpoint.into()], root, tls: None };
            Some(Arc::new(EtcdStore::open(&options).await.map_err(text)?))
        }
    };
    let (mut ours, mut theirs, mut others) = (Vec::new(), Vec::new(), Vec::new());
    let (mut ours_took, mut others_took) = (Vec::new(), Vec::new());
    for turn in 0..TURNS {
        let (count, took) = put(Arc::clone(&store) as Arc<dyn Store>, turn).await?;
        ours.push(count);
        ours_took.extend(took);
        theirs.push(raw.put().map_err(|error| error.to_string())?);
        if let Some(etcd) = &etcd {
            let (count, took) = put(Arc::clone(etcd), turn).await?;
            others.push(count);
            others_took.extend(took);
        }
    }
    let middle = |mut rates: Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let (ours, theirs) = (middle(ours), middle(theirs));
    tell("durable puts, 16 writers", ours, "/s");
    tell_times("one put", ours_took);
    tell("rows of SQLite by itself, 16 in a batch", theirs, "/s");
    tell("ours of SQLite's", ours / theirs * 100.0, "%");
    if !others.is_empty() {
        tell("durable puts of etcd, 16 writers", middle(others), "/s");
        tell_times("one put of etcd", others_took);
    }
    Ok(())
}

/// Puts new objects for one turn; puts per second and the time of each.
async fn put(store: Arc<dyn Store>, turn: usize) -> Result<(f64, Vec<f64>), String> {
    let began = Instant::now();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let (mut took, mut at) = (Vec::new(), 0_u64);
                while began.elapsed() < TURN {
                    let begins = Instant::now();
                    let write =
                        Write::put(format!("/{turn}/{writer}/{at}"), vec![7; VALUE_BYTES], Expect::Absent);
                    store.transact(write.into()).await.map_err(|error| error.to_string())?;
                    took.push(begins.elapsed().as_secs_f64());
                    at += 1;
                }
                Ok::<_, String>(took)
            })
        })
        .collect();
    let mut took = Vec::new();
    for writer in writers {
        took.extend(writer.await.map_err(|error| error.to_string())??);
    }
    Ok((took.len() as f64 / began.elapsed().as_secs_f64(), took))
}

/// SQLite by itself, with the settings and the rows that we have.
struct Raw {
    connection: Connection,
    next: i64,
}

impl Raw {
    fn open(path: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open(path)?;
        connection.execute_batch(
            "PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             PRAGMA wal_autocheckpoint = 2048; PRAGMA cache_size = -8192;
             CREATE TABLE event (id INTEGER PRIMARY KEY, key BLOB, a INTEGER, b INTEGER, c INTEGER, d INTEGER, value BLOB) STRICT",
        )?;
        Ok(Self { connection, next: 0 })
    }

    fn put(&mut self) -> rusqlite::Result<f64> {
        let (began, first) = (Instant::now(), self.next);
        let value = vec![7_u8; VALUE_BYTES];
        while began.elapsed() < TURN {
            self.connection.execute_batch("BEGIN IMMEDIATE")?;
            for _ in 0..WRITERS {
                let insert = "INSERT INTO event VALUES (?1, ?2, 0, 1, 1, 0, ?3)";
                let mut insert = self.connection.prepare_cached(insert)?;
                insert.execute(params![self.next << 20, format!("/0/{}", self.next).as_bytes(), value])?;
                self.next += 1;
            }
            self.connection.execute_batch("COMMIT")?;
        }
        Ok((self.next - first) as f64 / began.elapsed().as_secs_f64())
    }
}
