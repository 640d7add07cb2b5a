//! client-go's metrics of requests.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use kube::client::Body;
use prometheus::{Histogram, HistogramVec, IntCounterVec};

use super::transport::is_watch;
use crate::metrics::Metrics;

/// client-go's request metrics.
#[derive(Clone)]
pub(super) struct RequestMetrics {
    pub(super) requests: IntCounterVec,
    pub(super) duration: HistogramVec,
    pub(super) limited: HistogramVec,
    pub(super) retries: IntCounterVec,
    sent: HistogramVec,
    received: HistogramVec,
}

impl RequestMetrics {
    pub(super) fn new(metrics: &Metrics) -> RequestMetrics {
        /// From 64 bytes to 16 MiB.
        const BYTES: [f64; 11] =
            [64.0, 256.0, 512.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 16777216.0];
        const SECONDS: [f64; 12] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0];
        RequestMetrics {
            requests: metrics.counter_vec(
                "rest_client_requests_total",
                "[ALPHA] Number of HTTP requests, partitioned by status code, method, and host.",
                &["code", "method", "host"],
            ),
            duration: metrics.histogram_vec(
                "rest_client_request_duration_seconds",
                "[ALPHA] Request latency in seconds. Broken down by verb, and host.",
                &SECONDS,
                &["verb", "host"],
            ),
            limited: metrics.histogram_vec(
                "rest_client_rate_limiter_duration_seconds",
                "[ALPHA] Client side rate limiter latency in seconds. Broken down by verb, and host.",
                &SECONDS,
                &["verb", "host"],
            ),
            retries: metrics.counter_vec(
                "rest_client_request_retries_total",
                "[ALPHA] Number of request retries, partitioned by status code, verb, and host.",
                &["code", "verb", "host"],
            ),
            sent: metrics.histogram_vec(
                "rest_client_request_size_bytes",
                "[ALPHA] Request size in bytes. Broken down by verb and host.",
                &BYTES,
                &["verb", "host"],
            ),
            received: metrics.histogram_vec(
                "rest_client_response_size_bytes",
                "[ALPHA] Response size in bytes. Broken down by verb and host.",
                &BYTES,
                &["verb", "host"],
            ),
        }
    }

    /// Counts the bytes of a request, where they are known before.
    pub(super) fn sending(&self, request: &Request<Body>, host: &str) {
        use hyper::body::Body as _;
        if let Some(bytes) = request.body().size_hint().exact().filter(|bytes| *bytes > 0) {
            self.sent.with_label_values(&[request.method().as_str(), host]).observe(bytes as f64);
        }
    }

    /// Counts the bytes of the response to a request as they are read; not those of a watch, as client-go.
    pub(super) fn receiving(&self, request: &Request<Body>, host: &str) -> Size {
        let histogram = || self.received.with_label_values(&[request.method().as_str(), host]);
        Size { bytes: 0, histogram: (!is_watch(request)).then(histogram) }
    }
}

/// The size of a response, counted when it was read or given up.
pub(super) struct Size {
    bytes: usize,
    histogram: Option<Histogram>,
}

impl Size {
    /// Counts what is read of `response`.
    pub(super) fn count(
        mut self,
        response: Response<Body>,
    ) -> Response<impl hyper::body::Body<Data = Bytes, Error = kube::Error>> {
        response.map(|body| {
            body.map_frame(move |frame| {
                self.add(frame.data_ref().map_or(0, Bytes::len));
                frame
            })
        })
    }
}

impl Size {
    fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
    }
}

impl Drop for Size {
    fn drop(&mut self) {
        if let Some(histogram) = &self.histogram {
            histogram.observe(self.bytes as f64);
        }
    }
}
