//! Kills and looks.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use shoal_base::splitmix::SplitMix64;
use shoal_store::sqlite::{Options, SqliteStore};
use shoal_store::{Error, ListOptions, Revision, Store, WatchOptions};

use super::{hash, say};

/// Most lines that a worker may tell before it is killed.
const LINES_MAX: u64 = 3000;

/// What was told of a revision: the key, and the hash of its value unless it was deleted.
type Told = (String, Option<u64>);

/// What is known from all rounds so far.
#[derive(Default)]
struct Known {
    /// What the watch that goes on from round to round has built up.
    objects: BTreeMap<String, (Revision, u64)>,
    /// How far that watch is.
    seen: Revision,
    /// How often it had to begin anew because it was compacted away.
    relists: u64,
    acknowledged: u64,
    events: u64,
}

struct Arguments {
    rounds: u64,
    seed: u64,
    dir: Option<PathBuf>,
}

/// Runs the rounds.
pub(crate) fn run(words: &[&str]) -> Result<(), String> {
    let arguments = read(words)?;
    let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
    let dir = arguments.dir.unwrap_or_else(|| scratch.path().join("store"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let (mut lot, mut known, began) = (SplitMix64::new(arguments.seed), Known::default(), Instant::now());
    for round in 1..=arguments.rounds {
        let lines = 1 + lot.below(LINES_MAX);
        let told = live_and_die(&dir, lot.draw(), lines)?;
        let found = runtime.block_on(look(&dir, &mut known, &told));
        found.map_err(|what| {
            format!("round {round} of seed {}: {what}; the store is in {}", arguments.seed, dir.display())
        })?;
        if round % 20 == 0 || round == arguments.rounds {
            say(&format!(
                "round {round}: {} acknowledged writes and {} events so far, revision {}, {} relists, {:.0} s",
                known.acknowledged,
                known.events,
                known.seen,
                known.relists,
                began.elapsed().as_secs_f64()
            ));
        }
    }
    say(&format!(
        "{} rounds of kill -9 with seed {}: nothing acknowledged was lost, no revision went back, no event was missed or repeated",
        arguments.rounds, arguments.seed
    ));
    Ok(())
}

fn read(words: &[&str]) -> Result<Arguments, String> {
    let mut arguments = Arguments { rounds: 200, seed: 1, dir: None };
    let mut words = words.iter();
    while let Some(flag) = words.next() {
        let value = words.next().ok_or_else(|| format!("{flag} needs a value"))?;
        let number = || value.parse().map_err(|_| format!("{flag} needs a number, not `{value}`"));
        match *flag {
            "--rounds" => arguments.rounds = number()?,
            "--seed" => arguments.seed = number()?,
            "--dir" => arguments.dir = Some(PathBuf::from(value)),
            _ => return Err(format!("no flag {flag}; there are --rounds, --seed and --dir")),
        }
    }
    Ok(arguments)
}

/// One life of a worker: what it told before it was killed, the acknowledged and the watched.
fn live_and_die(
    dir: &std::path::Path,
    seed: u64,
    lines: u64,
) -> Result<[BTreeMap<Revision, Told>; 2], String> {
    let text = |error: std::io::Error| error.to_string();
    let mut worker = Command::new(std::env::current_exe().map_err(text)?)
        .arg("worker")
        .arg(dir)
        .arg(seed.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(text)?;
    let out = worker.stdout.take().ok_or("it has no output")?;
    let (mut told, mut count) = ([BTreeMap::new(), BTreeMap::new()], 0);
    for line in BufReader::new(out).split(b'\n') {
        let line = String::from_utf8(line.map_err(text)?).map_err(|error| error.to_string())?;
        count += 1;
        // It goes on writing until the signal arrives, and what it told by then is read.
        if count == lines {
            worker.kill().map_err(text)?;
        }
        let words: Vec<&str> = line.split(' ').collect();
        let [kind, revision, key, value] = words[..] else {
            // The last line may be cut off.
            continue;
        };
        let revision = Revision(revision.parse().map_err(|_| format!("no revision in `{line}`"))?);
        let value = if value == "-" { None } else { u64::from_str_radix(value, 16).ok() };
        let list = usize::from(kind == "w");
        if told[list].insert(revision, (key.to_string(), value)).is_some() {
            return Err(format!("revision {revision} was told twice: `{line}`"));
        }
    }
    let ended = worker.wait().map_err(text)?;
    if count < lines {
        return Err(format!("the worker ended by itself, {ended}, after {count} lines"));
    }
    Ok(told)
}

/// Opens what the worker has left, and compares.
async fn look(
    dir: &std::path::Path,
    known: &mut Known,
    [acknowledged, watched]: &[BTreeMap<Revision, Told>; 2],
) -> Result<(), String> {
    let store = SqliteStore::open(&Options::new(dir)).map_err(|error| error.to_string())?;
    let text = |error: Error| error.to_string();
    let revision = store.progress().await.map_err(text)?;
    let newest = acknowledged.keys().chain(watched.keys()).max().copied().unwrap_or_default().max(known.seen);
    if revision < newest {
        return Err(format!("the store is at {revision}, and {newest} was told"));
    }
    let events = follow(&store, known, revision).await?;
    for (revision, told) in acknowledged.iter().chain(watched) {
        let is_there = match &events {
            Some(events) => events.get(revision) == Some(told),
            None => lives_on(known, *revision, told),
        };
        if !is_there {
            return Err(format!("{told:?} was told at {revision}, and is not there"));
        }
    }
    known.acknowledged += acknowledged.len() as u64;
    let list = store.list(b"", ListOptions::default()).await.map_err(text)?;
    let listed = list.objects.iter().map(|object| {
        (String::from_utf8_lossy(&object.key).into_owned(), (object.mod_revision, hash(&object.value)))
    });
    if listed.collect::<BTreeMap<_, _>>() != known.objects {
        return Err("the list is not what the watch has given".into());
    }
    Ok(())
}

/// Whether a change whose history is compacted has left what it must: itself, or something later.
fn lives_on(known: &Known, revision: Revision, (key, value): &Told) -> bool {
    match known.objects.get(key) {
        Some((at, hash)) => *at > revision || (*at == revision && Some(*hash) == *value),
        // Deleted, then or later.
        None => true,
    }
}

/// Goes on with the watch where it stopped before the crash: each revision once, in order. None when that was
/// compacted, and everything was listed anew.
async fn follow(
    store: &SqliteStore,
    known: &mut Known,
    revision: Revision,
) -> Result<Option<BTreeMap<Revision, Told>>, String> {
    let mut events = BTreeMap::new();
    let from = known.seen.max(Revision::FIRST).next();
    let watch = store.watch(b"", WatchOptions { from: Some(from), previous: true }).await;
    let mut watch = match watch {
        Ok(watch) => watch,
        Err(Error::Compacted { .. }) => {
            known.relists += 1;
            let list = store.list(b"", ListOptions::default()).await.map_err(|error| error.to_string())?;
            let objects = list.objects.iter().map(|object| {
                (
                    String::from_utf8_lossy(&object.key).into_owned(),
                    (object.mod_revision, hash(&object.value)),
                )
            });
            known.objects = objects.collect();
            known.seen = list.revision;
            return Ok(None);
        }
        Err(error) => return Err(error.to_string()),
    };
    let mut next = from;
    while next <= revision {
        let batch = watch.next().await.map_err(|error| error.to_string())?;
        for event in batch.events {
            if event.revision != next {
                return Err(format!("the watch gave {} where {next} was due", event.revision));
            }
            let key = String::from_utf8_lossy(&event.key).into_owned();
            let before = known.objects.get(&key).map(|(at, hash)| (*at, *hash));
            let previous = event.previous.as_ref().map(|object| (object.mod_revision, hash(&object.value)));
            if before != previous {
                return Err(format!("{key} was {before:?} before {next}, and the event says {previous:?}"));
            }
            let value = event.object.as_ref().map(|object| hash(&object.value));
            match value {
                Some(value) => known.objects.insert(key.clone(), (event.revision, value)),
                None => known.objects.remove(&key),
            };
            events.insert(event.revision, (key, value));
            next = next.next();
        }
    }
    known.events += events.len() as u64;
    known.seen = revision;
    Ok(Some(events))
}
