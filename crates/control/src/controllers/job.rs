//! Jobs: pods that run to their end, so many of them, so many at a time, and not too often when they fail.
//!
//! A pod that has ended is counted once: it keeps a finalizer until its identity stands in the Job's status, and its
//! identity stands there until the finalizer is seen to be gone. What the Job takes away by itself is let go first, and
//! not counted.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use shoal_api::time::Moment;
use shoal_api::{GroupVersionKind, Status, object};

use super::pods::{self, condition, number};
use super::ranks;
use super::replica_set::PODS_PER_PLAN_MAX;
use crate::known::{JOB, POD};
use crate::plan::{Controller, Event, Interest, Key, Plan, Propagation, Write, after, read_time};
use crate::snapshot::{Snapshot, api_version, controller_of, is_deleted, items, text};

/// Finalizer of pods whose end is not counted yet.
const TRACKING: &str = "batch.kubernetes.io/job-tracking";

/// Annotation and label of a pod of an indexed Job: its index.
const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// Before a pod is made anew after one failed, in seconds; twice that after the second, and so on.
const BACKOFF_SECONDS_MIN: i64 = 10;

/// Longest wait after a failure, in seconds, as in Kubernetes.
const BACKOFF_SECONDS_MAX: i64 = 600;

/// The condition of a Job that ended well, and the one that says before that it will.
const COMPLETE: (&str, &str) = ("Complete", "SuccessCriteriaMet");

/// The condition of a Job that failed, and the one that says before that it will.
const FAILED: (&str, &str) = ("Failed", "FailureTarget");

/// Why a Job fails: too many of its pods did.
const BACKOFF_EXCEEDED: &str = "BackoffLimitExceeded";

/// Why a Job fails: it takes too long.
const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";

/// Most ends that stand in a status by the identities of pods, as in Kubernetes: it is one object with all of them. So
/// many pods one plan lets go at most.
pub const UNCOUNTED_MAX: usize = 500;

/// Runs Jobs.
pub struct Jobs;

/// A Job and its pods.
struct Run<'a> {
    job: &'a Arc<Value>,
    active: Vec<Arc<Value>>,
    terminating: Vec<Arc<Value>>,
    /// Ends that will stand in the status as counted: those of pods that nothing holds any more.
    counted: Ends,
    /// Ends that will stand there by the identity of the pod, until its finalizer is seen to be gone.
    uncounted: Uncounted,
    /// Ends for which there is no room in the status yet.
    left: Ends,
    /// Pods whose end will stand in the status, and which still have their finalizer.
    noted: Vec<Arc<Value>>,
    /// When the last pod failed.
    last_failure: Option<Moment>,
    indexes: BTreeSet<i64>,
}

/// How many pods ended well, and how many did not.
struct Ends {
    succeeded: i64,
    failed: i64,
}

/// Identities of pods.
struct Uncounted {
    succeeded: BTreeSet<String>,
    failed: BTreeSet<String>,
}

/// What a Job has come to.
struct Verdict {
    /// [`COMPLETE`] or [`FAILED`].
    conditions: (&'static str, &'static str),
    reason: String,
    message: String,
}

impl Controller for Jobs {
    fn name(&self) -> &'static str {
        "job-controller"
    }

    fn interests(&self) -> Vec<Interest> {
        vec![Interest::own(&JOB), Interest::of(&JOB, left_behind), Interest::of(&POD, woken_by_pod)]
    }

    fn plan(&self, world: &dyn Snapshot, key: &Key, now: Moment) -> Plan {
        if key.kind == *POD {
            return let_go(world, key);
        }
        let Some(job) = world.get(&JOB, &key.namespace, &key.name) else { return Plan::default() };
        if !["", "kubernetes.io/job-controller"].contains(&text(&job["spec"]["managedBy"])) {
            return Plan::default();
        }
        let claimed = pods::claim(world, (&JOB, &job), &POD, Some(TRACKING), |_| true);
        let mut plan = Plan { writes: claimed.writes, ..Plan::default() };
        if is_deleted(&job) {
            release(&claimed.objects, &mut plan);
            return plan;
        }
        if is_finished(&job) {
            release(&claimed.objects, &mut plan);
            expire(&job, now, &mut plan);
            return plan;
        }
        Run::of(&job, &claimed.objects).go(now, &mut plan);
        plan
    }

    fn failed(&self, world: &dyn Snapshot, key: &Key, _: Moment, failures: &[Status]) -> Plan {
        if key.kind == *POD {
            return Plan::default();
        }
        let (Some(job), Some(failure)) = (world.get(&JOB, &key.namespace, &key.name), failures.first())
        else {
            return Plan::default();
        };
        let message = format!("Error creating: {}", failure.message);
        Plan { events: vec![Event::warning(&JOB, &job, "FailedCreate", message)], ..Plan::default() }
    }
}

