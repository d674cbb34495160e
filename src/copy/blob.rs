//! One blob: looked for at the target, mounted there, or streamed and verified while it streams.

use bytes::Bytes;
use http::{Method, StatusCode};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use tokio::time::timeout;

use super::failure::{Again, Failure, Kind, Side};
use super::pace::Pace;
use super::peer::Peer;
use super::retry::retried;
use super::tell::{Blob, Event, Tell};
use crate::domain::digest::Digest;
use crate::domain::image::Repository;
use crate::registry::{self, Answer, Client, Endpoint, Feed, Layer, Open, Opened, part};

/// From where to where.
pub(super) struct Stream<'a> {
    pub source: &'a Peer<'a>,
    pub target: &'a Peer<'a>,
    pub pace: &'a Pace,
    pub tell: Tell<'a>,
}

const BYTES: &str = "application/octet-stream";

impl Stream<'_> {
    /// Brings a blob to the target. `mount`: another repository there that has it.
    pub async fn bring(&self, layer: &Layer, mount: Option<&Repository>) -> Result<Blob, Failure> {
        let Layer { digest, size } = layer;
        let believed = match self.target.blob(digest).await? {
            registry::Blob::Present(found) if *size == 0 || found.is_none_or(|found| found == *size) => {
                return Ok(Blob::There);
            }
            // It knows the blob, and its storage has lost it, or part of it. A mount would only repeat what it believes.
            registry::Blob::Present(_) | registry::Blob::Cut => true,
            registry::Blob::Absent => false,
            registry::Blob::Refused(why) => {
                return Err(self.target.failure(Kind::Refused, format!("blob {digest}: {why}")));
            }
        };
        let mut begun = None;
        if let Some(other) = mount.filter(|_| !believed) {
            let answer = self.begin(Some((digest, other))).await?;
            match answer.status {
                StatusCode::CREATED if self.serves(layer).await? => return Ok(Blob::Mounted),
                StatusCode::ACCEPTED => begun = Some(answer),
                // It may not mount, or knows no mounts: then it is streamed.
                _ => {}
            }
        }
        let push = async || match begun.take() {
            Some(answer) => self.push(layer, &answer).await,
            None => {
                let answer = self.begin(None).await?;
                self.push(layer, &answer).await
            }
        };
        retried(self.tell, push).await?;
        if !believed {
            return Ok(Blob::Copied);
        }
        if self.serves(layer).await? {
            return Ok(Blob::Repaired);
        }
        let detail = format!("it has taken the blob {digest} again, and still does not serve it");
        Err(self.target.failure(Kind::NotServed, detail))
    }

    /// Whether the target serves the blob.
    pub async fn serves(&self, Layer { digest, size }: &Layer) -> Result<bool, Failure> {
        Ok(match self.target.blob(digest).await? {
            registry::Blob::Present(found) => *size == 0 || found.is_none_or(|found| found == *size),
            _ => false,
        })
    }

    /// Asks for an upload, or for a mount.
    async fn begin(&self, mount: Option<(&Digest, &Repository)>) -> Result<Answer, Failure> {
        let Peer { repository, .. } = self.target;
        let query = mount.map(|(digest, other)| format!("?mount={digest}&from={other}")).unwrap_or_default();
        let path = format!("/v2/{repository}/blobs/uploads/{query}");
        let endpoint = Endpoint::Push(repository, BYTES);
        self.target.send("begin of an upload", Method::POST, &path, endpoint, Some(Bytes::new())).await
    }

    /// Streams the blob into an upload, and finishes it only if all of it was right.
    async fn push(&self, layer: &Layer, begun: &Answer) -> Result<(), Failure> {
        let Layer { digest, size } = layer;
        let what = format!("upload of the blob {digest}");
        if begun.status != StatusCode::ACCEPTED {
            return Err(self.target.refused("begin of an upload", begun));
        }
        let session = |answer: &Answer| {
            self.target.client.session(answer).map_err(|unknown| self.target.unknown(&what, &unknown))
        };
        let at = session(begun)?;
        let (feed, body) = part(Some(*size).filter(|size| *size > 0));
        let mut sent = 0;
        let written = {
            let read = self.read(layer, feed, &mut sent);
            let write = self.target.client.write(&self.target.repository, &at, body);
            tokio::pin!(read, write);
            // The answer may come before all is sent: then nothing more is read.
            tokio::select! {
                written = &mut write => match written {
                    Ok(answer) if answer.status.is_success() => read.await.map(|()| answer),
                    // The source may be why the body broke off.
                    written => match futures::FutureExt::now_or_never(&mut read) {
                        Some(Err(failure)) if failure.side == Side::Source => Err(failure),
                        _ => written.map_err(|unknown| self.target.unknown(&what, &unknown)),
                    },
                },
                read = &mut read => match read {
                    // Nothing is waited for: with the request the connection is broken off, so the body is not whole.
                    Err(failure) => Err(failure),
                    Ok(()) => match timeout(Client::thought(), &mut write).await {
                        Ok(written) => written.map_err(|unknown| self.target.unknown(&what, &unknown)),
                        Err(_) => {
                            let detail = format!("{what}: it has taken all bytes, and does not answer");
                            Err(Failure { again: Again::After(None), ..self.target.failure(Kind::Unreachable, detail) })
                        }
                    },
                },
            }
        };
        let finished = match written {
            Ok(answer) if answer.status.is_success() => {
                let at = session(&answer)?;
                let path = format!("{at}{}digest={digest}", if at.contains('?') { "&" } else { "?" });
                self.finish(&what, &path, digest).await
            }
            // The upload was begun with these credentials: a token has ended since, and the next attempt fetches another.
            Ok(answer) if answer.status == StatusCode::UNAUTHORIZED => {
                Err(Failure { again: Again::After(None), ..self.target.refused(&what, &answer) })
            }
            Ok(answer) => Err(self.target.refused(&what, &answer)),
            Err(failure) => Err(failure),
        };
        if finished.is_err() {
            (self.tell)(Event::Again { bytes: sent });
            self.forget(&at).await;
        }
        finished
    }

    async fn finish(&self, what: &str, path: &str, digest: &Digest) -> Result<(), Failure> {
        let endpoint = Endpoint::Push(&self.target.repository, BYTES);
        let answer = self.target.send(what, Method::PUT, path, endpoint, Some(Bytes::new())).await?;
        if answer.status == StatusCode::NOT_FOUND
            && matches!(self.target.blob(digest).await?, registry::Blob::Present(_))
        {
            // The answer to the first attempt was lost on its way, and the upload is finished.
            return Ok(());
        }
        if !answer.status.is_success() {
            return Err(self.target.refused(what, &answer));
        }
        self.target.stands_by(digest, &answer.headers)
    }

    /// Gives an upload up. If that fails, too, the registry drops it some day.
    async fn forget(&self, session: &str) {
        let endpoint = Endpoint::Push(&self.target.repository, BYTES);
        let request = registry::Request {
            method: Method::DELETE,
            path_and_query: session,
            endpoint,
            accept: None,
            body: None,
            body_limit: 4096,
        };
        let soon = tokio::time::Instant::now() + std::time::Duration::from_secs(3);
        let _dropped_some_day = self.target.client.send(request, soon).await;
    }

    /// Reads the blob into the feed. A connection that breaks is opened again where it broke.
    async fn read(&self, layer: &Layer, feed: Feed, sent: &mut u64) -> Result<(), Failure> {
        let Layer { digest, size } = layer;
        let what = format!("blob {digest}");
        let (mut hash, mut got) = (Hash::of(digest), 0_u64);
        let lies = |detail: String| self.source.failure(Kind::WrongDigest, detail);
        let done = retried(self.tell, async || {
            let mut opened = self.open(digest, got).await?;
            // A registry that knows no ranges begins again: what is known of it is passed over.
            let mut passed = opened.start;
            while let Some(chunk) =
                opened.chunk().await.map_err(|unknown| self.source.unknown(&what, &unknown))?
            {
                let length = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
                let known =
                    usize::try_from(got.saturating_sub(passed)).unwrap_or(usize::MAX).min(chunk.len());
                passed += length;
                let chunk = chunk.slice(known..);
                if chunk.is_empty() {
                    continue;
                }
                hash.update(&chunk);
                got += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
                if *size > 0 && got > *size {
                    return Err(lies(format!(
                        "{what} has more than the {size} bytes that its manifest says"
                    )));
                }
                self.pace.pass(chunk.len()).await;
                (self.tell)(Event::Bytes { bytes: u64::try_from(chunk.len()).unwrap_or_default() });
                *sent = got;
                if *size > 0 && got == *size {
                    // The last bytes are sent only when all of them are right.
                    hash.verify(digest).map_err(&lies)?;
                }
                if !timeout(Client::thought(), feed.put(chunk)).await.unwrap_or(false) {
                    let detail = format!("upload of the {what}: it takes no more bytes");
                    return Err(self.target.failure(Kind::Unreachable, detail));
                }
            }
            if *size > 0 && got < *size {
                let detail = format!("{what} has {got} bytes, and its manifest says {size}");
                return Err(lies(detail));
            }
            hash.verify(digest).map_err(&lies)
        })
        .await;
        if done.is_err() {
            feed.abort();
        }
        done
    }

    async fn open(&self, digest: &Digest, from: u64) -> Result<Opened, Failure> {
        let opened = self.source.client.open(&self.source.repository, digest, from).await;
        match opened.map_err(|unknown| self.source.unknown(&format!("blob {digest}"), &unknown))? {
            Open::Blob(opened) => Ok(opened),
            Open::Absent => {
                let detail = format!("it has the image, and not its blob {digest}");
                Err(self.source.failure(Kind::Incomplete, detail))
            }
        }
    }
}

/// The hash of what has passed.
enum Hash {
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl Hash {
    fn of(digest: &Digest) -> Self {
        match digest {
            Digest::Sha256(_) => Self::Sha256(Sha256::new()),
            Digest::Sha384(_) => Self::Sha384(Sha384::new()),
            Digest::Sha512(_) => Self::Sha512(Sha512::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha384(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
        }
    }

    fn verify(&self, wanted: &Digest) -> Result<(), String> {
        let got = match self {
            Self::Sha256(hash) => Digest::Sha256(hash.clone().finalize().into()),
            Self::Sha384(hash) => Digest::Sha384(hash.clone().finalize().into()),
            Self::Sha512(hash) => Digest::Sha512(hash.clone().finalize().into()),
        };
        if got == *wanted { Ok(()) } else { Err(format!("what it sends as {wanted} is {got}")) }
    }
}
