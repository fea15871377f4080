//! The system keyring: against a real gnome-keyring in a private session, and against a fake service
//! for prompts that a real one shows only on a display.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test may")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use baseten_auth::internal::{
    Budget, Cancel, Context, Credential, Entry, Env, Keyring, Login, Place, PlaceError,
    ProfileName, Remote, StoragePolicy, Wait, store_login,
};
use baseten_auth::{Event, Observer, Secret, User};
use baseten_testing::fake_service::{FakeService, PromptEnd, Script};
use baseten_testing::keyring::KeyringSession;

const REMOTE: &str = "https://app.baseten.co";
const NAME: &str = "alice@example.com";
const LOGIN: &str = "/org/freedesktop/secrets/collection/login";

#[test]
fn what_is_set_is_found_by_others() {
    let session = KeyringSession::start();
    let place = place(&session);
    place.set(&name(NAME), REMOTE, &"first é".into()).unwrap();
    assert_eq!(session.lookup(NAME).as_deref(), Some("first é"));
    assert_eq!(place.get(&name(NAME), REMOTE).unwrap(), Some(Entry::from("first é")));
    assert_eq!(place.label(), "system keyring");
}

#[test]
fn an_item_has_exactly_two_attributes_and_the_label_of_other_programs() {
    let session = KeyringSession::start();
    place(&session).set(&name(NAME), REMOTE, &"secret".into()).unwrap();
    let items = items(&session);
    assert_eq!(items.len(), 1);
    let properties = properties(&session, &items[0]);
    assert!(
        properties.contains("\"Password for 'alice@example.com' on 'baseten-profile'\""),
        "{properties}"
    );
    let attributes = properties.split("\"Attributes\"").nth(1).unwrap();
    let attributes = attributes.split("\"Label\"").next().unwrap();
    let texts: Vec<&str> = attributes.split('"').skip(1).step_by(2).collect();
    let mut pairs: Vec<_> = texts.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
    // gnome-keyring adds this itself when it reads its file again, about a second after writing it.
    pairs.retain(|pair| *pair != ("xdg:schema", "org.freedesktop.Secret.Generic"));
    pairs.sort_unstable();
    assert_eq!(pairs, [("service", "baseten-profile"), ("username", NAME)]);
}

#[test]
fn items_with_more_attributes_are_found_and_updated_in_place() {
    let session = KeyringSession::start();
    session.store(NAME, "theirs", &["application", "other"]);
    let before = items(&session);
    let place = place(&session);
    assert_eq!(place.get(&name(NAME), REMOTE).unwrap(), Some(Entry::from("theirs")));
    place.set(&name(NAME), REMOTE, &"ours".into()).unwrap();
    assert_eq!(items(&session), before);
    assert_eq!(session.lookup(NAME).as_deref(), Some("ours"));
    assert!(properties(&session, &before[0]).contains("\"application\""));
}

#[test]
fn an_update_leaves_one_item() {
    let session = KeyringSession::start();
    let place = place(&session);
    for secret in ["first", "second", "third"] {
        place.set(&name(NAME), REMOTE, &secret.into()).unwrap();
        assert_eq!(items(&session).len(), 1);
        assert_eq!(session.lookup(NAME).as_deref(), Some(secret));
    }
    place.set(&name("bob"), REMOTE, &"bob's".into()).unwrap();
    assert_eq!(items(&session).len(), 2);
    assert_eq!(session.lookup(NAME).as_deref(), Some("third"));
}

#[test]
fn two_items_of_one_profile_become_one() {
    let session = KeyringSession::start();
    session.store(NAME, "in memory", &["--collection=session"]);
    session.store(NAME, "one", &["extra", "1"]);
    session.store(NAME, "two", &["extra", "2"]);
    session.store("bob", "bob's", &[]);
    let place = place(&session);
    place.set(&name(NAME), REMOTE, &"new".into()).unwrap();
    let found = session.secret_tool(&["search", "--all", "username", NAME], "");
    let found = String::from_utf8(found.stdout).unwrap();
    assert_eq!(found.matches("secret = ").count(), 1, "{found}");
    assert!(found.contains("secret = new"), "{found}");
    assert_eq!(items(&session).len(), 2, "that one, and bob's");
    assert_eq!(session.lookup("bob").as_deref(), Some("bob's"));
}