/// The pods that a Job which is gone left behind.
fn left_behind(world: &dyn Snapshot, _: &GroupVersionKind, job: &Value) -> Vec<Key> {
    if is_there(world, object::namespace(job), object::name(job), object::uid(job)) {
        return Vec::new();
    }
    world.owned_of(object::uid(job), &POD).iter().map(|pod| Key::of(&POD, pod)).collect()
}

/// The Job of a pod; the pod itself where it waits for a Job that there is not.
fn woken_by_pod(world: &dyn Snapshot, _: &GroupVersionKind, pod: &Value) -> Vec<Key> {
    let mut keys = pods::managers(world, &JOB, pod);
    if is_forsaken(world, pod) {
        keys.push(Key::of(&POD, pod));
    }
    keys
}

/// Nobody counts the end of a pod whose Job is gone, or let it go: nothing needs to wait for that.
fn let_go(world: &dyn Snapshot, key: &Key) -> Plan {
    let pod = world.get(&POD, &key.namespace, &key.name).filter(|pod| is_forsaken(world, pod));
    pod.map(|pod| Plan::write(Write::drop_finalizer(&POD, &pod, TRACKING))).unwrap_or_default()
}

/// Whether a pod waits for its end to be counted, and there is no Job that would. What something else than a Job
/// manages is not ours to let go.
fn is_forsaken(world: &dyn Snapshot, pod: &Value) -> bool {
    is_tracked(pod)
        && controller_of(pod).is_none_or(|owner| {
            let is_job = owner["kind"] == *JOB.kind && owner["apiVersion"] == api_version(&JOB);
            is_job && !is_there(world, object::namespace(pod), text(&owner["name"]), text(&owner["uid"]))
        })
}

/// Whether there is a Job of this name that is this one.
fn is_there(world: &dyn Snapshot, namespace: &str, name: &str, uid: &str) -> bool {
    world.get(&JOB, namespace, name).is_some_and(|job| object::uid(&job) == uid)
}

/// Whether a Job has come to its end.
fn is_finished(job: &Value) -> bool {
    [COMPLETE, FAILED].iter().any(|(end, _)| is_true(job, end))
}

fn is_true(job: &Value, kind: &str) -> bool {
    condition(job, kind).is_some_and(|known| known["status"] == "True")
}

/// What was decided about a Job before: that stays, whatever becomes of its pods.
fn decided(job: &Value) -> Option<Verdict> {
    let (conditions, known) = [COMPLETE, FAILED].into_iter().find_map(|conditions| {
        let known = condition(job, conditions.1).filter(|known| known["status"] == "True");
        known.map(|known| (conditions, known))
    })?;
    Some(Verdict {
        conditions,
        reason: text(&known["reason"]).into(),
        message: text(&known["message"]).into(),
    })
}

/// Whether a pod is made anew only when the one before has ended, and not as soon as that is being deleted.
fn waits_for_ends(job: &Value) -> bool {
    job["spec"]["podReplacementPolicy"] == "Failed" || !job["spec"]["podFailurePolicy"].is_null()
}

impl Uncounted {
    fn read(job: &Value) -> Self {
        let uids = |field: &str| {
            let known = items(&job["status"]["uncountedTerminatedPods"][field]);
            known.map(|uid| text(uid).to_owned()).collect()
        };
        Self { succeeded: uids("succeeded"), failed: uids("failed") }
    }

    fn len(&self) -> usize {
        self.succeeded.len() + self.failed.len()
    }

    fn has(&self, uid: &str) -> bool {
        self.succeeded.contains(uid) || self.failed.contains(uid)
    }

    /// As it stands in the status: empty lists are left out.
    fn show(&self) -> Value {
        let mut shown = json!({});
        for (field, uids) in [("succeeded", &self.succeeded), ("failed", &self.failed)] {
            if !uids.is_empty() {
                shown[field] = json!(uids);
            }
        }
        shown
    }
}

