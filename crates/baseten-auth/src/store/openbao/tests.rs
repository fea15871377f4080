use super::*;
use crate::test_support::server::{Server, answer};
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
