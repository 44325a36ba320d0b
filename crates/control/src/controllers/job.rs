//! Jobs: pods that run to their end, so many of them, so many at a time, and not too often when they fail.
//!
//! A pod that has ended is counted once: it keeps a finalizer until its end stands in the Job's status.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use shoal_api::time::Moment;
use shoal_api::{Status, object};

use super::pods::{self, condition, number};
use super::replica_set::PODS_PER_PLAN_MAX;
use crate::known::{JOB, POD};
use crate::plan::{Controller, Event, Interest, Key, Plan, Propagation, Write, after, read_time};
use crate::snapshot::{Snapshot, is_deleted, items, text};

/// Finalizer of pods whose end is not counted yet.
const TRACKING: &str = "batch.kubernetes.io/job-tracking";

/// Annotation and label of a pod of an indexed Job: its index.
const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// Before a pod is made anew after one failed, in seconds; twice that after the second, and so on.
const BACKOFF_SECONDS_MIN: i64 = 10;

/// Longest wait after a failure, in seconds, as in Kubernetes.
const BACKOFF_SECONDS_MAX: i64 = 600;

/// Runs Jobs.
pub struct Jobs;

/// A Job and its pods.
struct Run<'a> {
    job: &'a Arc<Value>,
    active: Vec<Arc<Value>>,
    terminating: usize,
    /// Ends that are not counted yet.
    uncounted: Vec<Arc<Value>>,
    succeeded: i64,
    failed: i64,
    /// When the last pod failed.
    last_failure: Option<Moment>,
    indexes: BTreeSet<i64>,
}

impl Controller for Jobs {
    fn name(&self) -> &'static str {
        "job-controller"
    }

    fn interests(&self) -> Vec<Interest> {
        vec![Interest::own(&JOB), Interest::of(&POD, |world, _, pod| pods::managers(world, &JOB, pod))]
    }

    fn plan(&self, world: &dyn Snapshot, key: &Key, now: Moment) -> Plan {
        let Some(job) = world.get(&JOB, &key.namespace, &key.name) else { return Plan::default() };
        if !["", "kubernetes.io/job-controller"].contains(&text(&job["spec"]["managedBy"])) {
            return Plan::default();
        }
        let claimed = pods::claim(world, (&JOB, &job), &POD, |_| true);
        let mut plan = Plan { writes: claimed.writes, ..Plan::default() };
        let run = Run::of(&job, &claimed.objects);
        if is_deleted(&job) {
            release(&claimed.objects, &mut plan);
            return plan;
        }
        if is_finished(&job) {
            release(&claimed.objects, &mut plan);
            expire(&job, now, &mut plan);
            return plan;
        }
        run.go(now, &mut plan);
        plan
    }

    fn failed(&self, world: &dyn Snapshot, key: &Key, _: Moment, failures: &[Status]) -> Plan {
        let (Some(job), Some(failure)) = (world.get(&JOB, &key.namespace, &key.name), failures.first())
        else {
            return Plan::default();
        };
        let message = format!("Error creating: {}", failure.message);
        Plan { events: vec![Event::warning(&JOB, &job, "FailedCreate", message)], ..Plan::default() }
    }
}

/// Whether a Job has come to its end.
fn is_finished(job: &Value) -> bool {
    ["Complete", "Failed"]
        .iter()
        .any(|kind| condition(job, kind).is_some_and(|known| known["status"] == "True"))
}

impl<'a> Run<'a> {
    fn of(job: &'a Arc<Value>, pods: &[Arc<Value>]) -> Self {
        let mut run = Self {
            job,
            active: Vec::new(),
            terminating: 0,
            uncounted: Vec::new(),
            succeeded: number(&job["status"]["succeeded"]),
            failed: number(&job["status"]["failed"]),
            last_failure: None,
            indexes: read_indexes(text(&job["status"]["completedIndexes"])),
        };
        for pod in pods {
            let tracked = object::finalizers(pod).any(|held| held == TRACKING);
            // A pod that is deleted before it ends has failed, once nothing of it runs.
            let ended = pods::has_ended(pod);
            if ended && pods::phase(pod) == "Failed" {
                run.last_failure = run.last_failure.max(Some(ended_at(pod)));
            }
            if ended && tracked {
                run.uncounted.push(pod.clone());
            } else if !ended && is_deleted(pod) {
                run.terminating += 1;
                if tracked {
                    run.uncounted.push(pod.clone());
                }
            } else if !ended {
                run.active.push(pod.clone());
            }
        }
        run
    }

