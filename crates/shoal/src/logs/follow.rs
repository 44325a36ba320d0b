//! What is said from now on, of pods that come later as well.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use shoal_api::object;
use shoal_base::backoff::Backoff;
use shoal_cli::cluster::logs::LogsRequest;
use shoal_cli::{Exit, exit};
use shoal_client::{Client, Error, Said, kinds};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::pods::{self, Run, Speaker, Whose};
use super::{Output, SPEAKERS_MAX, left_out, said, split, warn};
use crate::cluster::world::{Changes, World};
use crate::cluster::{Cluster, failed};

/// Lines on their way to the output, for each container: the output is slower than the network for a moment at most.
const LINES_MAX: usize = 64;
/// Before a container whose stream has broken off is listened to again: what only hiccups is missed by nobody.
const AGAIN_FIRST: Duration = Duration::from_millis(250);
/// Between tries in the end: a node that starts again takes some seconds.
const AGAIN_LONGEST: Duration = Duration::from_secs(10);
/// Tries in a row, after which a pod that has ended is waited for no longer: its node may be gone for good.
const TRIES_MAX: u32 = 4;
/// How far clocks of machines are apart at most: what was heard already is known by its moment, and left out.
const SKEW_SECONDS: u64 = 60;

/// Shows what is said until all that was asked for has ended.
pub(super) async fn follow<W: Write>(
    cluster: &Cluster,
    request: &LogsRequest,
    whose: &Whose,
    output: &mut Output<W>,
) -> Result<u8, Exit> {
    let world = World::selected(&cluster.client, &whose.namespace, kinds::PODS, whose.select.clone());
    let work = async {
        world.read().await?;
        let mut changes = world.changes();
        let mut audience = Audience::new(&cluster.client, request, whose);
        loop {
            let pods = world.all(&kinds::PODS);
            audience.listen_to(&pods);
            let is_gone = !whose.is_many && pods.is_empty();
            if audience.is_quiet() && (is_gone || is_over(&pods)) {
                return Ok(exit::OK);
            }
            if !audience.hear(&mut changes, output).await? {
                return Ok(exit::OK);
            }
        }
    };
    world.run(work).await
}

/// Whether all pods have ended for good: nothing more will be said.
fn is_over(pods: &[Arc<Value>]) -> bool {
    let has_ended =
        |pod: &Arc<Value>| matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    !pods.is_empty() && pods.iter().all(has_ended)
}

/// Containers that are listened to, and those that were.
struct Audience<'a> {
    client: Client,
    request: &'a LogsRequest,
    namespace: &'a str,
    heard: HashMap<Speaker, Heard>,
    listening: JoinSet<Ended>,
    sender: mpsc::Sender<(Speaker, String)>,
    lines: mpsc::Receiver<(Speaker, String)>,
    left_out: usize,
}

/// What is known of a container.
struct Heard {
    run: Run,
    state: State,
    /// When its last line was said, in nanoseconds since 1970.
    last: Option<i128>,
    backoff: Backoff,
    /// Tries in a row in which nothing was heard.
    tries: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Listening,
    /// Its stream has broken off, and is opened again at this moment.
    Again(Instant),
    Over,
}

/// How listening has ended.
struct Ended {
    speaker: Speaker,
    run: Run,
    last: Option<i128>,
    result: Result<(), Error>,
}

impl<'a> Audience<'a> {
    fn new(client: &Client, request: &'a LogsRequest, whose: &'a Whose) -> Self {
        let (sender, lines) = mpsc::channel(LINES_MAX);
        Self {
            client: client.clone(),
            request,
            namespace: &whose.namespace,
            heard: HashMap::new(),
            listening: JoinSet::new(),
            sender,
            lines,
            left_out: 0,
        }
    }

    /// Listens to whoever has begun and is not heard yet, or not any more.
    fn listen_to(&mut self, pods: &[Arc<Value>]) {
        let there: HashSet<&str> = pods.iter().map(|pod| object::name(pod)).collect();
        let is_kept = |speaker: &Speaker, heard: &Heard| {
            heard.state == State::Listening || there.contains(speaker.pod.as_str())
        };
        self.heard.retain(|speaker, heard| is_kept(speaker, heard));
        let mut waiting = 0;
        for (speaker, run) in begun(pods) {
            let (wanted, last) = match self.heard.get(&speaker) {
                None => (said(self.request, &speaker), None),
                Some(heard) if heard.run == run => match heard.state {
                    State::Again(at) if at <= Instant::now() => {
                        (resumed(said(self.request, &speaker), heard.last), heard.last)
                    }
                    _ => continue,
                },
                // A run that began while this was watched is shown from its beginning.
                Some(_) => {
                    let all = said(self.request, &speaker);
                    (Said { tail_lines: None, since_seconds: None, ..all }, None)
                }
            };
            if self.listening.len() >= SPEAKERS_MAX {
                waiting += 1;
                continue;
            }
            self.listen(speaker, run, wanted, last);
        }
        if waiting > self.left_out {
            warn(&left_out(waiting));
        }
        self.left_out = waiting;
    }

