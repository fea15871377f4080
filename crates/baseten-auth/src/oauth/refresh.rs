//! The request that refreshes a token (RFC 6749 §6).

use std::time::Duration;

use jiff::Timestamp;

use super::answer::ApiError;
use super::token::{CLIENT_ID, TOKEN_PATH, Tokens, parse_tokens};
use crate::http::{Http, Request};
use crate::remote::ManagementUrl;
use crate::secret::Secret;
use crate::wait::Wait;

/// Exchanges a refresh token for new tokens (RFC 6749 §6). It cannot be used again afterwards.
///
/// The request is sent once. Only if it surely did not arrive is it sent again, at most twice and
/// within `limit` in all. It is never sent if its answer could come after `answered_by`.
pub(crate) fn refresh_request(
    http: &Http,
    wait: &Wait,
    management: &ManagementUrl,
    refresh_token: &Secret,
    limit: Duration,
    answered_by: Option<Timestamp>,
) -> Result<Tokens, ApiError> {
    let deadline = wait.deadline(limit);
    let mut pauses = [Duration::from_millis(250), Duration::from_secs(1)].into_iter();
    loop {
        let request = Request::post(management.endpoint(TOKEN_PATH))
            .field("grant_type", "refresh_token")
            .field("refresh_token", refresh_token.expose())
            .field("client_id", CLIENT_ID)
            .within(wait.remaining(deadline).unwrap_or_default())
            .answered_by(answered_by, wait);
        let error = match http.send(&request) {
            Ok(response) => return parse_tokens(&response, &[refresh_token]),
            Err(error) => error,
        };
        let again = error.surely_not_sent() && error.is_transient();
        let left = wait.remaining(deadline).unwrap_or_default();
        match pauses.next().filter(|pause| again && left > *pause) {
            Some(pause) if wait.sleep(pause).is_ok() => {}
            _ => return Err(error.of_all(limit).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::http::HttpError;
    use crate::test_support::server::{Act, Server, answer};
    use crate::test_support::{FakeClock, field, http, management};

    const LIMIT: Duration = Duration::from_secs(9);

    fn refresh(server: &Server, clock: &Arc<FakeClock>) -> Result<Tokens, ApiError> {
        refresh_by(None, server, clock)
    }

    fn refresh_by(
        moment: Option<Timestamp>,
        server: &Server,
        clock: &Arc<FakeClock>,
    ) -> Result<Tokens, ApiError> {
        let (token, wait) = (Secret::from("c a&n=ary"), clock.wait());
        refresh_request(&http(), &wait, &management(server), &token, LIMIT, moment)
    }

    #[test]
    fn a_refresh_is_one_request() {
        let tokens = r#"{"access_token": "new"}"#;
        let server = Server::start([answer(200, "", tokens), answer(200, "", tokens)]);
        let clock = FakeClock::new();
        assert_eq!(refresh(&server, &clock).unwrap().access_token.expose(), "new");
        let requests = server.requests();
        assert_eq!(requests.len(), 1);
        assert!(requests[0].starts_with("POST /v1/users/auth/device/token HTTP/1.1\r\n"));
        assert!(requests[0].ends_with(
            "\r\n\r\ngrant_type=refresh_token&refresh_token=c+a%26n%3Dary&client_id=baseten-cli"
        ));
    }

    #[test]
    fn a_refresh_that_may_have_arrived_is_not_sent_again() {
        for act in [
            Act::Close,
            Act::Reset,
            answer(503, "", ""),
            answer(429, "Retry-After: 0\r\n", ""),
            answer(200, "", "<html>"),
        ] {
            let server = Server::start([act, answer(200, "", r#"{"access_token": "new"}"#)]);
            let clock = FakeClock::new();
            let error = refresh(&server, &clock).unwrap_err();
            assert!(!format!("{error:?}").contains("ary"));
            assert!(server.requests().len() <= 1);
            assert_eq!(clock.sleeps(), [0.0; 0]);
        }
    }

    #[test]
    fn a_refresh_that_surely_did_not_arrive_is_sent_three_times() {
        let server = Server::start([]);
        let clock = FakeClock::new();
        // Wait until the listener is gone.
        while std::net::TcpStream::connect(server.address).is_ok() {}
        let error = refresh(&server, &clock).unwrap_err();
        assert!(matches!(error, ApiError::Http(error) if error.surely_not_sent()));
        assert_eq!(clock.sleeps(), [0.25, 1.0]);
    }

    #[test]
    fn a_refresh_whose_answer_could_come_too_late_is_not_sent() {
        let tokens = || answer(200, "", r#"{"access_token": "new"}"#);
        let server = Server::start([tokens(), tokens(), tokens()]);
        let clock = FakeClock::new();
        let within = |seconds| Some(clock.wait().now() + Duration::from_secs(seconds));
        for moment in [within(7), Some(Timestamp::MIN)] {
            let error = refresh_by(moment, &server, &clock).unwrap_err();
            let ApiError::Http(error @ HttpError::TooLate { .. }) = error else {
                panic!("{error}")
            };
            assert!(error.surely_not_sent());
        }
        refresh_by(within(9), &server, &clock).unwrap();
        // Two connections were closed before anything was sent.
        assert_eq!(server.requests().iter().filter(|request| !request.is_empty()).count(), 1);
    }

    #[test]
    fn a_description_that_repeats_the_token_is_not_shown() {
        let body = r#"{"error": "invalid_grant", "error_description": "c a&n=ary was used"}"#;
        let server = Server::start([answer(400, "", body)]);
        let error = refresh(&server, &FakeClock::new()).unwrap_err();
        assert!(!error.to_string().contains("n=ary"), "{error}");
        assert_eq!(field(&server.requests(), "refresh_token"), ["c a&n=ary"]);
    }
}