impl<'a> Run<'a> {
    fn of(job: &'a Arc<Value>, pods: &[Arc<Value>]) -> Self {
        let status = &job["status"];
        let mut run = Self {
            job,
            active: Vec::new(),
            terminating: Vec::new(),
            counted: Ends { succeeded: number(&status["succeeded"]), failed: number(&status["failed"]) },
            uncounted: Uncounted::read(job),
            left: Ends { succeeded: 0, failed: 0 },
            noted: Vec::new(),
            last_failure: None,
            indexes: read_indexes(text(&status["completedIndexes"])),
        };
        // A Job may have fewer completions than it had.
        let all = run.all_indexes();
        run.indexes.retain(|index| all.contains(index));
        run.count_released(pods);
        for pod in pods {
            if pods::phase(pod) == "Failed" {
                run.last_failure = run.last_failure.max(Some(ended_at(pod)));
            }
            if !pods::has_ended(pod) {
                let list = if is_deleted(pod) { &mut run.terminating } else { &mut run.active };
                list.push(pod.clone());
            }
            run.note(pod);
        }
        run
    }

    /// Ends that were noted before are counted when their pod has lost its finalizer: it cannot be noted again.
    fn count_released(&mut self, pods: &[Arc<Value>]) {
        let held: BTreeSet<&str> =
            pods.iter().filter(|pod| is_tracked(pod)).map(|pod| object::uid(pod)).collect();
        for (uids, count) in [
            (&mut self.uncounted.succeeded, &mut self.counted.succeeded),
            (&mut self.uncounted.failed, &mut self.counted.failed),
        ] {
            let before = uids.len();
            uids.retain(|uid| held.contains(uid.as_str()));
            *count += i64::try_from(before - uids.len()).unwrap_or_default();
        }
    }

    /// Notes how a pod ended, unless that is known.
    fn note(&mut self, pod: &Arc<Value>) {
        let succeeded = pods::phase(pod) == "Succeeded";
        // Of a pod that is being deleted nothing is expected any more, nor of any once the Job has failed.
        let lost = is_deleted(pod) && (!waits_for_ends(self.job) || is_true(self.job, FAILED.1));
        if !is_tracked(pod) || !(pods::has_ended(pod) || lost) {
            return;
        }
        let uid = object::uid(pod);
        if succeeded && self.is_indexed() {
            // An index is there once, however often it is noted.
            let all = self.all_indexes();
            self.indexes.extend(index_of(pod).filter(|index| all.contains(index)));
        } else if !self.uncounted.has(uid) {
            let full = self.uncounted.len() >= UNCOUNTED_MAX;
            let (uids, left) = if succeeded {
                (&mut self.uncounted.succeeded, &mut self.left.succeeded)
            } else {
                (&mut self.uncounted.failed, &mut self.left.failed)
            };
            if full {
                *left += 1;
                return;
            }
            uids.insert(uid.to_owned());
        }
        if self.noted.len() < UNCOUNTED_MAX {
            self.noted.push(pod.clone());
        }
    }

    fn is_indexed(&self) -> bool {
        self.job["spec"]["completionMode"] == "Indexed"
    }

    fn completions(&self) -> Option<i64> {
        self.job["spec"]["completions"].as_i64()
    }

    /// The indexes that an indexed Job has.
    fn all_indexes(&self) -> Range<i64> {
        0..self.completions().unwrap_or_default()
    }

    /// All ends, counted or not.
    fn ends(&self) -> Ends {
        let count = |uids: &BTreeSet<String>| i64::try_from(uids.len()).unwrap_or(i64::MAX);
        Ends {
            succeeded: if self.is_indexed() {
                i64::try_from(self.indexes.len()).unwrap_or(i64::MAX)
            } else {
                self.counted.succeeded + count(&self.uncounted.succeeded) + self.left.succeeded
            },
            failed: self.counted.failed + count(&self.uncounted.failed) + self.left.failed,
        }
    }

    /// First the status that says how pods ended and what the Job has come to, then the pods that it says it of let
    /// go, then what follows for others: whatever is done half is known by the next plan.
    fn go(self, now: Moment, plan: &mut Plan) {
        let suspended = self.job["spec"]["suspend"] == true;
        let mut status = self.status(now, suspended);
        let verdict = self.verdict(now, &status, suspended, plan);
        match &verdict {
            Some(verdict) => self.end(verdict, now, &mut status, plan),
            None if suspended => suspend(self.job, now, &mut status, plan),
            None => resume(self.job, now, &mut status, plan),
        }
        if status != self.job["status"] {
            let mut new = Value::clone(self.job);
            new["status"] = status;
            plan.writes.push(Write::status(&JOB, new));
        }
        release(&self.noted, plan);
        match &verdict {
            // What is stopped because the Job failed has failed.
            Some(verdict) if verdict.conditions == FAILED => {
                self.active.iter().take(PODS_PER_PLAN_MAX).for_each(|pod| self.delete(pod, plan));
            }
            Some(_) => self.withdraw(&self.active, plan),
            None if suspended => self.withdraw(&self.active, plan),
            None => self.match_parallelism(now, plan),
        }
    }

