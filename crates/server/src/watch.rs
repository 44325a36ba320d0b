//! Following: each change of the objects that are wanted, as it happens.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use shoal_api::Status;
use shoal_store::{Batch, Error, Event, Revision, Watch};
use tokio::time::{Instant, sleep_until};

use crate::answer::{self, Answer};
use crate::api::{Api, Request};
use crate::convert;
use crate::objects::Stored;
use crate::options::{Asked, ListOptions};
use crate::read;
use crate::registry::Served;
use crate::render::{Change, Lines};
use crate::select::Selection;

/// How long a watch lasts when nobody says, at least; up to twice that, so that clients do not come back all at once.
const LIFE_MIN: Duration = Duration::from_secs(30 * 60);
/// The longest life that a client can ask for.
const LIFE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Between bookmarks. Clients take a watch that is silent for some 5 minutes for dead.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

/// One watch of one client.
struct Follow {
    api: Arc<Api>,
    served: Arc<Served>,
    selection: Selection,
    lines: Lines,
    watch: Watch,
    bookmarks: bool,
    ends: Instant,
    next_bookmark: Instant,
    /// What there is at the beginning, before anything is followed.
    first: Option<Bytes>,
    is_over: bool,
}

/// `GET` with `watch=true`.
///
/// # Errors
/// 400 for what cannot be asked, and those of the store. What goes wrong later is an event of type `ERROR`.
pub(crate) async fn watch(api: &Arc<Api>, served: &Arc<Served>, request: &Request) -> Result<Answer, Status> {
    let options = ListOptions::read(&request.query)?;
    let wanted = request.wanted(served)?;
    let selection = Selection::read(served, &options, &request.target.name)?;
    let mut lines = Lines::new(wanted, request.include());
    let media_type = lines.media_type();
    let namespace = &request.target.namespace;
    let (first, from) = begin(api, served, namespace, &options, &selection, &mut lines).await?;
    let watch = match api.objects.watch(&served.prefix(namespace), from).await {
        Ok(watch) => watch,
        Err(Error::Compacted { .. }) => return Ok(expired(&lines, from)),
        Err(error) => return Err(crate::objects::status(error)),
    };
    let now = Instant::now();
    let follow = Follow {
        api: api.clone(),
        served: served.clone(),
        selection,
        lines,
        watch,
        bookmarks: options.bookmarks,
        ends: now + options.timeout.unwrap_or_else(|| life(api)).min(LIFE_MAX),
        next_bookmark: now + BOOKMARK_EVERY,
        first,
        is_over: false,
    };
    let pieces = stream::unfold(follow, |mut follow| async move { Some((follow.next().await?, follow)) });
    Ok(answer::with_body(StatusCode::OK, media_type, answer::streamed(pieces)))
}

/// What a watch begins with, and the first revision that it follows.
async fn begin(
    api: &Api,
    served: &Served,
    namespace: &str,
    options: &ListOptions,
    selection: &Selection,
    lines: &mut Lines,
) -> Result<(Option<Bytes>, Revision), Status> {
    let is_from = matches!(options.revision, Asked::Exact(_) | Asked::NotOlderThan(_));
    if let (false, Asked::Exact(revision) | Asked::NotOlderThan(revision)) =
        (options.send_initial_events, options.revision)
    {
        read::reach(api, revision).await?;
        return Ok((None, Revision(revision).next()));
    }
    let everything = ListOptions {
        revision: if is_from { options.revision } else { Asked::Newest },
        ..ListOptions::default()
    };
    read::reach_asked(api, &everything).await?;
    let page = read::page(api, served, namespace, &everything, selection).await?;
    let mut out = Vec::new();
    for object in &page.objects {
        lines.write(api, served, Change::Added, object, object.revision, &mut out)?;
    }
    if options.send_initial_events && options.bookmarks {
        lines.bookmark(served, page.revision, true, &mut out);
    }
    Ok((Some(out.into()).filter(|bytes: &Bytes| !bytes.is_empty()), page.revision.next()))
}

