//! `shoal logs`: what the pods of a workload say, all of them in one stream.

mod pods;

use std::collections::{HashMap, HashSet};
use std::io::Write as _;

use serde_json::Value;
use shoal_cli::cluster::logs::LogsRequest;
use shoal_cli::{Common, Exit, exit, render};
use shoal_client::{Client, Error, Log, Said};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use self::pods::{Speaker, Whose};
use crate::cluster::{Cluster, failed};
use crate::process;

/// Lines on their way to the output, for each container: the output is slower than the network for a moment at most.
const LINES_MAX: usize = 64;
/// Containers that are listened to at once: each holds a stream of the API server and a connection of its node.
const SPEAKERS_MAX: usize = 200;

/// Shows the log.
pub(crate) fn logs(common: &Common, request: &LogsRequest) -> Result<u8, Exit> {
    let cluster = Cluster::reach(common, &request.cluster)?;
    process::runtime()?.block_on(async {
        let whose = pods::whose(&cluster, &request.of).await?;
        if request.follow {
            follow(&cluster, request, &whose).await
        } else {
            show(&cluster, request, &whose).await
        }
    })
}

/// What is asked of each container.
fn said(request: &LogsRequest, speaker: &Speaker) -> Said {
    Said {
        container: speaker.container.clone(),
        follow: request.follow,
        previous: request.previous,
        tail_lines: request.tail,
        // What is asked in parts of a second is told in whole ones, and not in none.
        since_seconds: request
            .since
            .map(|since| since.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)),
        timestamps: !request.follow,
    }
}

/// Shows what there is, in the order in which it was said.
async fn show(cluster: &Cluster, request: &LogsRequest, whose: &Whose) -> Result<u8, Exit> {
    let list = cluster.client.list(&shoal_client::kinds::PODS, &whose.namespace, &whose.select).await;
    let pods = list.map_err(|error| failed("cannot list pods", &error))?.items;
    let speakers: Vec<Speaker> = pods.iter().flat_map(pods::speakers).take(SPEAKERS_MAX).collect();
    if speakers.is_empty() {
        return Err(Exit::error(exit::NO_INPUT, format!("{} has no pods", whose.shown))
            .hint("`shoal status` says why"));
    }
    let mut heads = Vec::new();
    let mut silent = Vec::new();
    for speaker in &speakers {
        let log = open(&cluster.client, &whose.namespace, speaker, &said(request, speaker)).await?;
        match log {
            Ok(log) => heads.extend(Head::next(speaker, log).await?),
            Err(why) => silent.push(why),
        }
    }
    // What has not run yet has said nothing; when nothing has run, that is the answer.
    if let Some(why) = silent.pop().filter(|_| silent.len() + 1 == speakers.len()) {
        return Err(Exit::error(exit::UNAVAILABLE, format!("{}: {why}", whose.shown)));
    }
    let mut output = Output::new(speakers.len() > 1);
    // The earliest of all first lines, again and again.
    while let Some(at) = (0..heads.len()).min_by(|one, other| heads[*one].moment.cmp(&heads[*other].moment)) {
        let Head { speaker, text, log, .. } = heads.swap_remove(at);
        if !output.line(speaker, &text) {
            break;
        }
        heads.extend(Head::next(speaker, log).await?);
    }
    Ok(exit::OK)
}

/// The first line of a log that is not shown yet.
struct Head<'a> {
    speaker: &'a Speaker,
    /// When it was said, in nanoseconds since 1970.
    moment: i128,
    text: String,
    log: Log,
}

impl<'a> Head<'a> {
    async fn next(speaker: &'a Speaker, mut log: Log) -> Result<Option<Self>, Exit> {
        let line = log.next().await.map_err(|error| failed(&speaker.pod, &error))?;
        Ok(line.map(|line| {
            let (moment, text) = line.split_once(' ').unwrap_or((&line, ""));
            let (moment, text) = match moment.parse::<jiff::Timestamp>() {
                Ok(moment) => (moment.as_nanosecond(), text),
                // A server that leaves the moments out: in the order of the pods.
                Err(_) => (i128::MIN, line.as_str()),
            };
            Self { speaker, moment, text: text.to_owned(), log }
        }))
    }
}

