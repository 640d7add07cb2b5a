//! What a registry may answer, and what we do then: answers from a script, on loopback.

#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

use bytes::Bytes;
use oci_spec::image::{Descriptor, Digest, MediaType};
use xtask_release::layer::digest;
use xtask_release::registry::Registry;
use xtask_release::registry::credentials::Credentials;

/// Serves these answers one after the other, and returns what was asked: the first line of each request and what it says
/// of who asks.
fn script(answers: Vec<String>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let own = host.clone();
    let serve = move || {
        answers.iter().map(|answer| one(listener.accept().unwrap().0, &answer.replace("{host}", &own))).collect()
    };
    (host, std::thread::spawn(serve))
}

fn one(mut stream: TcpStream, answer: &str) -> String {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut seen, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim_end().to_lowercase();
        if line.is_empty() {
            break;
        }
        if seen.is_empty() {
            seen = line.trim_end_matches(" http/1.1").to_owned();
        } else if let Some(who) = line.strip_prefix("authorization: ") {
            seen = format!("{seen} as {who}");
        } else if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let (head, body) = answer.split_once('\n').unwrap_or((answer, ""));
    let head: String = head.split(" | ").map(|line| format!("{line}\r\n")).collect();
    write!(stream, "HTTP/1.1 {head}connection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    seen
}

fn registry(host: &str) -> Registry {
    // Fails only when there is one already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Registry::new(host, "a/b", false, Credentials::Password("jane".to_owned(), "secret".to_owned())).unwrap()
}

fn blob() -> (Descriptor, Bytes) {
    let bytes = Bytes::from(vec![7; 200_000]);
    let digest: Digest = digest(&bytes).parse().unwrap();
    (Descriptor::new(MediaType::ImageLayerGzip, 200_000, digest), bytes)
}

fn answers(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[tokio::test]
async fn what_passes_is_tried_again() {
    let (host, asked) = script(answers(&[
        "503 Service Unavailable | retry-after: 0",
        "429 Too Many Requests | retry-after: 0\n{\"errors\":[{\"code\":\"TOOMANYREQUESTS\",\"message\":\"slow\"}]}",
        "200 OK\nmanifest",
    ]));
    let found = registry(&host).manifest("v1").await.unwrap().unwrap();
    assert_eq!(found, "manifest".as_bytes());
    assert_eq!(asked.join().unwrap(), ["get /v2/a/b/manifests/v1"; 3]);
}

#[tokio::test]
async fn an_upload_that_fails_begins_again() {
    let (host, asked) = script(answers(&[
        "202 Accepted | location: /v2/a/b/blobs/uploads/1?state=x",
        "500 Internal Server Error | retry-after: 0",
        "202 Accepted | location: http://{host}/v2/a/b/blobs/uploads/2",
        "201 Created",
    ]));
    let (blob, bytes) = blob();
    registry(&host).put_blob(&blob, &bytes, |_| ()).await.unwrap();
    let digest = blob.digest().to_string().replace(':', "%3a");
    let expected = [
        "post /v2/a/b/blobs/uploads/".to_owned(),
        format!("put /v2/a/b/blobs/uploads/1?state=x&digest={digest}"),
        "post /v2/a/b/blobs/uploads/".to_owned(),
        format!("put /v2/a/b/blobs/uploads/2?digest={digest}"),
    ];
    assert_eq!(asked.join().unwrap(), expected);
}

#[tokio::test]
async fn what_does_not_pass_is_told_at_once() {
    let (host, asked) =
        script(answers(&["403 Forbidden\n{\"errors\":[{\"code\":\"DENIED\",\"message\":\"not yours\"}]}"]));
    let (blob, _) = blob();
    let kind = MediaType::ImageManifest;
    let error = registry(&host).put_manifest(blob.digest().as_ref(), &kind, b"{}").await.unwrap_err();
    assert!(error.to_string().ends_with("403 Forbidden: DENIED not yours"), "{error}");
    assert_eq!(asked.join().unwrap().len(), 1);
}

#[tokio::test]
async fn a_registry_that_knows_referrers_says_so() {
    let (blob, _) = blob();
    let (host, asked) = script(answers(&["201 Created | oci-subject: sha256:00", "201 Created"]));
    let mut registry = registry(&host);
    for knows in [true, false] {
        let put = registry.put_manifest(blob.digest().as_ref(), &MediaType::ImageManifest, b"{}").await;
        assert_eq!(put.unwrap(), knows);
    }
    assert_eq!(asked.join().unwrap().len(), 2);
}

#[tokio::test]
async fn a_token_is_got_once_from_whom_the_registry_names() {
    let (host, asked) = script(answers(&[
        "401 Unauthorized | www-authenticate: Bearer realm=\"http://{host}/token\",service=\"r\",scope=\"s\"",
        "200 OK\n{\"token\":\"t0ken\"}",
        "404 Not Found",
        "200 OK",
    ]));
    let mut registry = registry(&host);
    assert_eq!(registry.manifest("v1").await.unwrap(), None);
    assert!(registry.has_blob(&blob().0).await.unwrap());
    let digest = blob().0.digest().to_string();
    let expected = [
        "get /v2/a/b/manifests/v1".to_owned(),
        // jane:secret
        "get /token?service=r&scope=s as basic amfuztpzzwnyzxq=".to_owned(),
        "get /v2/a/b/manifests/v1 as bearer t0ken".to_owned(),
        format!("head /v2/a/b/blobs/{digest} as bearer t0ken"),
    ];
    assert_eq!(asked.join().unwrap(), expected);
}
