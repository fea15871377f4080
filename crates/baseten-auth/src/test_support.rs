//! A clock that takes no time, and helpers for talking to a scripted server.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::Value;

use crate::env::Env;
use crate::event::Observer;
use crate::http::Http;
use crate::remote::{ManagementUrl, Remote};
use crate::wait::{Cancel, Clock, Wait};

pub(crate) use baseten_testing::server;

/// Jumps ahead instead of sleeping, and remembers each jump.
#[derive(Debug)]
pub(crate) struct FakeClock {
    start: Instant,
    sleeps: Mutex<Vec<Duration>>,
}

impl FakeClock {
    pub(crate) const START: &str = "2026-11-01T12:00:00Z";

    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { start: Instant::now(), sleeps: Mutex::new(Vec::new()) })
    }

    /// Waits by this clock.
    pub(crate) fn wait(self: &Arc<Self>) -> Wait {
        Wait::new(Arc::clone(self) as Arc<dyn Clock>, Cancel::default())
    }

    /// The sleeps so far, in seconds.
    pub(crate) fn sleeps(&self) -> Vec<f64> {
        self.sleeps.lock().unwrap().iter().map(Duration::as_secs_f64).collect()
    }

    fn elapsed(&self) -> Duration {
        self.sleeps.lock().unwrap().iter().sum()
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        let start: Timestamp = Self::START.parse().unwrap();
        start + SignedDuration::try_from(self.elapsed()).unwrap()
    }

    fn monotonic(&self) -> Instant {
        self.start + self.elapsed()
    }

    fn sleep(&self, duration: Duration, _: &Cancel) {
        self.sleeps.lock().unwrap().push(duration);
    }
}

/// A client without any environment.
pub(crate) fn http() -> Http {
    Http::new(Env::default(), "baseten-cli/0 (test)".to_owned(), Observer::default())
}

/// The management URL that leads to a scripted server.
pub(crate) fn management(server: &server::Server) -> ManagementUrl {
    let url = server.url("localhost", "");
    let env = [("BASETEN_MANAGEMENT_API_URL_OVERRIDE", url)].into_iter().collect();
    Remote::default().management_url(&env).unwrap()
}

/// The values of one form field in all requests.
pub(crate) fn field(requests: &[String], name: &str) -> Vec<String> {
    let value = |request: &String| {
        let body = request.split("\r\n\r\n").nth(1).unwrap_or_default();
        let mut fields = url::form_urlencoded::parse(body.as_bytes());
        fields.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    requests.iter().filter_map(value).collect()
}

/// Any JSON value, a few levels deep, with texts that have to be escaped.
pub(crate) fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..3).prop_map(Value::from_iter),
        ]
    })
}
