//! Many processes change one store, and no change is lost.

#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use baseten_sandbox::Sandbox;
use baseten_testing::home::Home;
use baseten_testing::outcome::Running;
use baseten_testing::sandbox::sandbox;
use baseten_testing::stored::{current, names, profile, store, with_key};
use serde_json::{Value, json};

fn start_login(home: &Home, sandbox: &Sandbox, profile: &str) -> Running {
    let arguments = ["auth", "login", "--with-api-key", "--insecure-storage", "--profile", profile];
    Running::with_input(&mut home.command(&arguments), sandbox.api_key("ada").unwrap())
}

fn end_all(running: Vec<Running>) {
    for running in running {
        running.end().succeeded();
    }
}

/// Stops the reader, even if the test fails.
struct StopReading<'a>(&'a AtomicBool);

impl Drop for StopReading<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Reads the store again and again while something happens, and checks that it is never broken.
fn watched<T>(home: &Home, happens: impl FnOnce() -> T) -> (T, usize) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !done.load(Ordering::Relaxed) {
                if home.auth_json().exists() {
                    let text = home.store();
                    let store: Value = serde_json::from_str(&text)
                        .unwrap_or_else(|error| panic!("{error}: {text:?}"));
                    assert_eq!(store["version"], 1);
                    reads += 1;
                }
                std::thread::yield_now();
            }
            reads
        });
        let stop = StopReading(&done);
        let outcome = happens();
        drop(stop);
        (outcome, reader.join().unwrap())
    })
}

#[test]
fn forty_logins_at_once_make_forty_profiles() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let expected: BTreeSet<String> = (0..40).map(|number| format!("bot-{number}")).collect();
    let ((), reads) = watched(&home, || {
        end_all(expected.iter().map(|name| start_login(&home, &sandbox, name)).collect());
    });
    assert!(reads > 40, "{reads}");
    assert_eq!(BTreeSet::from_iter(names(&home)), expected);
    for name in &expected {
        assert_eq!(profile(&home, name)["api_key"], sandbox.api_key("ada").unwrap());
    }
    assert!(expected.contains(current(&home).as_str().unwrap()));
}

#[test]
fn logins_switches_and_logouts_at_once_undo_nothing_of_each_other() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let mut old = with_key(&sandbox.remote_url(), "k");
    old["kept"] = json!([1]);
    let before: Vec<String> = (0..16).map(|number| format!("old-{number}")).collect();
    home.write_store(&store(before.iter().map(|name| (name.as_str(), old.clone()))));
    let ((), _) = watched(&home, || {
        let mut running = Vec::new();
        for (number, name) in before.iter().enumerate() {
            if number % 2 == 0 {
                running.push(home.start(&["auth", "logout", "--profile", name]));
            } else {
                running.push(home.start(&["auth", "switch", "--profile", name]));
            }
            running.push(start_login(&home, &sandbox, &format!("new-{number}")));
        }
        end_all(running);
    });
    let odd = before.iter().skip(1).step_by(2).cloned();
    let expected: BTreeSet<String> =
        (0..16).map(|number| format!("new-{number}")).chain(odd).collect();
    assert_eq!(BTreeSet::from_iter(names(&home)), expected);
    assert_eq!(profile(&home, "old-1"), old);
    assert!(expected.contains(current(&home).as_str().unwrap()));
}

mod slow_tests {
    use super::*;

    #[test]
    fn a_store_that_stays_locked_is_waited_for_ten_seconds() {
        let sandbox = sandbox();
        let home = Home::at(&sandbox);
        let before = store([("held", with_key(&sandbox.remote_url(), "k"))]);
        home.write_store(&before);
        let lock = File::create(home.auth_json().with_file_name("auth.json.lock")).unwrap();
        lock.lock().unwrap();
        let start = Instant::now();
        let running = [
            home.start(&["auth", "switch", "--profile", "held"]),
            home.start(&["auth", "logout", "--profile", "held"]),
            start_login(&home, &sandbox, "other"),
        ];
        for running in running {
            let outcome = running.end();
            assert_eq!(outcome.status, 1);
            baseten_testing::assert_outcome!(home, outcome);
        }
        let waited = start.elapsed().as_secs();
        assert!((9..20).contains(&waited), "{waited} s");
        assert_eq!(home.store(), before);
        assert_eq!(sandbox.requests().len(), 0);
        // Reading needs no lock.
        assert_eq!(home.run(&["auth", "list"]).status, 0);
    }
}
