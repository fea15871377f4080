//! A workload's session: its identity token, exchanged for an access token that is kept in memory.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::demand::Demand;
use crate::context::Context;
use crate::env::TRUST_RULE;
use crate::error::Error;
use crate::event::Event;
use crate::identity::{Claims, IdentitySource, TrustRule, WorkloadError};
use crate::oauth::answer::ApiError;
use crate::oauth::exchange::exchange;
use crate::profile::OAuthCredential;
use crate::remote::Remote;

/// A workload: its identity, and the rule by which the service trusts it.
#[derive(Debug)]
pub struct Workload {
    rule: TrustRule,
    remote: Remote,
    source: IdentitySource,
    /// Locked during an exchange, so that all threads share one.
    last: Mutex<Last>,
    /// How many exchanges have ended.
    ended: AtomicU64,
}

/// The result of the last exchange.
#[derive(Debug, Default)]
struct Last {
    tokens: Option<OAuthCredential>,
    claims: Option<Claims>,
    /// The number of the last exchange that failed, and its error.
    failure: Option<(u64, Error)>,
}

/// The trust rule of the environment; `None` if there is none.
pub(crate) fn trust_rule_of_environment(context: &Context) -> Result<Option<TrustRule>, Error> {
    let text = context.env().text(TRUST_RULE)?;
    Ok(text.map(str::parse).transpose().map_err(WorkloadError::TrustRule)?)
}

impl Workload {
    /// The workload of this environment. Runs no command and sends no request.
    pub(crate) fn new(context: &Context, rule: TrustRule, remote: Remote) -> Result<Self, Error> {
        let source = IdentitySource::from_env(context.env())?;
        let (last, ended) = (Mutex::default(), AtomicU64::default());
        Ok(Self { rule, remote, source, last, ended })
    }

    /// The rule.
    pub fn rule(&self) -> &TrustRule {
        &self.rule
    }

    /// The remote that the rule belongs to.
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// Where the identity token comes from.
    pub fn source(&self) -> &IdentitySource {
        &self.source
    }

    /// The claims of the identity token: of the one exchanged last, or else of the one in a
    /// variable or a file. `None` if that would need a command or a request.
    pub(crate) fn claims(&self, context: &Context) -> Result<Option<Claims>, Error> {
        let last = self.last().claims.clone();
        last.map_or_else(|| self.source.claims_at_hand(context), |claims| Ok(Some(claims)))
    }

    /// An access token that meets a demand.
    ///
    /// A new token that was refused is not replaced: a server that refuses everything must not
    /// cause exchanges in a loop.
    pub(crate) fn authorize(
        &self,
        context: &Context,
        demand: &Demand,
    ) -> Result<OAuthCredential, Error> {
        self.obtain(context, demand, |tokens| tokens.is_just_issued(context.wait().now()))
    }

    /// The same, but also replaces a new token that was refused.
    pub(crate) fn replace(
        &self,
        context: &Context,
        demand: &Demand,
    ) -> Result<OAuthCredential, Error> {
        self.obtain(context, demand, |_| false)
    }

    /// Threads that have waited for another thread's exchange share its result.
    fn obtain(
        &self,
        context: &Context,
        demand: &Demand,
        is_final: impl FnOnce(&OAuthCredential) -> bool,
    ) -> Result<OAuthCredential, Error> {
        let seen = self.ended.load(Ordering::SeqCst);
        let mut last = self.last();
        if let Some(tokens) = last.tokens.clone() {
            let now = context.wait().now();
            if demand.is_met_by(&tokens, now) {
                demand.report_if_short(context, None, tokens.time_left(now));
                return Ok(tokens);
            }
            if demand.refuses(&tokens) && is_final(&tokens) {
                return Err(WorkloadError::NewTokenRefused { rule: self.rule.clone() }.into());
            }
        }
        let shared = last.failure.as_ref().filter(|(exchange, _)| *exchange > seen);
        let error = match shared.cloned() {
            Some((_, error)) => error,
            None => match self.exchange(context, demand, &mut last) {
                Ok(tokens) => return Ok(tokens),
                Err(error) => error,
            },
        };
        let now = context.wait().now();
        match &last.tokens {
            // The old token will do: it has not ended.
            Some(tokens) if !error.is_canceled() && demand.settles_for(tokens, now) => {
                let (profile, reason) = (None, error.reason());
                context.observer().notify(&Event::RefreshFailed { profile, reason });
                Ok(tokens.clone())
            }
            _ => Err(error),
        }
    }

