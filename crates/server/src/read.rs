//! Reading: one object, or a list of them.

use std::time::Duration;

use http::StatusCode;
use shoal_api::Status;
use shoal_store::{ListOptions as StoreOptions, Revision};

use crate::answer::Answer;
use crate::api::{Api, Request};
use crate::convert;
use crate::objects::{Listed, Stored};
use crate::options::{Asked, ListOptions};
use crate::page::Continue;
use crate::registry::Served;
use crate::render;
use crate::select::Selection;

/// Objects read from the store at once, after which others get their turn.
const PART_OBJECTS: usize = 1000;
/// The same while a selector looks at each of them, which takes longer: some 80 µs.
const SCAN_OBJECTS: usize = 64;
/// How long a list waits for a revision that has not happened yet, as Kubernetes waits for its cache.
const FUTURE_WAIT: Duration = Duration::from_secs(3);

/// `GET` of one object.
///
/// # Errors
/// 404, and those of the store.
pub(crate) async fn get(api: &Api, served: &Served, request: &Request) -> Result<Answer, Status> {
    let wanted = request.wanted(served)?;
    if let Some(revision) = request.query.get("resourceVersion").filter(|text| !text.is_empty()) {
        // It was waited for before the request got its place.
        crate::options::revision(revision)?;
    }
    let stored = one(api, served, &request.target.namespace, &request.target.name).await?;
    let stored = convert::shown(api, served, stored).await?;
    render::stored(api, served, StatusCode::OK, &stored, wanted)
}

/// One object that must be there.
///
/// # Errors
/// 404, and those of the store.
pub(crate) async fn one(api: &Api, served: &Served, namespace: &str, name: &str) -> Result<Stored, Status> {
    let found = api.objects.get(&served.key(namespace, name)).await?;
    found.ok_or_else(|| Status::not_found(served.named(), name))
}

/// `GET` of many.
///
/// # Errors
/// 400 for what cannot be asked, 410 for a revision that is gone, 504 for one that has not happened.
pub(crate) async fn list(api: &Api, served: &Served, request: &Request) -> Result<Answer, Status> {
    let options = ListOptions::read(&request.query)?;
    let wanted = request.wanted(served)?;
    let selection = Selection::read(served, &options, &request.target.name)?;
    // Its revision was waited for before the request got its place.
    let page = page(api, served, &request.target.namespace, &options, &selection).await?;
    render::list(api, served, &page, wanted, request.include()).await
}

/// A page of a list.
pub(crate) struct Page {
    /// What is wanted, in the order of keys.
    pub objects: Vec<Stored>,
    /// The revision of the list.
    pub revision: Revision,
    /// What the next page is asked with; empty: this is the last.
    pub token: String,
    /// Objects after this page; none where it is not known.
    pub remaining: Option<u64>,
}

/// The objects that are wanted, at most as many as the options say. A revision that they shall not be older than has
/// happened: see [`reach_asked`].
///
/// # Errors
/// As [`list`].
pub(crate) async fn page(
    api: &Api,
    served: &Served,
    namespace: &str,
    options: &ListOptions,
    selection: &Selection,
) -> Result<Page, Status> {
    let prefix = served.prefix(namespace);
    let Start { mut at, mut after, remaining } = start(&prefix, options)?;
    if let Some(name) = selection.name().filter(|_| at.is_none() && named_place(served, namespace)) {
        return single(api, served, namespace, name, selection).await;
    }
    let all = selection.is_everything();
    let mut found = Vec::new();
    let mut counted = remaining;
    loop {
        let room = if options.limit == 0 { usize::MAX } else { options.limit - found.len() };
        let limit = if all { room.min(PART_OBJECTS) } else { SCAN_OBJECTS };
        let uncounted = !all || counted.is_some();
        let asked = StoreOptions { at, limit, after: after.take(), uncounted, keys_only: false };
        let mut listed = match api.objects.list(&prefix, asked).await {
            Ok(listed) => listed,
            Err(gone) if gone.code == 410 && !options.token.is_empty() => {
                return Err(resumable(gone, options));
            }
            Err(error) => return Err(error),
        };
        at = Some(listed.revision);
        let seen = listed.objects.len() as u64;
        counted =
            counted.or_else(|| all.then_some(seen + listed.remaining)).map(|left| left.saturating_sub(seen));
        listed.objects = convert::all_shown(api, served, listed.objects).await?;
        let last = keep(served, selection, &listed, options.limit, &mut found)?;
        let is_cut = last.is_some() || listed.remaining > 0;
        after = last.or_else(|| listed.objects.last().map(|object| object.key.clone()));
        let is_full = options.limit > 0 && found.len() >= options.limit;
        if !is_cut || is_full {
            let remaining = counted.filter(|_| all && is_cut);
            let token = after
                .filter(|_| is_cut)
                .map_or_else(String::new, |key| token(&prefix, &key, listed.revision, remaining));
            return Ok(Page { objects: found, revision: listed.revision, token, remaining });
        }
        tokio::task::yield_now().await;
    }
}

