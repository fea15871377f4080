use super::*;
use crate::test_support::server::{Server, answer, http as written, respond};
use crate::test_support::{FakeClock, http};

fn engine(address: &str, clock: &std::sync::Arc<FakeClock>) -> Engine {
    let env = [("BAO_ADDR", address), ("BAO_TOKEN", "t")].into_iter().collect();
    Engine::new(&"secret/fleet".parse().unwrap(), &env, &http(), clock.wait()).unwrap()
}

fn get(engine: &Engine) -> Result<Option<Secret>, EngineError> {
    engine.get(&ProfileName::new("p").unwrap(), "https://app.baseten.co")
}

#[test]
fn the_time_between_two_calls_does_not_count() {
    let found =
        r#"{"data": {"data": {"credential": "k", "nonce": "n"}, "metadata": {"version": 1}}}"#;
    let server = Server::start([answer(200, "", found), answer(200, "", found)]);
    let clock = FakeClock::new();
    let engine = engine(&server.url("127.0.0.1", ""), &clock);
    assert_eq!(get(&engine).unwrap(), Some("k".into()));
    clock.wait().sleep(COMMAND_LIMIT).unwrap();
    assert_eq!(get(&engine).unwrap(), Some("k".into()));
}

#[test]
fn the_calls_of_one_command_share_their_time() {
    let (server, clock) = (Server::start([]), FakeClock::new());
    // Wait until the listener is gone.
    while std::net::TcpStream::connect(server.address).is_ok() {}
    let engine = engine(&server.url("127.0.0.1", ""), &clock);
    let slept = || clock.sleeps().iter().sum::<f64>();
    for calls in 1..=3 {
        assert!(matches!(get(&engine).unwrap_err(), EngineError::Away { .. }));
        assert!((slept() - 30.0 * f64::from(calls)).abs() < 1.0, "{calls}: {}", slept());
    }
    let all = slept();
    assert!(get(&engine).is_err());
    assert!((slept() - all).abs() < 1.0);
}

#[test]
fn a_slow_engine_is_not_taken_for_a_host_that_refreshes() {
    let clock = FakeClock::new();
    let found = r#"{"data": {"data": {"nonce": "n",
        "credential": "{\"access_token\": \"a\", \"refresh_token\": \"r\", \"expiry\": \"2020-01-01T00:00:00Z\"}"
        }, "metadata": {"version": 1}}}"#;
    // When the answer comes, too little is left of each claim.
    let slow = |version: u64| {
        let wait = clock.wait();
        respond(move |_| {
            wait.sleep(Duration::from_secs(6)).unwrap();
            written(200, "", &format!(r#"{{"data": {{"version": {version}}}}}"#))
        })
    };
    let server = Server::start([answer(200, "", found)].into_iter().chain((2..=6).map(slow)));
    let engine = engine(&server.url("127.0.0.1", ""), &clock);
    let (name, remote) = (ProfileName::new("p").unwrap(), "https://app.baseten.co");
    let error = engine.claim(&name, remote, |_| true).unwrap_err();
    assert!(error.to_string().contains("too slow"), "{error}");
}