    /// Exchanges an identity token, and remembers the result.
    fn exchange(
        &self,
        context: &Context,
        demand: &Demand,
        last: &mut Last,
    ) -> Result<OAuthCredential, Error> {
        let exchanged = self.exchange_now(context, demand, last);
        let number = self.ended.fetch_add(1, Ordering::SeqCst) + 1;
        match &exchanged {
            Ok(tokens) => last.tokens = Some(tokens.clone()),
            Err(error) => last.failure = Some((number, error.clone())),
        }
        exchanged
    }

    fn exchange_now(
        &self,
        context: &Context,
        demand: &Demand,
        last: &mut Last,
    ) -> Result<OAuthCredential, Error> {
        let management = self.remote.management_url(context.env())?;
        let identity = self.source.token(context)?;
        let claims = last.claims.insert(identity.claims);
        let (source, said) = (self.source.to_string(), claims.to_string());
        context.observer().notify(&Event::IdentityToken { source: &source, claims: &said });
        let lifetime = demand.lifetime();
        let exchanged = exchange(context, &management, &self.rule, &identity.secret, lifetime);
        let tokens = exchanged.map_err(|source| {
            let (rule, origin, claims) = (self.rule.clone(), self.source.clone(), claims.clone());
            let is_early = claims.not_before.is_some_and(|start| start > context.wait().now());
            WorkloadError::Exchange { rule, origin, claims, is_early, source }
        })?;
        // The token is new: its whole lifetime is left.
        demand.report_if_short(context, None, tokens.lifetime());
        Ok(tokens)
    }