/// A container's log; or why there is none yet, or no more.
async fn open(
    client: &Client,
    namespace: &str,
    speaker: &Speaker,
    said: &Said,
) -> Result<Result<Log, String>, Exit> {
    match client.log(namespace, &speaker.pod, said).await {
        Ok(log) => Ok(Ok(log)),
        Err(Error::Refused(refused)) if matches!(refused.code, 400 | 404) => Ok(Err(refused.message)),
        Err(error) => Err(failed(&speaker.pod, &error)),
    }
}

/// Shows what is said from now on, too, of pods that come later as well, until all that was asked for has ended.
async fn follow(cluster: &Cluster, request: &LogsRequest, whose: &Whose) -> Result<u8, Exit> {
    let (sender, mut lines) = mpsc::channel(LINES_MAX);
    let pods = pods::Followed::new(&cluster.client, whose);
    let work = async {
        pods.read().await?;
        let mut changes = pods.changes();
        let mut listening = JoinSet::new();
        let mut heard: HashMap<Speaker, u64> = HashMap::new();
        let mut output = Output::new(whose.is_many);
        loop {
            for (speaker, run) in begun(&pods.all()) {
                let known = heard.get(&speaker);
                if known == Some(&run) || (known.is_none() && heard.len() >= SPEAKERS_MAX) {
                    continue;
                }
                let (client, namespace) = (cluster.client.clone(), whose.namespace.clone());
                let mut said = said(request, &speaker);
                if known.is_some() {
                    // A run that began while this was watched is shown from its beginning.
                    (said.tail_lines, said.since_seconds) = (None, None);
                }
                heard.insert(speaker.clone(), run);
                listening.spawn(listen(client, namespace, speaker, said, sender.clone()));
            }
            if listening.is_empty() && lines.is_empty() && is_over(&pods.all()) {
                return Ok(exit::OK);
            }
            tokio::select! {
                Some((speaker, line)) = lines.recv() => {
                    if !output.line(&speaker, &line) {
                        return Ok(exit::OK);
                    }
                }
                Some(ended) = listening.join_next() => {
                    ended.map_err(|error| Exit::error(exit::INTERNAL, error.to_string()))??;
                }
                () = changes.next() => {}
            }
        }
    };
    pods.run(work).await
}

/// Whether all pods have ended for good: nothing more will be said.
fn is_over(pods: &[Value]) -> bool {
    let has_ended = |pod: &Value| matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    !pods.is_empty() && pods.iter().all(has_ended)
}

/// Passes on what a container says until its run ends.
async fn listen(
    client: Client,
    namespace: String,
    speaker: Speaker,
    said: Said,
    lines: mpsc::Sender<(Speaker, String)>,
) -> Result<(), Exit> {
    let Ok(mut log) = open(&client, &namespace, &speaker, &said).await? else { return Ok(()) };
    // A stream that breaks off, as when its pod is taken away, is at its end.
    while let Ok(Some(line)) = log.next().await {
        if lines.send((speaker.clone(), line)).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Containers that have begun, with the number of their run.
fn begun(pods: &[Value]) -> HashSet<(Speaker, u64)> {
    let mut begun = HashSet::new();
    for pod in pods {
        for speaker in pods::speakers(pod) {
            if let Some(run) = pods::run_of(pod, &speaker.container) {
                begun.insert((speaker, run));
            }
        }
    }
    begun
}

/// Lines on standard output.
struct Output {
    is_many: bool,
}

impl Output {
    fn new(is_many: bool) -> Self {
        Self { is_many }
    }

    /// Prints a line, with the name of its pod where there are several. False: nobody reads any more.
    fn line(&mut self, speaker: &Speaker, text: &str) -> bool {
        let mut stdout = anstream::stdout();
        let written = if self.is_many {
            writeln!(stdout, "{} {text}", render::speaker(&speaker.shown()))
        } else {
            writeln!(stdout, "{text}")
        };
        written.is_ok()
    }
}
