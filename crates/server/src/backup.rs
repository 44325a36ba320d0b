//! `GET /backup`: everything that is stored, at one revision, as a file that `shoal server restore` reads.
//!
//! Secrets in it are sealed as they are in the store: whoever restores it needs the key file too.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use shoal_api::Status;
use shoal_store::backup;
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use crate::answer::{self, Answer};
use crate::api::Api;

/// Bytes that are read and sent at once.
const PIECE_BYTES: usize = 256 << 10;

/// Writes a backup beside the store, and sends it. Nothing of it is left on this machine.
///
/// # Errors
/// Those of the store, and of a disk that is full.
pub(crate) async fn answer(api: &Arc<Api>) -> Result<Answer, Status> {
    let path = api.scratch.join(format!("backup-{}.db", uuid::Uuid::new_v4()));
    let written = backup::backup(api.objects.store().as_ref(), &path).await;
    let opened = match written {
        Ok(_) => {
            open(&path).await.map_err(|error| Status::internal(format!("the backup cannot be read: {error}")))
        }
        Err(error) => Err(crate::objects::status(error)),
    };
    // Once it is open it needs no name; what was not finished is not there.
    let _ = tokio::fs::remove_file(&path).await;
    let (file, bytes) = opened?;
    let pieces = stream::unfold(file, |mut file| async move {
        let mut piece = vec![0; PIECE_BYTES];
        let read = file.read(&mut piece).await.ok().filter(|read| *read > 0)?;
        piece.truncate(read);
        Some((Bytes::from(piece), file))
    });
    let answer = answer::with_body(StatusCode::OK, "application/vnd.sqlite3", answer::streamed(pieces));
    Ok(answer::with_header(answer, CONTENT_LENGTH, &bytes.to_string()))
}

async fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = File::open(path).await?;
    let bytes = file.metadata().await?.len();
    Ok((file, bytes))
}