    fn listen(&mut self, speaker: Speaker, run: Run, wanted: Said, last: Option<i128>) {
        let fresh = || Heard {
            run: run.clone(),
            state: State::Listening,
            last,
            backoff: Backoff::new(AGAIN_FIRST, AGAIN_LONGEST),
            tries: 0,
        };
        let heard = self.heard.entry(speaker.clone()).or_insert_with(fresh);
        if heard.run != run {
            *heard = fresh();
        }
        heard.state = State::Listening;
        let (client, namespace, lines) =
            (self.client.clone(), self.namespace.to_owned(), self.sender.clone());
        self.listening.spawn(async move {
            let mut last = last;
            let result = pass_on(&client, &namespace, &speaker, &wanted, &mut last, &lines).await;
            Ended { speaker, run, last, result }
        });
    }

    /// Whether nobody will say anything while the pods stay as they are.
    fn is_quiet(&self) -> bool {
        let is_awaited = |heard: &Heard| matches!(heard.state, State::Again(_)) && heard.tries <= TRIES_MAX;
        self.listening.is_empty() && self.lines.is_empty() && !self.heard.values().any(is_awaited)
    }

    /// Shows lines until it is time to look at the pods again. False: nobody reads any more.
    async fn hear<W: Write>(&mut self, changes: &mut Changes, output: &mut Output<W>) -> Result<bool, Exit> {
        let again = self.heard.values().filter_map(|heard| match heard.state {
            State::Again(at) if self.listening.len() < SPEAKERS_MAX => Some(at),
            _ => None,
        });
        let wake = again.min();
        loop {
            tokio::select! {
                Some((speaker, line)) = self.lines.recv() => {
                    if !output.line(&speaker, &line) {
                        return Ok(false);
                    }
                    if self.listening.is_empty() && self.lines.is_empty() {
                        return Ok(true);
                    }
                }
                Some(ended) = self.listening.join_next() => {
                    self.ended(ended.map_err(|error| Exit::error(exit::INTERNAL, error.to_string()))?)?;
                    return Ok(true);
                }
                () = changes.next() => return Ok(true),
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => return Ok(true),
            }
        }
    }

    fn ended(&mut self, ended: Ended) -> Result<(), Exit> {
        let Ended { speaker, run, last, result } = ended;
        let Some(heard) = self.heard.get_mut(&speaker).filter(|heard| heard.run == run) else {
            return Ok(());
        };
        if last != heard.last {
            heard.last = last;
            heard.tries = 0;
            heard.backoff.reset();
        }
        heard.state = match result {
            Ok(()) => State::Over,
            // It has not run yet, or is gone.
            Err(error) if matches!(error.code(), 400 | 404) => State::Over,
            Err(error) if error.may_pass() => {
                heard.tries = heard.tries.saturating_add(1);
                if heard.tries == 1 {
                    warn(&format!("{}: {error}; it is listened to again", speaker.shown()));
                }
                State::Again(Instant::now() + heard.backoff.wait())
            }
            Err(error) => return Err(failed(&speaker.pod, &error)),
        };
        Ok(())
    }
}

/// What is asked of a container whose stream has broken off after a line of this moment.
fn resumed(said: Said, last: Option<i128>) -> Said {
    let Some(last) = last else { return said };
    let past = jiff::Timestamp::now().as_nanosecond().saturating_sub(last).max(0);
    let seconds = u64::try_from(past / 1_000_000_000).unwrap_or(u64::MAX);
    Said { tail_lines: None, since_seconds: Some(seconds.saturating_add(1 + SKEW_SECONDS)), ..said }
}

/// Passes on what a container says until its run ends; of what was heard before `last`, nothing.
async fn pass_on(
    client: &Client,
    namespace: &str,
    speaker: &Speaker,
    said: &Said,
    last: &mut Option<i128>,
    lines: &mpsc::Sender<(Speaker, String)>,
) -> Result<(), Error> {
    let known = *last;
    let mut log = client.log(namespace, &speaker.pod, said).await?;
    while let Some(line) = log.next().await? {
        let (moment, text) = split(&line);
        if moment.is_some() && moment <= known {
            continue;
        }
        if lines.send((speaker.clone(), text.to_owned())).await.is_err() {
            break;
        }
        *last = moment.or(*last);
    }
    Ok(())
}

/// Containers that have begun, with their runs.
fn begun(pods: &[Arc<Value>]) -> Vec<(Speaker, Run)> {
    let of_pod = |pod: &Arc<Value>| {
        let run = |speaker: Speaker| Some((pods::run_of(pod, &speaker.container)?, speaker));
        pods::speakers(pod).into_iter().filter_map(run).collect::<Vec<_>>()
    };
    let all = pods.iter().flat_map(|pod| {
        let uid = object::uid(pod).to_owned();
        of_pod(pod).into_iter().map(move |(number, speaker)| (speaker, (uid.clone(), number)))
    });
    all.collect()
}

#[cfg(test)]
mod tests;
