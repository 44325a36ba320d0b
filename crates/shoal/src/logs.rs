//! `shoal logs`: what the pods of a workload say, all of them in one stream.

mod follow;
mod pods;

use std::io::Write;

use shoal_cli::cluster::logs::LogsRequest;
use shoal_cli::{Common, Exit, exit, render};
use shoal_client::{Client, Error, Log, Said};

use self::pods::{Speaker, Whose};
use crate::cluster::{Cluster, failed};
use crate::process;

/// Containers that are listened to at once: each holds a stream of the API server and a connection of its node.
const SPEAKERS_MAX: usize = 200;

/// Shows the log.
pub(crate) fn logs(common: &Common, request: &LogsRequest) -> Result<u8, Exit> {
    let cluster = Cluster::reach(common, &request.cluster)?;
    process::runtime()?.block_on(async {
        let whose = pods::whose(&cluster, &request.of).await?;
        if request.follow {
            let mut output = Output::new(anstream::stdout(), whose.is_many);
            follow::follow(&cluster, request, &whose, &mut output).await
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
        timestamps: true,
    }
}

/// Shows what there is, in the order in which it was said.
async fn show(cluster: &Cluster, request: &LogsRequest, whose: &Whose) -> Result<u8, Exit> {
    let list = cluster.client.list(&shoal_client::kinds::PODS, &whose.namespace, &whose.select).await;
    let pods = list.map_err(|error| failed("cannot list pods", &error))?.items;
    let mut speakers: Vec<Speaker> = pods.iter().flat_map(pods::speakers).collect();
    if speakers.len() > SPEAKERS_MAX {
        warn(&left_out(speakers.len() - SPEAKERS_MAX));
        speakers.truncate(SPEAKERS_MAX);
    }
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
    let mut output = Output::new(anstream::stdout(), speakers.len() > 1);
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
            let (moment, text) = split(&line);
            // A server that leaves the moments out: in the order of the pods.
            Self { speaker, moment: moment.unwrap_or(i128::MIN), text: text.to_owned(), log }
        }))
    }
}

/// A line as it was said, with when that was where its server says so: in nanoseconds since 1970.
fn split(line: &str) -> (Option<i128>, &str) {
    let (moment, text) = line.split_once(' ').unwrap_or((line, ""));
    match moment.parse::<jiff::Timestamp>() {
        Ok(moment) => (Some(moment.as_nanosecond()), text),
        Err(_) => (None, line),
    }
}

/// Says that not all are heard.
fn left_out(count: usize) -> String {
    format!("{SPEAKERS_MAX} containers are heard at once, and {count} more have to wait or are left out")
}

/// Something that is wrong with what is shown.
fn warn(what: &str) {
    let _ = anstream::stderr().write_all(render::error::warning(what, None).as_bytes());
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

/// Lines where they are read.
struct Output<W> {
    to: W,
    is_many: bool,
}

impl<W: Write> Output<W> {
    fn new(to: W, is_many: bool) -> Self {
        Self { to, is_many }
    }

    /// Prints a line, with the name of its pod where there are several. False: nobody reads any more.
    fn line(&mut self, speaker: &Speaker, text: &str) -> bool {
        let written = if self.is_many {
            writeln!(self.to, "{} {text}", render::speaker(&speaker.shown()))
        } else {
            writeln!(self.to, "{text}")
        };
        written.is_ok()
    }
}
