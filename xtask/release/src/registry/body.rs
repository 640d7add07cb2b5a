//! A request's body that tells how much of it is on its way.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

/// So much is handed over at a time.
const PIECE: usize = 64 * 1024;

pub(super) struct Counted<F> {
    rest: Bytes,
    sent: F,
    done: u64,
}

impl<F: Fn(u64) + Send + Sync + Unpin + 'static> Counted<F> {
    pub(super) fn body(bytes: Bytes, sent: F) -> reqwest::Body {
        reqwest::Body::wrap(Self { rest: bytes, sent, done: 0 })
    }
}

impl<F: Fn(u64) + Unpin> Body for Counted<F> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let size = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(size);
        self.done += piece.len() as u64;
        (self.sent)(self.done);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
