//! What registries and people give the agent: names, manifests, credentials, layers, forwarded connections.
#![allow(unreachable_pub, reason = "a module of the fuzz targets and of the tests of shoal-node")]

use std::io::Read as _;

use shoal_node::artifact::{Entry, Index, Keyring, Manifest, Plan, Reference, read_layer};
use shoal_node::endpoint::spdy::{FRAME_BYTES_MAX, Frame, Frames};

/// A reference that is understood is shown in a form that means the same; an error quotes what was written.
pub fn reference(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match text.parse::<Reference>() {
        Ok(reference) => {
            let shown = reference.to_string();
            assert_eq!(shown.parse(), Ok(reference.clone()), "{text:?} is shown as {shown:?}");
            if let Reference::Image(image) = reference {
                assert!(image.tag.is_some() || image.digest.is_some(), "{text:?} asks for nothing");
                let path = format!("/v2/{}/manifests/{}", image.repository, image.version());
                assert!(path.parse::<http::Uri>().is_ok(), "{path:?} can be asked for");
                assert!(!path.contains("/../") && !path.contains("//"), "{path:?} stays where it is");
            }
        }
        Err(error) => assert!(error.to_string().contains(text), "{error} does not quote {text:?}"),
    }
}

/// A manifest or index is understood within its limits, or refused with words.
pub fn manifest(bytes: &[u8]) {
    match Manifest::parse(bytes).map(|manifest| manifest.plan()) {
        Ok(Ok(Plan::Layers(layers))) => assert!(!layers.is_empty(), "layers without a layer"),
        Ok(Ok(Plan::Blob(_))) => {}
        Ok(Err(error)) | Err(error) => assert!(!error.to_string().is_empty()),
    }
    match Index::parse(bytes).map(|index| index.choose().cloned().map(|chosen| (index, chosen))) {
        Ok(Ok((index, chosen))) => assert!(index.manifests.contains(&chosen), "what is chosen was offered"),
        Ok(Err(error)) | Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A file of credentials is understood or refused, and neither words nor debugging show a password.
pub fn credentials(bytes: &[u8]) {
    let Ok(Reference::Image(image)) = "registry.example.com:5000/team/app".parse() else {
        unreachable!("it is a reference")
    };
    for keyring in [Keyring::parse(bytes), Keyring::parse_legacy(bytes)] {
        match keyring {
            Ok(keyring) => {
                let shown = format!("{keyring:?}");
                assert!(!shown.contains("hunter2"), "{shown}");
                assert!(keyring.of_image(&image).len() <= bytes.len(), "no credential comes from nothing");
            }
            Err(error) => assert!(!error.to_string().contains("hunter2"), "{error}"),
        }
    }
}

/// A layer ends within its limit; no path leads out of the image; what is read of a file is what it is said to have.
pub fn layer(bytes: &[u8]) {
    const LIMIT: u64 = 1 << 20;
    let result = read_layer(bytes, LIMIT, |entry, content| {
        let path = match &entry {
            Entry::File { path, .. } | Entry::Removed { path } | Entry::Emptied { path } => path,
        };
        assert!(!path.starts_with('/') && !path.split('/').any(|word| word == ".."), "{path:?} leads out");
        if let Entry::File { size_bytes, .. } = entry {
            let read = content.take(LIMIT).read_to_end(&mut Vec::new())? as u64;
            assert!(read <= size_bytes, "{path:?} has more than it says");
        }
        Ok(())
    });
    if let Err(error) = result {
        assert!(error.to_string().starts_with("a layer "), "{error}");
    }
}

/// What a client says in a forwarded connection is understood within its limits, or refused with words; it does not depend
/// on how the bytes arrive.
pub fn spdy(bytes: &[u8]) {
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| -> (Vec<Frame>, Option<String>) {
        let (mut frames, mut all) = (Frames::default(), Vec::new());
        for piece in pieces {
            frames.bytes().extend_from_slice(piece);
            loop {
                match frames.take() {
                    Ok(Some(frame)) => all.push(frame),
                    Ok(None) => break,
                    Err(error) => return (all, Some(error)),
                }
            }
        }
        (all, None)
    };
    let (whole, error) = read(&mut std::iter::once(bytes));
    assert_eq!(read(&mut bytes.chunks(1)), (whole.clone(), error.clone()), "it depends on the pieces");
    assert!(error.is_none_or(|error| !error.is_empty()));
    for frame in whole {
        if let Frame::Data { bytes, .. } = frame {
            assert!(bytes.len() <= FRAME_BYTES_MAX, "a frame of {} bytes", bytes.len());
        }
    }
}