    fn status(&self, now: Moment, suspended: bool) -> Value {
        let known = &self.job["status"];
        let mut status = Map::new();
        for field in ["conditions", "startTime", "completionTime"] {
            if !known[field].is_null() {
                status.insert(field.into(), known[field].clone());
            }
        }
        if !suspended {
            status.entry("startTime").or_insert_with(|| json!(now.to_time()));
        }
        let ready = self.active.iter().filter(|pod| pods::is_ready(pod)).count();
        let succeeded = if self.is_indexed() { self.ends().succeeded } else { self.counted.succeeded };
        for (field, count) in [("succeeded", succeeded), ("failed", self.counted.failed)] {
            if count > 0 {
                status.insert(field.into(), json!(count));
            }
        }
        if !self.active.is_empty() {
            status.insert("active".into(), json!(self.active.len()));
        }
        status.insert("ready".into(), json!(ready));
        status.insert("terminating".into(), json!(self.terminating.len()));
        status.insert("uncountedTerminatedPods".into(), self.uncounted.show());
        if self.is_indexed() && !self.indexes.is_empty() {
            status.insert("completedIndexes".into(), json!(show_indexes(&self.indexes)));
        }
        Value::Object(status)
    }

    /// Whether the Job is at its end, and how.
    fn verdict(&self, now: Moment, status: &Value, suspended: bool, plan: &mut Plan) -> Option<Verdict> {
        if let Some(verdict) = decided(self.job) {
            return Some(verdict);
        }
        let is = |conditions, reason: &str, message: &str| {
            Some(Verdict { conditions, reason: reason.into(), message: message.into() })
        };
        let ends = self.ends();
        let limit = self.job["spec"]["backoffLimit"].as_i64().unwrap_or(6);
        let restarts: i64 = (self.active.iter())
            .filter(|_| self.job["spec"]["template"]["spec"]["restartPolicy"] == "OnFailure")
            .flat_map(|pod| items(&pod["status"]["containerStatuses"]))
            .map(|container| number(&container["restartCount"]))
            .sum();
        if ends.failed > limit || (restarts > 0 && restarts >= limit.max(1)) {
            return is(FAILED, BACKOFF_EXCEEDED, "Job has reached the specified backoff limit");
        }
        let deadline = self.job["spec"]["activeDeadlineSeconds"].as_i64().filter(|_| !suspended);
        if let (Some(seconds), Some(start)) = (deadline, read_time(&status["startTime"])) {
            let end = after(start, seconds);
            if end <= now {
                return is(FAILED, DEADLINE_EXCEEDED, "Job was active longer than specified deadline");
            }
            plan.requeue(end);
        }
        let done = match self.completions() {
            Some(wanted) => ends.succeeded >= wanted,
            // One success is enough for all: nothing new begins, and the rest comes to its end.
            None => ends.succeeded > 0 && self.active.is_empty() && self.terminating.is_empty(),
        };
        if done {
            return is(COMPLETE, "CompletionsReached", "Reached expected number of succeeded pods");
        }
        None
    }

    /// Writes down what the Job has come to; the end itself when nothing of it runs and all is counted.
    fn end(&self, verdict: &Verdict, now: Moment, status: &mut Value, plan: &mut Plan) {
        let Verdict { conditions: (end, target), reason, message } = verdict;
        add_condition(status, target, "True", reason, message, now);
        let object = status.as_object_mut().expect("a status is an object");
        object.remove("active");
        object.insert("ready".into(), json!(0));
        let running = self.terminating.len() + self.active.len();
        if running > 0 || self.uncounted.len() > 0 {
            object.insert("terminating".into(), json!(running));
            return;
        }
        add_condition(status, end, "True", reason, message, now);
        let event = if verdict.conditions == COMPLETE {
            status["completionTime"] = json!(now.to_time());
            Event::normal(&JOB, self.job, "Completed", "Job completed".into())
        } else {
            let known = [BACKOFF_EXCEEDED, DEADLINE_EXCEEDED].into_iter().find(|known| known == reason);
            Event::warning(&JOB, self.job, known.unwrap_or(FAILED.0), message.clone())
        };
        plan.events.push(event);
        if let Some(seconds) = self.job["spec"]["ttlSecondsAfterFinished"].as_i64() {
            plan.requeue(after(now, seconds));
        }
    }

