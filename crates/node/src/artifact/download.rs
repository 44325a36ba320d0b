//! A blob on its way from a registry into a file: resumed where it broke off, checked at its end.

use http::{HeaderMap, Method, StatusCode, header};
use tokio::time::timeout;

use super::access::{Ask, Session};
use super::files::Partial;
use super::manifest::Descriptor;
use super::retry::{Tries, Trouble};
use super::{Digest, FetchError, Problem};

/// Is told how many bytes of how many there are.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Send + Sync);

/// Fetches what is missing of a blob.
pub(super) async fn blob(
    session: &mut Session<'_>,
    blob: &Descriptor,
    partial: &mut Partial,
    progress: Progress<'_>,
) -> Result<(), FetchError> {
    let wait = session.client().options().blob;
    timeout(wait, whole(session, blob, partial, progress)).await.unwrap_or_else(|_| {
        let what = format!("{} of {} bytes in {} s", partial.size_bytes(), blob.size, wait.as_secs());
        Err(FetchError::new(Problem::Registry, what)
            .hint("what is there is kept, and the next try goes on from it"))
    })
}

async fn whole(
    session: &mut Session<'_>,
    blob: &Descriptor,
    partial: &mut Partial,
    progress: Progress<'_>,
) -> Result<(), FetchError> {
    let mut tries = Tries::new(session.client().options().retry, blob.size);
    // What an earlier try has left may be of a disk that lost something.
    let mut is_resumed = partial.size_bytes() > 0;
    loop {
        if partial.size_bytes() >= blob.size {
            let found = partial.digest();
            if found == blob.digest {
                return Ok(());
            }
            partial.restart()?;
            if !std::mem::take(&mut is_resumed) {
                return Err(wrong_digest(blob.digest, found));
            }
        }
        let before = partial.size_bytes();
        if let Err(trouble) = part(session, blob, partial, progress).await {
            if partial.size_bytes() > before {
                tries.progress();
            }
            tries.next(trouble).await?;
        }
    }
}

pub(super) fn wrong_digest(expected: Digest, found: Digest) -> FetchError {
    FetchError::new(Problem::Corrupt, format!("its content has the digest {found}, not {expected}"))
        .hint("what came was thrown away; the registry, or a proxy before it, changes what it holds")
}

/// One try: from where the file ends to the end of the blob.
async fn part(
    session: &mut Session<'_>,
    blob: &Descriptor,
    partial: &mut Partial,
    progress: Progress<'_>,
) -> Result<(), Trouble> {
    let mut ask = Ask::new(Method::GET, format!("blobs/{}", blob.digest));
    let from = partial.size_bytes();
    if from > 0 {
        ask = ask.header(header::RANGE, format!("bytes={from}-"));
    }
    let mut answer = session.ask(&ask, &[StatusCode::RANGE_NOT_SATISFIABLE]).await?;
    let goes_on = answer.status == StatusCode::PARTIAL_CONTENT && begins_at(&answer.headers, from);
    if !goes_on && from > 0 {
        partial.restart()?;
    }
    if !goes_on && answer.status != StatusCode::OK {
        return Err(Trouble::passing(format!(
            "{} does not send the part that it was asked for",
            answer.from
        )));
    }
    while let Some(chunk) = answer.chunk().await? {
        if partial.size_bytes() + chunk.len() as u64 > blob.size {
            partial.restart()?;
            let what = format!("{} sends more than the {} bytes of {}", answer.from, blob.size, blob.digest);
            return Err(Trouble::last(Problem::Corrupt, what));
        }
        partial.write(&chunk)?;
        progress(partial.size_bytes(), blob.size);
    }
    if partial.size_bytes() < blob.size {
        let what = format!("{} ends after {} of {} bytes", answer.from, partial.size_bytes(), blob.size);
        return Err(Trouble::passing(what));
    }
    Ok(())
}

fn begins_at(headers: &HeaderMap, from: u64) -> bool {
    let range = headers.get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    range.is_some_and(|range| range.trim().starts_with(&format!("bytes {from}-")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_begins_where_it_was_asked_for() {
        let headers = |range: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_RANGE, range.parse().expect("a value"));
            headers
        };
        assert!(begins_at(&headers("bytes 7-9/10"), 7));
        assert!(!begins_at(&headers("bytes 70-90/100"), 7));
        assert!(!begins_at(&headers("7-9"), 7));
        assert!(!begins_at(&HeaderMap::new(), 0));
    }
}