    /// The error of a request with an access token.
    pub(crate) fn refused(&self, source: ApiError) -> Error {
        WorkloadError::Api { rule: self.rule.clone(), source }.into()
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::sync::{Arc, Barrier};
    use std::time::Duration;

    use baseten_testing::identity::{claims, jwt};

    use super::*;
    use crate::error::ErrorKind;
    use crate::event::Observer;
    use crate::secret::Secret;
    use crate::session::Session;
    use crate::test_support::FakeClock;
    use crate::test_support::server::{Act, Server, answer, http, ok, respond};
    use crate::wait::Wait;

    fn exchanged(token: &str, seconds: u32) -> Act {
        ok(&format!(r#"{{"access_token": "{token}", "expires_in": {seconds}}}"#))
    }

    /// A session with a service that plays this script, and the warnings of the session.
    fn session(
        clock: &Arc<FakeClock>,
        script: impl IntoIterator<Item = Act>,
    ) -> (Server, Session, Arc<Mutex<Vec<String>>>) {
        let server = Server::start(script);
        // It has not expired, whatever the clock says.
        let mut claims = claims();
        claims["exp"] = 4_102_444_800_u64.into();
        let variables = [
            ("BASETEN_TRUST_RULE", "ci".to_owned()),
            ("BASETEN_IDENTITY_TOKEN", jwt(&claims, "s")),
            ("BASETEN_MANAGEMENT_API_URL_OVERRIDE", server.url("localhost", "")),
        ];
        let warnings = Arc::<Mutex<Vec<String>>>::default();
        let heard = Arc::clone(&warnings);
        let observer = Observer::new(move |event| {
            if let Event::RefreshFailed { .. } | Event::ShortLived { .. } = event {
                heard.lock().unwrap().push(format!("{event:?}"));
            }
        });
        let context = Context::new(variables.into_iter().collect());
        let context = context.with_wait(clock.wait()).with_observer(observer);
        (server, Session::resolve(&context, None).unwrap(), warnings)
    }

    /// What each of many threads gets; all ask before the service has answered the first one.
    fn all_at_once(
        session: &Session,
        answer_now: &mpsc::Sender<()>,
    ) -> Vec<Result<String, ErrorKind>> {
        const THREADS: usize = 16;
        let together = Barrier::new(THREADS + 1);
        let ask = || {
            together.wait();
            let asked = session.authorization();
            asked.map(|it| it.token().expose().to_owned()).map_err(|error| error.kind())
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(ask)).collect();
            together.wait();
            Wait::default().sleep(Duration::from_secs(1)).unwrap();
            answer_now.send(()).unwrap();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    fn delayed(may_answer: mpsc::Receiver<()>, status: u16, body: &'static str) -> Act {
        respond(move |_| {
            may_answer.recv().unwrap();
            http(status, "", body)
        })
    }

    #[test]
    fn a_token_that_ends_is_exchanged_again_once_for_all_threads() {
        let clock = FakeClock::new();
        let ((first, may_first), (second, may_second)) = (mpsc::channel(), mpsc::channel());
        let (server, session, _) = session(
            &clock,
            [
                delayed(may_first, 200, r#"{"access_token": "one", "expires_in": 3600}"#),
                delayed(may_second, 200, r#"{"access_token": "two", "expires_in": 3600}"#),
            ],
        );
        let all = |token: &str| vec![Ok(token.to_owned()); 16];
        assert_eq!(all_at_once(&session, &first), all("one"));
        clock.wait().sleep(Duration::from_secs(3500)).unwrap();
        assert_eq!(session.authorization().unwrap().token().expose(), "one");
        clock.wait().sleep(Duration::from_secs(45)).unwrap();
        assert_eq!(all_at_once(&session, &second), all("two"));
        assert_eq!(server.requests().len(), 2);
    }

    #[test]
    fn those_who_waited_for_an_exchange_that_fails_fail_with_it() {
        let clock = FakeClock::new();
        let (refuse, may_refuse) = mpsc::channel();
        let refused = delayed(may_refuse, 400, r#"{"error": "invalid_grant"}"#);
        let (server, session, _) = session(&clock, [refused, exchanged("one", 3600)]);
        assert_eq!(all_at_once(&session, &refuse), vec![Err(ErrorKind::NotLoggedIn); 16]);
        assert_eq!(server.requests().len(), 1);
        // A later call tries again.
        assert_eq!(session.authorization().unwrap().token().expose(), "one");
    }

    #[test]
    fn a_token_that_cannot_be_replaced_in_time_is_used_to_its_end() {
        let clock = FakeClock::new();
        let down = || answer(503, "", "");
        let script = [exchanged("one", 600)].into_iter().chain((0..8).map(|_| down()));
        let (_server, session, warnings) = session(&clock, script);
        let demand = Demand { min_ttl: Duration::from_mins(10), refused: Vec::new() };
        let ask = || {
            let asked = session.authorization_for(&demand);
            asked.map(|it| it.token().expose().to_owned()).map_err(|error| error.kind())
        };
        let one = Ok("one".to_owned());
        assert_eq!(ask(), one);
        assert!(warnings.lock().unwrap().is_empty());
        clock.wait().sleep(Duration::from_secs(400)).unwrap();
        assert_eq!(ask(), one);
        let warned = warnings.lock().unwrap().join(" ");
        assert!(warned.contains("RefreshFailed") && warned.contains("503"), "{warned}");
        clock.wait().sleep(Duration::from_secs(150)).unwrap();
        assert_eq!(ask(), Err(ErrorKind::Unavailable));
    }

    #[test]
    fn a_new_token_that_is_refused_is_not_replaced_in_a_loop() {
        let clock = FakeClock::new();
        let script = [exchanged("one", 3600), exchanged("two", 3600)];
        let (server, session, _) = session(&clock, script);
        session.authorization().unwrap();
        let refused =
            |token: &str| Demand { refused: vec![Secret::from(token)], ..Demand::default() };
        let ask = |token: &str| {
            let asked = session.authorization_for(&refused(token));
            asked.map(|it| it.token().expose().to_owned()).map_err(|error| error.kind())
        };
        assert_eq!(ask("zero"), Ok("one".to_owned()));
        assert_eq!(ask("one"), Err(ErrorKind::NotLoggedIn));
        clock.wait().sleep(Duration::from_secs(61)).unwrap();
        assert_eq!(ask("one"), Ok("two".to_owned()));
        assert_eq!(server.requests().len(), 2);
    }
}
