//! A story that a seed tells: minutes of changes and faults, then calm, then all must be as it was last asked.

use shoal_control::known::JOB;
use shoal_control::snapshot::Snapshot as _;

use crate::cluster::Cluster;
use crate::fault::Chance;
use crate::story::{NAMESPACE, act};

/// How long things go wrong, in seconds.
const ROUGH_SECONDS: u64 = 400;

/// How long all may take to come to rest afterwards, in seconds: a pod that failed often waits up to ten minutes.
const CALM_SECONDS_MAX: u64 = 900;

/// Seconds in which nothing at all may change once all has come to rest.
const STILL_SECONDS: u64 = 60;

/// Makes the Job.
const JOB_LINE: &str = "job work completions=5 parallelism=2";

/// How a seed's story went.
pub struct Told {
    /// Its lines, which [`crate::story::tell`] understands.
    pub lines: Vec<String>,
    /// What did not hold; none: all did.
    pub failure: Option<String>,
    /// All that was written, a line each.
    pub trace: Vec<String>,
}

/// Tells the story of a seed.
pub fn tell(seed: u64) -> Told {
    let mut cluster = Cluster::new(seed);
    let mut lines = Vec::new();
    let failure = live(&mut cluster, &mut Chance::new(seed ^ 0x9e37_79b9_7f4a_7c15), &mut lines).err();
    let trace = cluster.take_trace();
    Told { lines, failure, trace }
}

fn live(cluster: &mut Cluster, chance: &mut Chance, lines: &mut Vec<String>) -> Result<(), String> {
    let mut say = |cluster: &mut Cluster, line: String| {
        lines.push(line.clone());
        act(cluster, &line).map(|_| ())
    };
    let nodes = 2 + chance.below(4);
    say(cluster, format!("nodes {nodes}"))?;
    let (surge, unavailable) = [(1, 0), (0, 1), (2, 1), (1, 2), (0, 0)][chance.index(5)];
    say(
        cluster,
        format!(
            "deployment web replicas=3 surge={surge} unavailable={unavailable} patience={}",
            chance.below(4)
        ),
    )?;
    if chance.hits(500) {
        say(cluster, "deployment api replicas=2 recreate".into())?;
    }
    let works = chance.hits(500);
    if works {
        say(cluster, JOB_LINE.into())?;
    }
    if chance.hits(800) {
        say(cluster, "rough".into())?;
    }
    let mut seconds = 0;
    while seconds < ROUGH_SECONDS {
        let wait = 1 + chance.below(40);
        say(cluster, format!("tick {wait}"))?;
        seconds += wait;
        if let Some(line) = event(chance, nodes) {
            say(cluster, line)?;
        }
        if let Some(line) = works.then(|| event_of_job(chance, has_job(cluster))).flatten() {
            say(cluster, line)?;
        }
    }
    say(cluster, "resume web".into())?;
    if has_job(cluster) {
        say(cluster, "parallelism work 2".into())?;
        say(cluster, "continue work".into())?;
    }
    say(cluster, "calm".into())?;
    settle(cluster)
}

/// What happens next.
fn event(chance: &mut Chance, nodes: u64) -> Option<String> {
    let node = format!("node-{}", 1 + chance.below(nodes));
    Some(match chance.below(10) {
        0 | 1 => format!("image web {}", 1 + chance.below(4)),
        2 | 3 => format!("scale web {}", chance.below(8)),
        4 => format!("kill {node}"),
        5 | 6 => format!("revive {node}"),
        7 => format!("outage {}", 1 + chance.below(60)),
        8 if chance.hits(500) => "pause web".into(),
        8 => "resume web".into(),
        _ => return None,
    })
}

fn has_job(cluster: &Cluster) -> bool {
    cluster.world.get(&JOB, NAMESPACE, "work").is_some()
}

/// What happens to the Job next; one that was deleted may be made anew before its pods are gone.
fn event_of_job(chance: &mut Chance, is_there: bool) -> Option<String> {
    if !is_there {
        return chance.hits(500).then(|| JOB_LINE.into());
    }
    Some(match chance.below(8) {
        0 => format!("parallelism work {}", chance.below(5)),
        1 => "suspend work".into(),
        2 | 3 => "continue work".into(),
        4 => "delete work".into(),
        _ => return None,
    })
}

fn settle(cluster: &mut Cluster) -> Result<(), String> {
    let mut left = CALM_SECONDS_MAX;
    while let Err(why) = cluster.has_settled() {
        if left == 0 {
            return Err(format!("it does not come to rest: {why}"));
        }
        left -= 1;
        cluster.step()?;
    }
    let before = cluster.trace().len();
    cluster.tick(STILL_SECONDS)?;
    let busy: Vec<&String> =
        cluster.trace()[before..].iter().filter(|line| !line.contains(" Lease ")).collect();
    // Statuses may be written once more; a control loop that never rests writes again and again.
    if busy.len() > 20 {
        return Err(format!("it does not rest: {} writes in a minute, as {:?}", busy.len(), &busy[..3]));
    }
    cluster.has_settled()
}