/// Adds what is wanted of a part of the list. Returns the key after which the page is full, if that is not the part's end.
fn keep(
    served: &Served,
    selection: &Selection,
    listed: &Listed,
    limit: usize,
    found: &mut Vec<Stored>,
) -> Result<Option<bytes::Bytes>, Status> {
    for (index, object) in listed.objects.iter().enumerate() {
        if selection.is_everything() || selection.wants(served, object)? {
            found.push(object.clone());
        }
        if limit > 0 && found.len() == limit && index + 1 < listed.objects.len() {
            return Ok(Some(object.key.clone()));
        }
    }
    Ok(None)
}

/// Whether a name is enough to find an object.
fn named_place(served: &Served, namespace: &str) -> bool {
    !served.resource.namespaced || !namespace.is_empty()
}

/// The list of the one object that can match.
async fn single(
    api: &Api,
    served: &Served,
    namespace: &str,
    name: &str,
    selection: &Selection,
) -> Result<Page, Status> {
    let got =
        api.objects.store().get(&served.key(namespace, name), None).await.map_err(crate::objects::status)?;
    let mut objects = Vec::new();
    if let Some(object) = got.object {
        let stored = convert::shown(api, served, api.objects.open(&object)?).await?;
        if selection.wants(served, &stored)? {
            objects.push(stored);
        }
    }
    Ok(Page { objects, revision: got.revision, token: String::new(), remaining: None })
}

/// Where a list begins.
struct Start {
    /// Of which revision; none: the newest.
    at: Option<Revision>,
    /// After which key.
    after: Option<bytes::Bytes>,
    /// How many objects there are from there on, if that is known.
    remaining: Option<u64>,
}

fn start(prefix: &[u8], options: &ListOptions) -> Result<Start, Status> {
    if !options.token.is_empty() {
        let token = Continue::decode(&options.token)?;
        let after = [prefix, token.after.as_bytes()].concat();
        return Ok(Start { at: token.revision, after: Some(after.into()), remaining: token.remaining });
    }
    let at = match options.revision {
        Asked::Newest | Asked::Any | Asked::NotOlderThan(_) => None,
        Asked::Exact(revision) => Some(Revision(revision)),
    };
    Ok(Start { at, after: None, remaining: None })
}

/// Waits until the revision has happened that a list shall not be older than.
///
/// # Errors
/// As [`reach`].
pub(crate) async fn reach_asked(api: &Api, options: &ListOptions) -> Result<(), Status> {
    match options.revision {
        Asked::NotOlderThan(revision) => reach(api, revision).await,
        Asked::Newest | Asked::Any | Asked::Exact(_) => Ok(()),
    }
}

/// Waits until a revision has happened.
///
/// # Errors
/// 504: it has not, after a while.
pub(crate) async fn reach(api: &Api, revision: u64) -> Result<(), Status> {
    let store = api.objects.store();
    let deadline = tokio::time::Instant::now() + FUTURE_WAIT;
    loop {
        let now = store.progress().await.map_err(crate::objects::status)?;
        if now.0 >= revision {
            return Ok(());
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(crate::objects::status(shoal_store::Error::Future { asked: Revision(revision) }));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn token(prefix: &[u8], key: &[u8], revision: Revision, remaining: Option<u64>) -> String {
    let after = String::from_utf8_lossy(&key[prefix.len()..]).into_owned();
    Continue { revision: Some(revision), after, remaining }.encode()
}

/// A list whose revision is gone can be gone on with at the newest one, by a token that says so.
fn resumable(gone: Status, options: &ListOptions) -> Status {
    let token = Continue::decode(&options.token).map(|token| Continue { revision: None, ..token }.encode());
    let message = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";
    Status { continue_token: token.unwrap_or_default(), message: message.into(), ..gone }
}