    /// As many pods as may run at a time, and no more than are still needed.
    fn match_parallelism(&self, now: Moment, plan: &mut Plan) {
        let parallelism = self.job["spec"]["parallelism"].as_i64().unwrap_or(1);
        let ends = self.ends();
        let wanted = match self.completions() {
            Some(completions) => (completions - ends.succeeded).min(parallelism),
            // Those that run come to their end.
            None if ends.succeeded > 0 => return,
            None => parallelism,
        };
        let wanted = usize::try_from(wanted).unwrap_or_default();
        let excess = self.excess(wanted, now);
        if !excess.is_empty() {
            self.withdraw(&excess, plan);
            return;
        }
        let ending = if waits_for_ends(self.job) { self.terminating.len() } else { 0 };
        let missing = wanted.saturating_sub(self.active.len() + ending).min(PODS_PER_PLAN_MAX);
        if missing == 0 {
            return;
        }
        if let Some(last) = self.last_failure {
            let exponent = u32::try_from(ends.failed - 1).unwrap_or(0).min(10);
            let wait = (BACKOFF_SECONDS_MIN << exponent).min(BACKOFF_SECONDS_MAX);
            let begin = after(last, wait);
            if ends.failed > 0 && begin > now {
                plan.requeue(begin);
                return;
            }
        }
        self.create(missing, plan);
    }

    /// The pods that are too many where `wanted` may run: first those whose index the Job does not have, however few
    /// run, then those that have come the least far.
    fn excess(&self, wanted: usize, now: Moment) -> Vec<Arc<Value>> {
        let all = self.all_indexes();
        let has_place =
            |pod: &Arc<Value>| !self.is_indexed() || index_of(pod).is_some_and(|index| all.contains(&index));
        let (useful, mut excess): (Vec<_>, Vec<_>) = self.active.iter().cloned().partition(has_place);
        if useful.len() > wanted {
            // On which node a pod of a Job runs makes no difference.
            let first = ranks::first_to_go(&useful, &HashMap::new(), now);
            excess.extend(first.into_iter().take(useful.len() - wanted).cloned());
        }
        excess
    }

