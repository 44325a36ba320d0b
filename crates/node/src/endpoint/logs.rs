//! `/containerLogs/NAMESPACE/POD/CONTAINER`: what `kubectl logs` shows.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use shoal_api::object;
use tokio::sync::watch;

use super::{Body, text, with_body};
use crate::log::reading::{Reader, Wanted, runs};
use crate::log::writing;
use crate::pod::status;
use crate::read;
use crate::shared::Shared;

/// Between looks at a log that is followed, should nobody say that it has grown: the next run of a container writes
/// another file.
const LOOK_EVERY: Duration = Duration::from_secs(5);

pub(super) async fn answer(
    shared: &Arc<Shared>,
    namespace: &str,
    pod: &str,
    container: &str,
    query: &str,
) -> Response<Body> {
    let wanted = match wanted(query, Timestamp::now()) {
        Ok(wanted) => wanted,
        Err(why) => return text(StatusCode::BAD_REQUEST, why),
    };
    let Some(found) = shared.pod(namespace, pod) else {
        return text(StatusCode::NOT_FOUND, format!("pod {pod:?} does not run on this node"));
    };
    if status::container(&found, container).is_none() {
        return text(StatusCode::NOT_FOUND, format!("container {container:?} not found in pod {pod:?}"));
    }
    let uid = object::uid(&found).to_owned();
    let all = match runs(&shared.log_dir(&uid), container) {
        Ok(all) => all,
        Err(error) => {
            return text(StatusCode::INTERNAL_SERVER_ERROR, format!("its logs cannot be read: {error}"));
        }
    };
    let run = if wanted.previous { all.iter().rev().nth(1) } else { all.last() };
    let Some(run) = run else {
        let message = if wanted.previous {
            format!("previous terminated container {container:?} in pod {pod:?} not found")
        } else {
            let why = waits_for(&found, container);
            format!("container {container:?} in pod {pod:?} is waiting to start{why}")
        };
        return text(StatusCode::BAD_REQUEST, message);
    };
    let path = writing::path(&shared.log_dir(&uid), container, *run);
    let follow = wanted.follow && !wanted.previous;
    let reader = tokio::task::spawn_blocking(move || Reader::begin(path, wanted)).await;
    let reader = match reader.map_err(io::Error::other).and_then(|reader| reader) {
        Ok(reader) => reader,
        Err(error) => {
            return text(StatusCode::INTERNAL_SERVER_ERROR, format!("its log cannot be read: {error}"));
        }
    };
    let log = shared.logs.lock().get(&(uid, container.to_owned())).cloned().filter(|_| follow);
    with_body(StatusCode::OK, "text/plain", body(reader, log.and_then(|log| following(&log))))
}

/// Why a container has not started, as the kubelet words it; empty when that is not known.
fn waits_for(pod: &Value, container: &str) -> String {
    let lists = ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"];
    let found = lists.iter().find_map(|list| read::named(&pod["status"][list], container));
    let reason = found.map_or("", |one| read::text(&one["state"]["waiting"]["reason"]));
    match reason {
        "" => String::new(),
        "ErrImagePull" => ": image can't be pulled".into(),
        "ImagePullBackOff" => ": trying and failing to pull image".into(),
        reason => format!(": {reason}"),
    }
}

/// Where a log is written that is being written still.
struct Following {
    written: watch::Receiver<u64>,
    log: Weak<writing::Log>,
}

fn following(log: &Weak<writing::Log>) -> Option<Following> {
    Some(Following { written: log.upgrade()?.written(), log: log.clone() })
}

/// The answer, as it is read; a log that is followed goes on until nobody writes it any more.
fn body(reader: Reader, following: Option<Following>) -> Body {
    let pieces = stream::unfold(Some((reader, following)), |state| async move {
        let (mut reader, mut following) = state?;
        loop {
            if let Some(following) = &mut following {
                following.written.borrow_and_update();
            }
            // Before the last look: what is written after it would be missed.
            let is_written = following
                .as_ref()
                .is_some_and(|following| following.log.upgrade().is_some_and(|log| log.is_open()));
            let read = tokio::task::spawn_blocking(move || {
                let piece = reader.next();
                (reader, piece)
            });
            let piece;
            (reader, piece) = match read.await {
                Ok(read) => read,
                Err(error) => return Some((Err(io::Error::other(error)), None)),
            };
            match piece {
                Ok(piece) if !piece.is_empty() => {
                    return Some((Ok(Frame::data(Bytes::from(piece))), Some((reader, following))));
                }
                Ok(_) if reader.is_over() || !is_written => return None,
                Ok(_) => {
                    let Some(following) = &mut following else { return None };
                    // An error means that the log is closed: the next look is the last.
                    drop(tokio::time::timeout(LOOK_EVERY, following.written.changed()).await);
                }
                Err(error) => return Some((Err(error), None)),
            }
        }
    });
    StreamBody::new(pieces).boxed_unsync()
}

/// What is asked for.
fn wanted(query: &str, now: Timestamp) -> Result<Wanted, String> {
    let mut wanted = Wanted::default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let number = || value.parse::<u64>().map_err(|_| format!("{name}: {value:?} is no number"));
        let flag = || matches!(&*value, "true" | "1" | "");
        match &*name {
            "follow" => wanted.follow = flag(),
            "previous" => wanted.previous = flag(),
            "timestamps" => wanted.timestamps = flag(),
            "tailLines" => wanted.tail = Some(number()?),
            "limitBytes" => wanted.limit_bytes = Some(number()?),
            "sinceSeconds" => {
                let seconds = SignedDuration::from_secs(i64::try_from(number()?).unwrap_or(i64::MAX));
                wanted.since = Some(now.checked_sub(seconds).unwrap_or(Timestamp::MIN));
            }
            "sinceTime" => {
                wanted.since = Some(value.parse().map_err(|_| format!("sinceTime: {value:?} is no time"))?);
            }
            "stream" => {
                wanted.stream = match &*value {
                    "All" | "" => String::new(),
                    other => other.to_lowercase(),
                };
            }
            _ => {}
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_of_kubectl_is_understood() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().expect("a time");
        let read = |query| wanted(query, now);
        assert_eq!(
            read("follow=true&tailLines=5&sinceSeconds=60&limitBytes=10&timestamps=true"),
            Ok(Wanted {
                follow: true,
                timestamps: true,
                tail: Some(5),
                limit_bytes: Some(10),
                since: "2026-01-01T00:00:00Z".parse().ok(),
                ..Wanted::default()
            })
        );
        assert!(
            read("previous=true&stream=Stderr")
                .is_ok_and(|wanted| wanted.previous && wanted.stream == "stderr")
        );
        assert_eq!(read("tailLines=-1"), Err("tailLines: \"-1\" is no number".into()));
        assert!(
            read("sinceSeconds=99999999999999999").is_ok_and(|wanted| wanted.since == Some(Timestamp::MIN))
        );
    }
}