/// The answer to a watch from a revision that is gone: the client lists anew.
fn expired(lines: &Lines, from: Revision) -> Answer {
    let media_type = lines.media_type();
    let mut out = Vec::new();
    lines.failure(&too_old(from), &mut out);
    answer::bytes(StatusCode::OK, media_type, out)
}

fn too_old(from: Revision) -> Status {
    Status::expired(format!("too old resource version: {}", from.before()))
}

fn life(api: &Api) -> Duration {
    LIFE_MIN + Duration::from_secs(api.random() % LIFE_MIN.as_secs())
}

impl Follow {
    /// The next piece of the answer; none: it is over.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        while !self.is_over {
            let drain = self.api.drain.clone();
            let wake = self.ends.min(if self.bookmarks { self.next_bookmark } else { self.ends });
            tokio::select! {
                batch = self.watch.next() => {
                    let out = self.batch(batch).await;
                    if !out.is_empty() {
                        return Some(out.into());
                    }
                }
                () = sleep_until(wake) => self.tick(),
                () = drain.begun() => self.is_over = true,
            }
        }
        None
    }

    /// Time has passed: the watch is over, or due for a bookmark.
    fn tick(&mut self) {
        let now = Instant::now();
        if now >= self.ends {
            self.is_over = true;
        } else if now >= self.next_bookmark {
            self.next_bookmark = now + BOOKMARK_EVERY;
            // An engine that cannot tell gives no bookmarks: clients do without them.
            let _ = self.watch.request_progress();
        }
    }

    async fn batch(&mut self, batch: Result<Batch, Error>) -> Vec<u8> {
        let mut out = Vec::new();
        let written = match batch {
            Ok(batch) if batch.events.is_empty() => {
                if self.bookmarks {
                    self.lines.bookmark(&self.served, batch.revision, false, &mut out);
                }
                Ok(())
            }
            Ok(batch) => self.events(&batch.events, &mut out).await,
            Err(Error::Compacted { asked, .. }) => Err(too_old(asked)),
            Err(error) => Err(crate::objects::status(error)),
        };
        if let Err(status) = written {
            self.lines.failure(&status, &mut out);
            self.is_over = true;
        }
        out
    }

    async fn events(&mut self, events: &[Event], out: &mut Vec<u8>) -> Result<(), Status> {
        for event in events {
            self.event(event, out).await?;
        }
        Ok(())
    }

    /// Writes what a change means to this client, who may not want the object as it is, or as it was.
    async fn event(&mut self, event: &Event, out: &mut Vec<u8>) -> Result<(), Status> {
        let (api, served, selection) = (&self.api, &self.served, &self.selection);
        let is = opened(api, served, selection, event.object.as_deref()).await?;
        let was = opened(api, served, selection, event.previous.as_deref()).await?;
        let change = match (&is, &was) {
            (Some(_), Some(_)) => Change::Modified,
            (Some(_), None) => Change::Added,
            (None, Some(_)) => Change::Deleted,
            (None, None) => return Ok(()),
        };
        let Some(object) = is.or(was) else { return Ok(()) };
        // A change of an object whose last version is compacted is no creation.
        let change = if change == Change::Added && !event.is_create() && event.previous.is_none() {
            Change::Modified
        } else {
            change
        };
        self.lines.write(&self.api, &self.served, change, &object, event.revision, out)
    }
}

/// A version of an object, if the client wants it.
async fn opened(
    api: &Api,
    served: &Served,
    selection: &Selection,
    object: Option<&shoal_store::Object>,
) -> Result<Option<Stored>, Status> {
    let Some(object) = object else { return Ok(None) };
    let stored = convert::shown(api, served, api.objects.open(object)?).await?;
    let wants = selection.is_everything() || selection.wants(served, &stored)?;
    Ok(wants.then_some(stored))
}