    fn is_indexed(&self) -> bool {
        self.job["spec"]["completionMode"] == "Indexed"
    }

    fn completions(&self) -> Option<i64> {
        self.job["spec"]["completions"].as_i64()
    }

    fn go(mut self, now: Moment, plan: &mut Plan) {
        self.count();
        let suspended = self.job["spec"]["suspend"] == true;
        let mut status = self.status(now, suspended);
        if let Some((kind, reason, message)) = self.verdict(now, &status, plan) {
            self.end(kind, reason, message, now, &mut status, plan);
        } else if suspended {
            self.suspend(now, &mut status, plan);
        } else {
            self.resume(now, &mut status, plan);
            self.match_parallelism(now, plan);
        }
        self.write(status, plan);
    }

    /// Takes in the ends of pods.
    fn count(&mut self) {
        for pod in &self.uncounted {
            if pods::phase(pod) == "Succeeded" {
                let index = index_of(pod);
                if !self.is_indexed() || index.is_none_or(|index| self.indexes.insert(index)) {
                    self.succeeded += 1;
                }
            } else if pods::has_ended(pod) || self.job["spec"]["suspend"] != true {
                // A pod that a suspension took away has not failed.
                self.failed += 1;
            }
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
        for (field, count) in [("succeeded", self.succeeded), ("failed", self.failed)] {
            if count > 0 {
                status.insert(field.into(), json!(count));
            }
        }
        if !self.active.is_empty() {
            status.insert("active".into(), json!(self.active.len()));
        }
        status.insert("ready".into(), json!(ready));
        status.insert("terminating".into(), json!(self.terminating));
        status.insert("uncountedTerminatedPods".into(), json!({}));
        if self.is_indexed() && !self.indexes.is_empty() {
            status.insert("completedIndexes".into(), json!(show_indexes(&self.indexes)));
        }
        Value::Object(status)
    }

    /// Whether the Job is at its end, and how.
    fn verdict(
        &self,
        now: Moment,
        status: &Value,
        plan: &mut Plan,
    ) -> Option<(&'static str, &'static str, &'static str)> {
        let limit = self.job["spec"]["backoffLimit"].as_i64().unwrap_or(6);
        let restarts: i64 = (self.active.iter())
            .filter(|_| self.job["spec"]["template"]["spec"]["restartPolicy"] == "OnFailure")
            .flat_map(|pod| items(&pod["status"]["containerStatuses"]))
            .map(|container| number(&container["restartCount"]))
            .sum();
        if self.failed > limit || (restarts > 0 && restarts >= limit.max(1)) {
            return Some(("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"));
        }
        let deadline = self.job["spec"]["activeDeadlineSeconds"].as_i64();
        if let (Some(seconds), Some(start)) = (deadline, read_time(&status["startTime"])) {
            let end = after(start, seconds);
            if end <= now {
                let message = "Job was active longer than specified deadline";
                return Some(("Failed", "DeadlineExceeded", message));
            }
            plan.requeue(end);
        }
        let done = match self.completions() {
            Some(wanted) => self.succeeded >= wanted,
            // One success is enough for all: nothing new begins, and the rest comes to its end.
            None => self.succeeded > 0 && self.active.is_empty() && self.terminating == 0,
        };
        done.then_some(("Complete", "CompletionsReached", "Reached expected number of succeeded pods"))
    }

    fn end(
        &self,
        kind: &'static str,
        reason: &'static str,
        message: &'static str,
        now: Moment,
        status: &mut Value,
        plan: &mut Plan,
    ) {
        for pod in &self.active {
            self.delete(pod, plan);
        }
        let first = if kind == "Complete" { "SuccessCriteriaMet" } else { "FailureTarget" };
        add_condition(status, first, "True", reason, message, now);
        let object = status.as_object_mut().expect("a status is an object");
        object.remove("active");
        object.insert("ready".into(), json!(0));
        // The Job ends when nothing of it runs any more.
        if !self.active.is_empty() || self.terminating > 0 {
            object.insert("terminating".into(), json!(self.terminating + self.active.len()));
            return;
        }
        add_condition(status, kind, "True", reason, message, now);
        let event = if kind == "Complete" {
            status["completionTime"] = json!(now.to_time());
            Event::normal(&JOB, self.job, "Completed", "Job completed".into())
        } else {
            Event::warning(&JOB, self.job, reason, message.into())
        };
        plan.events.push(event);
        if let Some(seconds) = self.job["spec"]["ttlSecondsAfterFinished"].as_i64() {
            plan.requeue(after(now, seconds));
        }
    }

    fn suspend(&self, now: Moment, status: &mut Value, plan: &mut Plan) {
        for pod in &self.active {
            self.delete(pod, plan);
        }
        let object = status.as_object_mut().expect("a status is an object");
        object.remove("startTime");
        if add_condition(status, "Suspended", "True", "JobSuspended", "Job suspended", now) {
            plan.events.push(Event::normal(&JOB, self.job, "Suspended", "Job suspended".into()));
        }
    }

    fn resume(&self, now: Moment, status: &mut Value, plan: &mut Plan) {
        let was = condition(self.job, "Suspended").is_some_and(|known| known["status"] == "True");
        if was && add_condition(status, "Suspended", "False", "JobResumed", "Job resumed", now) {
            status["startTime"] = json!(now.to_time());
            plan.events.push(Event::normal(&JOB, self.job, "Resumed", "Job resumed".into()));
        }
    }

    /// As many pods as may run at a time, and no more than are still needed.
    fn match_parallelism(&self, now: Moment, plan: &mut Plan) {
        let parallelism = self.job["spec"]["parallelism"].as_i64().unwrap_or(1);
        let wanted = match self.completions() {
            Some(completions) => (completions - self.succeeded).min(parallelism),
            // Those that run come to their end.
            None if self.succeeded > 0 => return,
            None => parallelism,
        };
        let wanted = usize::try_from(wanted).unwrap_or_default();
        if self.active.len() > wanted {
            for pod in &self.active[wanted..] {
                self.delete(pod, plan);
            }
            return;
        }
        let there = self.active.len() + self.terminating;
        let missing = wanted.saturating_sub(there).min(PODS_PER_PLAN_MAX);
        if missing == 0 {
            return;
        }
        let fresh = self.uncounted.iter().any(|pod| pods::phase(pod) == "Failed");
        let last = if fresh { Some(self.last_failure.unwrap_or(now)) } else { self.last_failure };
        if let Some(last) = last {
            let exponent = u32::try_from(self.failed - 1).unwrap_or(0).min(10);
            let wait = (BACKOFF_SECONDS_MIN << exponent).min(BACKOFF_SECONDS_MAX);
            let begin = after(last, wait);
            if self.failed > 0 && begin > now {
                plan.requeue(begin);
                return;
            }
        }
        self.create(missing, plan);
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
        let running: BTreeSet<i64> = self.active.iter().filter_map(|pod| index_of(pod)).collect();
        let all = 0..self.completions().unwrap_or_default();
        let free = all.filter(|index| !self.indexes.contains(index) && !running.contains(index));
        for index in free.take(count) {
            plan.write_and_tell(Write::create(&POD, indexed(pod.clone(), self.job, index)), event.clone());
        }
    }

    /// Deletes a pod; one that nobody runs is counted no more.
    fn delete(&self, pod: &Value, plan: &mut Plan) {
        let message = format!("Deleted pod: {}", object::name(pod));
        let event = Event::normal(&JOB, self.job, "SuccessfulDelete", message);
        plan.write_and_tell(pods::delete(pod), event);
    }

    /// First the status that counts the ends, then the pods that are counted let go.
    fn write(&self, status: Value, plan: &mut Plan) {
        if status != self.job["status"] {
            let mut new = Value::clone(self.job);
            new["status"] = status;
            plan.writes.push(Write::status(&JOB, new));
        }
        release(&self.uncounted, plan);
    }
}

/// Pods that are counted, or whose Job counts no more, may go.
fn release(pods: &[Arc<Value>], plan: &mut Plan) {
    for pod in pods.iter().filter(|pod| object::finalizers(pod).any(|held| held == TRACKING)) {
        let others: Vec<&str> = object::finalizers(pod).filter(|held| *held != TRACKING).collect();
        plan.writes.push(Write::patch_metadata(&POD, pod, json!({"finalizers": others})));
    }
}

/// A Job that has ended goes after the time that it says.
fn expire(job: &Value, now: Moment, plan: &mut Plan) {
    let Some(seconds) = job["spec"]["ttlSecondsAfterFinished"].as_i64() else { return };
    let ends = ["Complete", "Failed"].iter().filter_map(|kind| condition(job, kind));
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