    fn create(&self, count: usize, plan: &mut Plan) {
        let event = Event::normal(&JOB, self.job, "SuccessfulCreate", "Created pod: {name}".into());
        let mut pod = pods::from_template(&JOB, self.job, &self.job["spec"]["template"]);
        let finalizers = pod["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        pod["metadata"]["finalizers"] = finalizers.into_iter().chain([json!(TRACKING)]).collect();
        if !self.is_indexed() {
            for _ in 0..count {
                plan.write_and_tell(Write::create(&POD, pod.clone()), event.clone());
            }
            return;
        }
        let ending = self.terminating.iter().filter(|_| waits_for_ends(self.job));
        let running: BTreeSet<i64> =
            self.active.iter().chain(ending).filter_map(|pod| index_of(pod)).collect();
        let free =
            self.all_indexes().filter(|index| !self.indexes.contains(index) && !running.contains(index));
        for index in free.take(count) {
            plan.write_and_tell(Write::create(&POD, indexed(pod.clone(), self.job, index)), event.clone());
        }
    }

    /// Takes pods away that have done nothing wrong: they are let go first, so that their end is not counted.
    fn withdraw(&self, pods: &[Arc<Value>], plan: &mut Plan) {
        let pods = &pods[..pods.len().min(PODS_PER_PLAN_MAX)];
        release(pods, plan);
        pods.iter().for_each(|pod| self.delete(pod, plan));
    }

    fn delete(&self, pod: &Value, plan: &mut Plan) {
        let message = format!("Deleted pod: {}", object::name(pod));
        let event = Event::normal(&JOB, self.job, "SuccessfulDelete", message);
        plan.write_and_tell(pods::delete(pod), event);
    }
}

fn suspend(job: &Value, now: Moment, status: &mut Value, plan: &mut Plan) {
    let object = status.as_object_mut().expect("a status is an object");
    object.remove("startTime");
    if add_condition(status, "Suspended", "True", "JobSuspended", "Job suspended", now) {
        plan.events.push(Event::normal(&JOB, job, "Suspended", "Job suspended".into()));
    }
}

fn resume(job: &Value, now: Moment, status: &mut Value, plan: &mut Plan) {
    if is_true(job, "Suspended")
        && add_condition(status, "Suspended", "False", "JobResumed", "Job resumed", now)
    {
        status["startTime"] = json!(now.to_time());
        plan.events.push(Event::normal(&JOB, job, "Resumed", "Job resumed".into()));
    }
}

fn is_tracked(pod: &Value) -> bool {
    object::finalizers(pod).any(|held| held == TRACKING)
}

/// Pods whose end is noted, or of no interest, may go. Where there are many, those that went wake the Job for the rest.
fn release(pods: &[Arc<Value>], plan: &mut Plan) {
    let tracked = pods.iter().filter(|pod| is_tracked(pod)).take(UNCOUNTED_MAX);
    plan.writes.extend(tracked.map(|pod| Write::drop_finalizer(&POD, pod, TRACKING)));
}

/// A Job that has ended goes after the time that it says.
fn expire(job: &Value, now: Moment, plan: &mut Plan) {
    let Some(seconds) = job["spec"]["ttlSecondsAfterFinished"].as_i64() else { return };
    let ends = [COMPLETE, FAILED].into_iter().filter_map(|(end, _)| condition(job, end));
    let Some(end) = ends.filter_map(|known| read_time(&known["lastTransitionTime"])).max() else { return };
    let gone = after(end, seconds);
    if gone > now {
        plan.requeue(gone);
    } else {
        plan.writes.push(Write::delete_unchanged(&JOB, job, Some(Propagation::Foreground)));
    }
}

fn add_condition(status: &mut Value, kind: &str, is: &str, reason: &str, message: &str, now: Moment) -> bool {
    let mut conditions: Vec<Value> = items(&status["conditions"]).cloned().collect();
    if conditions.iter().any(|known| known["type"] == kind && known["status"] == is) {
        return false;
    }
    let time = now.to_time();
    conditions.retain(|known| known["type"] != kind);
    conditions.push(json!({
        "type": kind, "status": is, "lastProbeTime": time, "lastTransitionTime": time, "reason": reason,
        "message": message,
    }));
    status["conditions"] = json!(conditions);
    true
}

/// When the last container of a pod ended; when the pod was made, where none says.
fn ended_at(pod: &Value) -> Moment {
    let ends = items(&pod["status"]["containerStatuses"])
        .filter_map(|container| read_time(&container["state"]["terminated"]["finishedAt"]));
    ends.max().unwrap_or_else(|| pods::created(pod))
}

fn index_of(pod: &Value) -> Option<i64> {
    object::annotation(pod, INDEX)?.parse().ok()
}

/// A pod that knows its index, by its name, label, annotation and environment.
fn indexed(mut pod: Value, job: &Value, index: i64) -> Value {
    let text = json!(index.to_string());
    pod["metadata"]["generateName"] = json!(format!("{}-{index}-", object::name(job)));
    pod["metadata"]["annotations"][INDEX] = text.clone();
    pod["metadata"]["labels"][INDEX] = text;
    pod["spec"]["hostname"] = json!(format!("{}-{index}", object::name(job)));
    let place = format!("metadata.annotations['{INDEX}']");
    let variable = json!({"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef": {"fieldPath": place}}});
    for container in pod["spec"]["containers"].as_array_mut().into_iter().flatten() {
        let env = container["env"].as_array().cloned().unwrap_or_default();
        container["env"] = env.into_iter().chain([variable.clone()]).collect();
    }
    pod
}

/// `0-3,7`.
fn show_indexes(indexes: &BTreeSet<i64>) -> String {
    let mut runs: Vec<(i64, i64)> = Vec::new();
    for index in indexes {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            _ => runs.push((*index, *index)),
        }
    }
    let shown = runs.into_iter().map(|(first, last)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    });
    shown.collect::<Vec<_>>().join(",")
}

fn read_indexes(text: &str) -> BTreeSet<i64> {
    /// Most completions of an indexed Job, as validation has it; more in a status is not read.
    const INDEXES_MAX: i64 = 100_000;
    let mut indexes = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<i64>(), last.parse::<i64>()) {
            indexes.extend(first.max(0)..=last.min(INDEXES_MAX));
        }
    }
    indexes
}
