//! A body, read into one buffer, and the memory that it may take.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::request::Parts;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::{Instant, timeout, timeout_at};

use super::limits::Limits;
use super::metrics::Refused;
use super::shares::{Share, Shares};

/// How long the rest of a refused body is still read.
const LINGER: Duration = Duration::from_millis(500);

/// The first buffer of a body, unless the whole body is shorter. It is the size of a TLS record.
const FIRST: usize = 16 * 1024;

/// What a header costs beside its name and value: `http::HeaderMap` keeps an entry and an index of it.
const HEADER: usize = 128;

/// The memory for all requests of a listener, shared by peers. Small bodies and heads have a part of their own.
#[derive(Debug)]
pub(super) struct Memory {
    small: Arc<Shares>,
    large: Arc<Shares>,
    small_body: usize,
    /// Held while a buffer grows: an allocator may copy it, and then has it twice.
    growing: Mutex<()>,
}

impl Memory {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            small: Shares::new(limits.small_bodies),
            large: Shares::new(limits.large_bodies),
            small_body: limits.small_body,
            growing: Mutex::default(),
        }
    }

    /// Room for a request with this head. Its body takes more as it arrives.
    pub(super) fn room(&self, peer: IpAddr, head: &Parts) -> Result<Room<'_>, Refused> {
        let headers = head.headers.iter();
        let cost: usize = headers.map(|(name, value)| name.as_str().len() + value.len() + HEADER).sum();
        let head = cost + head.uri.path().len() + head.uri.query().map_or(0, str::len);
        let small = self.small.take(peer, head).ok_or(Refused::NoRoom)?;
        Ok(Room { memory: self, peer, head, size: 0, small, large: None })
    }

    /// Takes room for an answer until all of it was sent, unless it is so short that the connection's own buffer holds it.
    pub(super) fn hold(&self, peer: IpAddr, answer: Body) -> Result<Body, Refused> {
        let size = usize::try_from(answer.size_hint().lower()).unwrap_or(usize::MAX);
        if size <= FIRST {
            return Ok(answer);
        }
        let shares = if size > self.small_body { &self.large } else { &self.small };
        let share = shares.take(peer, size).ok_or(Refused::NoRoom)?;
        Ok(Body::new(Held { answer, rest: Bytes::new(), _share: share }))
    }
}

/// The room that a request takes. It is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Room<'a> {
    memory: &'a Memory,
    peer: IpAddr,
    head: usize,
    /// The capacity of the buffer.
    size: usize,
    small: Share,
    large: Option<Share>,
}

impl Room<'_> {
    /// Lets the buffer grow to `size`. Once it is no longer small, it counts as large, and frees what it had of the other part.
    fn grow(&mut self, buffer: &mut Vec<u8>, size: usize) -> Result<(), Refused> {
        let by = size.saturating_sub(self.size);
        match &mut self.large {
            Some(large) => large.grow(by).then_some(()).ok_or(Refused::NoRoom)?,
            None if size <= self.memory.small_body => {
                self.small.grow(by).then_some(()).ok_or(Refused::NoRoom)?;
            }
            None => {
                self.large = Some(self.memory.large.take(self.peer, size).ok_or(Refused::NoRoom)?);
                self.small.shrink_to(self.head);
            }
        }
        self.size = size;
        if buffer.is_empty() {
            buffer.reserve_exact(size);
        } else {
            let _one_at_a_time = self.memory.growing.lock().unwrap_or_else(PoisonError::into_inner);
            buffer.reserve_exact(size.saturating_sub(buffer.len()));
        }
        Ok(())
    }
}

/// Reads a body, whatever its Content-Length says. Memory is taken as bytes arrive: those that are only announced take none.
pub(super) async fn read(
    body: &mut Incoming,
    room: &mut Room<'_>,
    limits: &Limits,
    deadline: Instant,
) -> Result<Bytes, Refused> {
    let announced = body.size_hint();
    if announced.lower() > limits.body as u64 {
        return Err(Refused::TooLarge);
    }
    let end = announced.exact().and_then(|length| usize::try_from(length).ok()).unwrap_or(limits.body);
    let began = Instant::now();
    let mut whole = Vec::new();
    loop {
        let earned = Duration::from_secs_f64(whole.len() as f64 / limits.rate as f64);
        let due = deadline.min(began + limits.grace + earned);
        let frame = timeout_at(due, body.frame()).await.map_err(|_| Refused::Slow)?;
        let Some(frame) = frame else { return Ok(whole.into()) };
        let Ok(data) = frame.map_err(|_| Refused::Broken)?.into_data() else { continue };
        let length = whole.len() + data.len();
        if length > limits.body {
            return Err(Refused::TooLarge);
        }
        if length > whole.capacity() {
            room.grow(&mut whole, capacity(length, end))?;
        }
        whole.extend_from_slice(&data);
    }
}

/// The next capacity of the buffer of a body that ends at `end`: half of it, a quarter, an eighth …, whatever is the least
/// that holds `length`. So the last step ends where the body does.
fn capacity(length: usize, end: usize) -> usize {
    let mut size = end.max(length);
    while size.div_ceil(2) >= length.max(FIRST) {
        size = size.div_ceil(2);
    }
    size
}

/// Reads and drops more of a refused body, for a moment and at most `limit` bytes. A peer that still writes when the
/// connection closes gets a reset and may never see the answer.
pub(super) async fn linger(body: &mut Incoming, limit: usize) {
    let mut rest = Limited::new(body, limit);
    // The answer is the same whether the body ended, or one of the two bounds was reached.
    let _ = timeout(LINGER, async { while let Some(Ok(_)) = rest.frame().await {} }).await;
}

/// An answer and its room. It is given away in pieces, as the connection can send them: hyper would take all of it at once,
/// and keep it when this is gone.
struct Held {
    answer: Body,
    rest: Bytes,
    _share: Share,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.answer).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                ended => return Poll::Ready(ended),
            }
        }
        let length = self.rest.len().min(FIRST);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.answer.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, later) = (self.rest.len() as u64, self.answer.size_hint());
        later.exact().map_or_else(SizeHint::default, |later| SizeHint::with_exact(rest + later))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_follows_what_has_arrived_and_ends_where_the_body_does() {
        assert_eq!(capacity(1, 5_000), 5_000, "an ordinary review: one allocation");
        let end = 20 * 1024 * 1024;
        assert!(capacity(1, end) < 2 * FIRST + 2, "announced bytes take nothing");
        let mut size = 0;
        let mut steps = 0;
        for length in (1..=end).step_by(16 * 1024).chain([end]) {
            let next = if length > size { capacity(length, end) } else { size };
            assert!(next >= length && next <= 2 * length.max(FIRST) + 2, "{length}: {next}");
            steps += usize::from(next > size);
            size = next;
        }
        assert_eq!(size, end);
        assert!(steps <= 12, "{steps}");
    }
}
