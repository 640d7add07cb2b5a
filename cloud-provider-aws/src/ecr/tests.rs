use std::time::Duration;

use proptest::prelude::*;

use super::*;

const REQUEST: &str = r#"{"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1","image":"test.registry.io/foobar"}"#;

#[test]
fn an_answer_has_the_bytes_of_upstreams() {
    let request = protocol::read(REQUEST.as_bytes()).unwrap();
    assert_eq!(request.image, "test.registry.io/foobar");
    let auth = Auth { username: "user".to_owned(), password: "password".to_owned() };
    let response = Response::new(Some(GoDuration::from_secs(600)), "*.registry.io".to_owned(), auth);
    assert_eq!(
        protocol::write(&request.version, &response),
        concat!(
            r#"{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","#,
            r#""cacheKeyType":"Registry","cacheDuration":"10m0s","auth":{"*.registry.io":{"username":"user","password":"password"}}}"#,
            "\n"
        )
    );
}

#[test]
fn requests_of_other_kinds_groups_and_versions_are_refused() {
    for (from, to, text) in [
        (
            "CredentialProviderRequest",
            "CredentialProviderFoo",
            r#"kind was "CredentialProviderFoo", expected CredentialProviderRequest"#,
        ),
        ("credentialprovider.kubelet.k8s.io/v1", "foo.k8s.io/v1", "group version foo.k8s.io/v1 is not supported"),
        ("k8s.io/v1", "k8s.io/v2", "group version credentialprovider.kubelet.k8s.io/v2 is not supported"),
        ("credentialprovider.kubelet.k8s.io/v1", "v1", "group version v1 is not supported"),
    ] {
        let error = protocol::read(REQUEST.replace(from, to).as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), text);
    }
    assert!(protocol::read(b"").unwrap_err().to_string().starts_with("couldn't get version/kind; json parse error: "));
    let null =
        REQUEST.replace("\"image\"", "\"serviceAccountAnnotations\":null,\"serviceAccountToken\":null,\"image\"");
    assert_eq!(protocol::read(null.as_bytes()), protocol::read(REQUEST.as_bytes()));
    for version in ["v1beta1", "v1alpha1"] {
        let older = REQUEST.replace("k8s.io/v1", &format!("k8s.io/{version}"));
        assert!(protocol::read(older.as_bytes()).unwrap().version.ends_with(version));
    }
}

#[test]
fn credentials_are_cached_for_half_of_their_life() {
    let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
    let hours = |hours: u32| Some(GoDuration::from_secs(hours * 3600));
    for (expires, expected) in [
        (None, Some(GoDuration::ZERO)),
        (Some(1_000_000 + 12 * 3600), hours(6)),
        (Some(1_000_003), Some(GoDuration::from_secs(1))),
        (Some(1_000_001), None),
        (Some(1_000_000), None),
        (Some(0), None),
    ] {
        assert_eq!(cache_duration(expires, now), expected, "{expires:?}");
    }
}

#[test]
fn a_token_is_a_user_and_a_password() {
    let token = |text: Option<&str>| Token { text: text.map(str::to_owned), expires: None };
    let answer =
        |text| response("host".to_owned(), token(text), UNIX_EPOCH).map(|answer| protocol::write("v", &answer));
    // user:pass:word
    let written = answer(Some("dXNlcjpwYXNzOndvcmQ=")).unwrap();
    assert!(
        written.contains(r#""cacheDuration":"0s","auth":{"host":{"username":"user","password":"pass:word"}}"#),
        "{written}"
    );
    assert_eq!(answer(None).unwrap_err().to_string(), "authorization token in response was nil");
    let no_password = "error parsing username and password from authorization token";
    assert_eq!(answer(Some("Zm9v")).unwrap_err().to_string(), no_password);
    for text in ["!", "Zm9", "/w=="] {
        assert!(answer(Some(text)).unwrap_err().to_string().starts_with("decode the authorization token: "), "{text}");
    }
}

#[tokio::test]
async fn a_request_without_an_image_is_refused() {
    let error = credentials(&Request::default(), UNIX_EPOCH).await.unwrap_err();
    assert_eq!(error.to_string(), "image in plugin request was empty");
}

#[test]
fn an_annotation_even_an_empty_one_hides_the_role_of_the_environment() {
    let request = |token: &str, role: Option<&str>| {
        let annotations = role.map(|role| (ROLE_ANNOTATION.to_owned(), role.to_owned())).into_iter().collect();
        Request {
            service_account_token: token.to_owned(),
            service_account_annotations: annotations,
            ..Request::default()
        }
    };
    assert_eq!(role(&request("token", Some("arn:expected"))), Some("arn:expected".to_owned()));
    assert_eq!(role(&request("token", Some(""))), None);
    assert_eq!(role(&request("", Some("arn:expected"))), None, "without a token there is nothing to take it on with");
}

#[test]
fn passwords_are_not_printed() {
    let auth = Auth { username: "AWS".to_owned(), password: "secret".to_owned() };
    assert!(!format!("{auth:?}").contains("secret"));
}

proptest! {
    #[test]
    fn nothing_that_the_kubelet_says_makes_it_panic(image in any::<String>(), request in any::<Vec<u8>>(), token in any::<String>()) {
        if let Ok(host) = registry::host(&image) {
            prop_assert!(!host.contains('/'));
            Registry::of(&host);
        }
        let _ = protocol::read(&request);
        let _ = response(image, Token { text: Some(token), expires: Some(i64::MIN) }, UNIX_EPOCH);
    }
}