#[test]
fn the_item_in_the_login_collection_wins() {
    let session = KeyringSession::start();
    session.store(NAME, "in memory", &["--collection=session"]);
    assert_eq!(place(&session).get(&name(NAME), REMOTE).unwrap(), Some("in memory".into()));
    session.store(NAME, "login", &["extra", "1"]);
    assert_eq!(place(&session).get(&name(NAME), REMOTE).unwrap(), Some("login".into()));
}

#[test]
fn removing_removes_every_item_of_the_profile_and_no_other() {
    let session = KeyringSession::start();
    session.store(NAME, "one", &["extra", "1"]);
    session.store(NAME, "two", &["--collection=session"]);
    session.store("bob", "bob's", &[]);
    let place = place(&session);
    place.remove(&name(NAME), REMOTE).unwrap();
    assert_eq!(session.lookup(NAME), None);
    assert_eq!(place.get(&name(NAME), REMOTE).unwrap(), None);
    place.remove(&name(NAME), REMOTE).unwrap();
    assert_eq!(session.lookup("bob").as_deref(), Some("bob's"));
}

#[test]
fn a_change_is_undone_even_after_a_cancellation() {
    let session = KeyringSession::start();
    let cancel = Cancel::default();
    let place = place_with(&session, budget(3.0, false, &cancel));
    place.set(&name(NAME), REMOTE, &"new".into()).unwrap();
    cancel.cancel();
    assert!(matches!(place.remove(&name(NAME), REMOTE), Err(PlaceError::Canceled)));
    place.restore(&name(NAME), REMOTE, &"new".into(), Some(&"old".into())).unwrap();
    assert_eq!(session.lookup(NAME).as_deref(), Some("old"));
    place.restore(&name(NAME), REMOTE, &"new".into(), None).unwrap();
    assert_eq!(session.lookup(NAME), None);
}

#[test]
fn names_and_secrets_of_any_kind_come_back() {
    let session = KeyringSession::start();
    let place = place(&session);
    let long = "n".repeat(ProfileName::MAX_BYTES);
    let large = "s".repeat(64 * 1024);
    for (profile, secret) in [("a 'b' \"c\" %d é 🗝", "x\n\"y\"\\"), (&long, &large), ("e", "")]
    {
        place.set(&name(profile), REMOTE, &secret.into()).unwrap();
        assert_eq!(place.get(&name(profile), REMOTE).unwrap(), Some(secret.into()));
    }
}

