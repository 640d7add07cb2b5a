//! Tokens of service accounts, for `--use-service-account-credentials`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

/// Where the accounts are.
const NAMESPACE: &str = "kube-system";
/// The life that is asked for.
const LIFE: Duration = Duration::from_secs(3600);
/// A shorter life is taken for a clock that is wrong.
const SHORTEST_LIFE: Duration = Duration::from_secs(600);
/// The part of its life after which a token is replaced.
const RENEW_AT: f64 = 0.8;
/// Attempts to get a token, the pause after the first, and what it grows by.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(500);
const GROWTH: u32 = 2;
/// How long no token is asked for after the server did not allow it.
const DENIED_FOR: Duration = Duration::from_secs(300);

/// The user name of the account `name`.
pub(super) fn user(name: &str) -> String {
    format!("system:serviceaccount:{NAMESPACE}:{name}")
}

/// The tokens of a process, one source for each account.
#[derive(Default)]
pub(super) struct Accounts(Mutex<HashMap<String, Arc<Tokens>>>);

impl Accounts {
    /// The source for an account; `client` is the identity that may ask for tokens.
    pub(super) fn get(&self, name: &str, client: Client) -> Arc<Tokens> {
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let tokens = || Arc::new(Tokens { name: name.to_owned(), client, current: Mutex::default() });
        accounts.entry(name.to_owned()).or_insert_with(tokens).clone()
    }
}

/// The token of one account, renewed when 80 % of its life are over.
pub(super) struct Tokens {
    name: String,
    client: Client,
    current: Mutex<Current>,
}

#[derive(Default)]
struct Current {
    /// Filled by the first that needs it, while others wait.
    cell: Arc<OnceCell<Found>>,
    /// What was there before, in case there is no new one.
    previous: Option<Token>,
}

/// What came of asking for a token.
#[derive(Clone)]
enum Found {
    Token(Token),
    /// The main identity may not ask.
    Denied {
        since: Instant,
    },
}

#[derive(Clone)]
struct Token {
    text: Arc<str>,
    renew: Instant,
    end: Instant,
}

impl Found {
    fn is_due(&self) -> bool {
        match self {
            Found::Token(token) => token.renew <= Instant::now(),
            Found::Denied { since } => since.elapsed() >= DENIED_FOR,
        }
    }
}

impl Tokens {
    /// The token; none where the main identity may not ask for one.
    ///
    /// # Errors
    /// When there is none after four attempts, and no older one that still lives.
    pub(super) async fn token(&self) -> Result<Option<Arc<str>>, kube::Error> {
        let (cell, previous) = self.cell();
        match cell.get_or_try_init(|| self.request()).await {
            Ok(Found::Token(token)) => Ok(Some(token.text.clone())),
            Ok(Found::Denied { .. }) => Ok(None),
            Err(error) => match previous.filter(|token| token.end > Instant::now()) {
                Some(token) => {
                    warn!(account = self.name, %error, "cannot renew the token of a service account, the old one still lives");
                    Ok(Some(token.text))
                }
                None => Err(error),
            },
        }
    }

    /// Forgets a token that the server refused.
    pub(super) fn refused(&self, text: &str) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(current.cell.get(), Some(Found::Token(token)) if *token.text == *text) {
            *current = Current::default();
        }
        current.previous = current.previous.take().filter(|token| *token.text != *text);
    }

    fn cell(&self) -> (Arc<OnceCell<Found>>, Option<Token>) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = current.cell.get().filter(|found| found.is_due()).cloned() {
            let previous = match found {
                Found::Token(token) => Some(token),
                Found::Denied { .. } => None,
            };
            *current = Current { cell: Arc::default(), previous };
        }
        (current.cell.clone(), current.previous.clone())
    }

    async fn request(&self) -> Result<Found, kube::Error> {
        let mut pause = PAUSE;
        for _ in 1..ATTEMPTS {
            match self.request_once().await {
                Err(error) if !is_forbidden(&error) => {
                    debug!(account = self.name, %error, "no token of a service account yet");
                }
                result => return self.found(result),
            }
            sleep(pause).await;
            pause *= GROWTH;
        }
        self.found(self.request_once().await)
    }

    fn found(&self, result: Result<Token, kube::Error>) -> Result<Found, kube::Error> {
        match result {
            Ok(token) => Ok(Found::Token(token)),
            Err(error) if is_forbidden(&error) => {
                warn!(
                    account = self.name, %error,
                    "--use-service-account-credentials: no token for this controller, it uses the main identity \
                     (create serviceaccounts and serviceaccounts/token in {NAMESPACE})"
                );
                Ok(Found::Denied { since: Instant::now() })
            }
            Err(error) => Err(error),
        }
    }

    /// Asks for a token; makes the account, and its namespace, where they are missing.
    async fn request_once(&self) -> Result<Token, kube::Error> {
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), NAMESPACE);
        let seconds = i64::try_from(LIFE.as_secs()).ok();
        let spec = TokenRequestSpec { expiration_seconds: seconds, ..TokenRequestSpec::default() };
        let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        let mut answer = api.create_token_request(&self.name, &PostParams::default(), &request).await;
        if matches!(&answer, Err(error) if is_code(error, 404)) {
            self.create().await?;
            answer = api.create_token_request(&self.name, &PostParams::default(), &request).await;
        }
        let status = answer?.status.unwrap_or_default();
        let left = status
            .expiration_timestamp
            .map_or(LIFE, |end| Duration::try_from(end.0.duration_since(Timestamp::now())).unwrap_or_default());
        let (now, life) = (Instant::now(), left.max(SHORTEST_LIFE));
        let text = status.token.unwrap_or_default().into();
        Ok(Token { text, renew: now + life.mul_f64(RENEW_AT), end: now + life })
    }

    async fn create(&self) -> Result<(), kube::Error> {
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), NAMESPACE);
        let named = |name: &str| ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        let account = ServiceAccount { metadata: named(&self.name), ..ServiceAccount::default() };
        let params = PostParams::default();
        let mut created = api.create(&params, &account).await;
        if matches!(&created, Err(error) if is_code(error, 404)) {
            let namespace = Namespace { metadata: named(NAMESPACE), ..Namespace::default() };
            let made = Api::all(self.client.clone()).create(&params, &namespace).await;
            made.map(drop).or_else(|error| if is_code(&error, 409) { Ok(()) } else { Err(error) })?;
            created = api.create(&params, &account).await;
        }
        match created {
            Ok(_) => {
                info!(account = self.name, namespace = NAMESPACE, "service account created");
                Ok(())
            }
            // Somebody else was quicker.
            Err(error) if is_code(&error, 409) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn is_code(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

fn is_forbidden(error: &kube::Error) -> bool {
    is_code(error, 403)
}
