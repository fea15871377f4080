//! The HTTP client against servers and proxies that misbehave.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests, too")]

mod plain;
mod proxy;
mod tls;

use std::sync::{Arc, Mutex};

use baseten_auth::internal::{Env, Http};
use baseten_auth::{Event, Observer};

/// A client with these variables and no others.
fn http(variables: &[(&str, &str)]) -> Http {
    let env = variables.iter().copied().collect::<Env>();
    Http::new(env, "baseten-cli/1.2.3 (test)".to_owned(), Observer::default())
}

/// A client that notes every event.
fn observed(variables: &[(&str, &str)]) -> (Http, Arc<Mutex<Vec<String>>>) {
    let env = variables.iter().copied().collect::<Env>();
    let events = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&events);
    let observer = Observer::new(move |event: &Event<'_>| {
        if let Event::Request { method, url, status, .. } = event {
            kept.lock().unwrap().push(format!("{method} {url} {status:?}"));
        }
    });
    (Http::new(env, "baseten-cli/1.2.3 (test)".to_owned(), observer), events)
}