#[test]
fn processes_that_create_the_same_item_at_once_make_one() {
    let session = KeyringSession::start();
    let start = Arc::new(Barrier::new(8));
    let threads: Vec<_> = (0..8)
        .map(|number| {
            let (place, start) = (place(&session), Arc::clone(&start));
            std::thread::spawn(move || {
                start.wait();
                place.set(&name(NAME), REMOTE, &format!("secret {number}").into())
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap().unwrap();
    }
    assert_eq!(items(&session).len(), 1);
}

#[test]
fn without_a_bus_the_answer_is_immediate() {
    let nowhere = tempfile::tempdir().unwrap();
    let nowhere = nowhere.path().to_str().unwrap();
    let broken = format!("unix:path={nowhere}/bus");
    for variables in [
        vec![],
        vec![("XDG_RUNTIME_DIR", nowhere)],
        vec![("DBUS_SESSION_BUS_ADDRESS", broken.as_str())],
        vec![("DBUS_SESSION_BUS_ADDRESS", "autolaunch:")],
        vec![("DBUS_SESSION_BUS_ADDRESS", "unixexec:path=/bin/false")],
        vec![("DBUS_SESSION_BUS_ADDRESS", "/dev/null")],
    ] {
        let env: Env = variables.iter().copied().collect();
        let place = keyring(&env, budget(60.0, true, &Cancel::default()));
        let started = Instant::now();
        let error = place.get(&name(NAME), REMOTE).unwrap_err();
        assert!(matches!(error, PlaceError::NotAvailable { .. }), "{variables:?}: {error:?}");
        assert!(started.elapsed() < Duration::from_millis(500), "{variables:?}");
        assert!(error.allows_fallback());
    }
}

#[test]
fn the_bus_of_the_runtime_directory_is_found() {
    let session = KeyringSession::start();
    session.store(NAME, "theirs", &[]);
    let env: Env = session
        .environment()
        .into_iter()
        .filter(|(variable, _)| *variable != "DBUS_SESSION_BUS_ADDRESS")
        .collect();
    let place = keyring(&env, budget(3.0, false, &Cancel::default()));
    assert_eq!(place.get(&name(NAME), REMOTE).unwrap(), Some("theirs".into()));
}

#[test]
fn a_keyring_that_does_not_run_is_not_started() {
    let session = KeyringSession::without_keyring();
    let error = place(&session).set(&name(NAME), REMOTE, &"secret".into()).unwrap_err();
    assert!(matches!(error, PlaceError::NotAvailable { .. }), "{error:?}");
    assert!(!session.has_keyring());
}

#[test]
fn a_locked_keyring_is_locked_at_once_and_shows_no_prompt() {
    let session = KeyringSession::start();
    session.store(NAME, "theirs", &[]);
    session.lock();
    let place = place(&session);
    let started = Instant::now();
    assert!(matches!(place.get(&name(NAME), REMOTE), Err(PlaceError::Locked)));
    let set = place.set(&name(NAME), REMOTE, &"ours".into());
    assert!(matches!(set, Err(PlaceError::Locked)));
    let set = place.set(&name("new"), REMOTE, &"ours".into());
    assert!(matches!(set, Err(PlaceError::Locked)));
    assert!(matches!(place.remove(&name(NAME), REMOTE), Err(PlaceError::Locked)));
    assert!(started.elapsed() < Duration::from_secs(1));
    // Its items can be found, but not read. So an item that is not found does not exist.
    assert_eq!(place.get(&name("nobody"), REMOTE).unwrap(), None);
    place.remove(&name("nobody"), REMOTE).unwrap();
}

#[test]
fn a_prompt_that_cannot_be_shown_is_a_locked_keyring() {
    let session = KeyringSession::start();
    session.store(NAME, "theirs", &[]);
    session.lock();
    let place = place_with(&session, budget(10.0, true, &Cancel::default()));
    assert!(matches!(place.get(&name(NAME), REMOTE), Err(PlaceError::Locked)));
}

#[test]
fn a_frozen_keyring_times_out_once_and_stores_nothing_later() {
    let session = KeyringSession::start();
    let place = place_with(&session, budget(0.4, false, &Cancel::default()));
    session.freeze();
    let started = Instant::now();
    let set = place.set(&name(NAME), REMOTE, &"secret".into());
    assert!(matches!(set, Err(PlaceError::TimedOut { .. })), "{set:?}");
    let waited = started.elapsed();
    assert!((400..1000).contains(&waited.as_millis()), "{waited:?}");
    // All calls share the time.
    let again = Instant::now();
    let get = place.get(&name(NAME), REMOTE);
    assert!(matches!(get, Err(PlaceError::TimedOut { .. })), "{get:?}");
    assert!(again.elapsed() < Duration::from_millis(100));
    session.thaw();
    assert_eq!(session.lookup(NAME), None);
}

#[test]
fn the_variable_sets_the_time() {
    let session = KeyringSession::start();
    session.freeze();
    let variables = session.environment().into_iter();
    let env: Env = variables.chain([("BASETEN_KEYRING_TIMEOUT", "0.3".into())]).collect();
    let budget = Budget::from_env(&env, true, Wait::default(), Observer::default()).unwrap();
    let started = Instant::now();
    let get = keyring(&env, budget).get(&name(NAME), REMOTE);
    let error = get.unwrap_err();
    assert_eq!(error.to_string(), "the system keyring did not answer within 0.3 s");
    assert!((300..1000).contains(&started.elapsed().as_millis()));
}

#[test]
fn a_cancellation_ends_the_wait() {
    let session = KeyringSession::start();
    session.freeze();
    let cancel = Cancel::default();
    let place = place_with(&session, budget(20.0, false, &cancel));
    let waiting = std::thread::spawn(move || {
        let result = place.set(&name(NAME), REMOTE, &"secret".into());
        (result, Instant::now())
    });
    pause(200);
    let canceled = Instant::now();
    cancel.cancel();
    let (result, ended) = waiting.join().unwrap();
    assert!(matches!(result, Err(PlaceError::Canceled)), "{result:?}");
    assert!(ended - canceled < Duration::from_millis(500));
    session.thaw();
    assert_eq!(session.lookup(NAME), None);
}

#[test]
fn a_prompt_that_is_answered_unlocks() {
    let script = Script {
        secret: Some("kept"),
        locked: true,
        prompt: Some((PromptEnd::Unlocked, Duration::from_millis(50))),
        ..Script::default()
    };
    let (session, service) = fake(script);
    let (budget, prompts) = budget_that_counts(10.0);
    let place = place_with(&session, budget);
    assert_eq!(place.get(&name(NAME), REMOTE).unwrap(), Some("kept".into()));
    assert_eq!(prompts.load(Ordering::SeqCst), 1);
    assert_eq!(service.calls(), ["SearchItems", "Unlock", "Prompt", "SearchItems"]);
}

#[test]
fn a_dismissed_prompt_has_its_own_error() {
    let script = Script {
        locked: true,
        prompt: Some((PromptEnd::Dismissed, Duration::from_millis(1200))),
        ..Script::default()
    };
    let (session, service) = fake(script);
    let place = place_with(&session, budget(10.0, true, &Cancel::default()));
    let set = place.set(&name(NAME), REMOTE, &"secret".into());
    assert!(matches!(set, Err(PlaceError::Dismissed)), "{set:?}");
    // The same operation does not ask again.
    let get = place.get(&name(NAME), REMOTE);
    assert!(matches!(get, Err(PlaceError::Locked)), "{get:?}");
    let remove = place.remove(&name(NAME), REMOTE);
    assert!(matches!(remove, Err(PlaceError::Locked)), "{remove:?}");
    assert_eq!(service.calls().iter().filter(|call| *call == "Prompt").count(), 1);
    assert!(!service.calls().iter().any(|call| call.starts_with("CreateItem")));
}

#[test]
fn a_login_shows_a_prompt_that_is_closed_only_once() {
    // The login reads the old secret, stores its own, and removes the old one.
    for (remote, auth_type) in [("https://other.example.com", "api_key"), (REMOTE, "oauth")] {
        let (session, service) = fake(Script {
            secret: Some("old"),
            locked: true,
            prompt: Some((PromptEnd::Dismissed, Duration::from_millis(1200))),
            ..Script::default()
        });
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("auth.json");
        let old = format!(r#"{{"remote_url": "{remote}", "auth_type": "{auth_type}"}}"#);
        std::fs::write(&file, format!(r#"{{"profiles": {{"{NAME}": {old}}}}}"#)).unwrap();
        let environment = session.environment().into_iter();
        let home = ("BASETEN_CONFIG_DIR", home.path().into());
        let env: Env = environment.chain([home]).collect();
        let login = Login {
            name: Some(name(NAME)),
            remote: Remote::parse(REMOTE).unwrap(),
            credential: Credential::ApiKey(Secret::from("the-new-key")),
            user: User { user_id: "ada".to_owned(), email: None, name: None, workspace_name: None },
            switch: true,
            storage: StoragePolicy::Auto,
        };
        store_login(&Context::new(env).with_prompt(true), &login).unwrap();
        assert!(std::fs::read_to_string(&file).unwrap().contains("the-new-key"));
        let calls = service.calls();
        assert_eq!(calls.iter().filter(|call| *call == "Prompt").count(), 1, "{calls:?}");
    }
}

#[test]
fn a_prompt_that_nobody_answers_is_dismissed_in_time() {
    let (session, service) = fake(Script { locked: true, ..Script::default() });
    let (budget, prompts) = budget_that_counts(1.5);
    let place = place_with(&session, budget);
    let started = Instant::now();
    let get = place.get(&name(NAME), REMOTE);
    assert!(matches!(get, Err(PlaceError::TimedOut { .. })), "{get:?}");
    assert!((1500..2500).contains(&started.elapsed().as_millis()));
    service.wait_for("Dismiss");
    assert_eq!(prompts.load(Ordering::SeqCst), 1);
}

#[test]
fn a_locked_keyring_that_hides_its_items_is_locked_rather_than_empty() {
    let (session, service) = fake(Script { locked: true, ..Script::default() });
    let place = place(&session);
    assert!(matches!(place.get(&name(NAME), REMOTE), Err(PlaceError::Locked)));
    assert!(matches!(place.remove(&name(NAME), REMOTE), Err(PlaceError::Locked)));
    assert!(!service.calls().iter().any(|call| call == "Prompt"));
}

#[test]
fn a_new_item_is_created_as_other_programs_do() {
    let (session, service) = fake(Script::default());
    place(&session).set(&name(NAME), REMOTE, &"secret".into()).unwrap();
    let expected = "CreateItem Password for 'alice@example.com' on 'baseten-profile' \
        [\"service=baseten-profile\", \"username=alice@example.com\"] secret \
        text/plain; charset=utf8 true";
    assert_eq!(service.calls().last().map(String::as_str), Some(expected));
}

#[test]
fn a_change_under_way_is_not_cut_in_half_by_a_cancellation() {
    let slow_create = Duration::from_millis(300);
    let (session, service) = fake(Script { slow_create, ..Script::default() });
    let cancel = Cancel::default();
    let place = place_with(&session, budget(10.0, false, &cancel));
    let waiting = std::thread::spawn(move || place.set(&name(NAME), REMOTE, &"secret".into()));
    service.wait_for("CreateItem");
    cancel.cancel();
    waiting.join().unwrap().unwrap();
}

#[test]
fn a_change_that_timed_out_is_undone() {
    let slow_set = Duration::from_millis(800);
    let (session, service) = fake(Script { secret: Some("before"), slow_set, ..Script::default() });
    let place = place_with(&session, budget(0.4, false, &Cancel::default()));
    let set = place.set(&name(NAME), REMOTE, &"after".into());
    assert!(matches!(set, Err(PlaceError::TimedOut { .. })), "{set:?}");
    let started = Instant::now();
    place.restore(&name(NAME), REMOTE, &"new".into(), Some(&"before".into())).unwrap();
    assert!(started.elapsed() < Duration::from_secs(3));
    let changes: Vec<_> =
        service.calls().into_iter().filter(|call| call.starts_with("SetSecret")).collect();
    assert_eq!(changes, ["SetSecret after", "SetSecret before"]);
}

fn fake(script: Script) -> (KeyringSession, FakeService) {
    let session = KeyringSession::without_keyring();
    let environment = session.environment();
    let (_, address) =
        environment.iter().find(|(name, _)| *name == "DBUS_SESSION_BUS_ADDRESS").unwrap();
    let service = FakeService::start(address.to_str().unwrap(), script);
    (session, service)
}

fn place(session: &KeyringSession) -> Place {
    place_with(session, budget(5.0, false, &Cancel::default()))
}

fn place_with(session: &KeyringSession, budget: Budget) -> Place {
    keyring(&session.environment().into_iter().collect(), budget)
}

fn keyring(env: &Env, budget: Budget) -> Place {
    Place::keyring(Arc::new(Keyring::new(env)), budget)
}

fn budget(seconds: f64, prompt: bool, cancel: &Cancel) -> Budget {
    budget_with(seconds, prompt, cancel, Observer::default())
}

fn budget_with(seconds: f64, prompt: bool, cancel: &Cancel, observer: Observer) -> Budget {
    let wait = Wait::default().with_cancel(cancel.clone());
    Budget::new(Duration::from_secs_f64(seconds), prompt, wait, observer)
}

/// A budget with prompts, and the number of times that one was announced.
fn budget_that_counts(seconds: f64) -> (Budget, Arc<AtomicUsize>) {
    let prompts = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&prompts);
    let observer = Observer::new(move |event| {
        if matches!(event, Event::KeyringPrompt) {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    (budget_with(seconds, true, &Cancel::default(), observer), prompts)
}

/// The paths of all items in the login collection.
fn items(session: &KeyringSession) -> Vec<String> {
    let get = ["org.freedesktop.DBus.Properties.Get"];
    let property = ["string:org.freedesktop.Secret.Collection", "string:Items"];
    let answer =
        session.call("org.freedesktop.secrets", LOGIN, &[get.as_slice(), &property].concat());
    answer.split('"').skip(1).step_by(2).map(ToOwned::to_owned).collect()
}

fn properties(session: &KeyringSession, item: &str) -> String {
    let call = ["org.freedesktop.DBus.Properties.GetAll", "string:org.freedesktop.Secret.Item"];
    session.call("org.freedesktop.secrets", item, &call)
}

fn name(text: &str) -> ProfileName {
    ProfileName::new(text).unwrap()
}

fn pause(milliseconds: u64) {
    Wait::default().sleep(Duration::from_millis(milliseconds)).unwrap();
}
