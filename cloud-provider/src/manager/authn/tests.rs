use super::*;

#[test]
fn bearer_tokens_are_read_from_the_header_and_nothing_else_is() {
    let cases = [
        (None, None),
        (Some("Bearer abc"), Some("abc")),
        (Some("bearer  abc"), Some("abc")),
        (Some("Bearer "), None),
        (Some("Bearer"), None),
        (Some("Basic abc"), None),
    ];
    for (header, token) in cases {
        let mut headers = HeaderMap::new();
        if let Some(header) = header {
            headers.insert(AUTHORIZATION, header.parse().unwrap());
        }
        assert_eq!(bearer(&headers), token, "{header:?}");
    }
}

#[test]
fn who_is_known_is_in_the_group_of_all_that_are_once() {
    let user = User { groups: vec!["dev".into()], ..User::default() }.authenticated();
    assert_eq!(user.groups, ["dev", "system:authenticated"]);
    assert_eq!(user.clone().authenticated(), user);
    assert_eq!(User::anonymous().groups, ["system:unauthenticated"]);
}

#[tokio::test(start_paused = true)]
async fn a_review_is_tried_five_times_and_ten_seconds_at_most() {
    let unavailable = || {
        let mut status = kube::core::Status::failure("down", "ServiceUnavailable");
        status.code = 503;
        kube::Error::Api(status.boxed())
    };
    let mut attempts = 0;
    let start = tokio::time::Instant::now();
    let result: Result<(), _> = retried(|| {
        attempts += 1;
        async move { Err(unavailable()) }
    })
    .await;
    assert!(result.is_err());
    assert_eq!(attempts, 5);
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    let result: Result<(), _> = retried(std::future::pending).await;
    assert!(result.is_err());
    assert!(start.elapsed() < Duration::from_secs(17));
    let denied = || async {
        let mut status = kube::core::Status::failure("no", "Forbidden");
        status.code = 403;
        Err::<(), _>(kube::Error::Api(status.boxed()))
    };
    let start = tokio::time::Instant::now();
    assert!(retried(denied).await.is_err());
    assert!(start.elapsed().is_zero());
}
