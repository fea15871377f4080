//! Credential helpers: small shell scripts that do what helpers may do, and real helpers.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test may")]

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use baseten_auth::Observer;
use baseten_auth::internal::{
    Budget, Cancel, Entry, Env, Helper, HelperName, Place, PlaceError, ProfileName, Wait,
};
use baseten_testing::home::Home;
use baseten_testing::keyring::KeyringSession;
use baseten_testing::pass::Pass;
use baseten_testing::program::{find, write_script};
use baseten_testing::wait;

const REMOTE: &str = "https://app.baseten.co";
const NAME: &str = "alice@example.com";
const SECRET: &str = r#"{"access_token":"canary-token","refresh_token":"é"}"#;

/// A helper that keeps one credential in the file `kept` and logs its calls.
const KEEPER: &str = r#"
echo "$1" >> calls
case "$1" in
store) cat > kept ;;
get) cat > url; test -e kept || { echo 'credentials not found in native keychain'; exit 1; }; cat kept ;;
erase) cat > url; test -e kept || { echo 'credentials not found in native keychain'; exit 1; }; rm kept ;;
esac
"#;

#[test]
fn names_are_those_of_programs_in_the_search_path() {
    for bad in ["", "a/b", "../x", "a b", "é", "a;b", "a\0"] {
        assert!(bad.parse::<HelperName>().is_err(), "{bad}");
    }
    let place = helper("o.s-X_9", &Env::default(), budget(5.0, &Cancel::default()));
    assert_eq!(place.label(), "docker-credential-o.s-X_9");
}

#[test]
fn a_credential_is_stored_found_and_erased() {
    let script = Script::new(KEEPER);
    let place = script.place();
    assert_eq!(place.get(&name(), REMOTE).unwrap(), None);
    place.set(&name(), REMOTE, &SECRET.into()).unwrap();
    let stored: serde_json::Value = serde_json::from_str(&script.read("kept")).unwrap();
    let expected = serde_json::json!({
        "ServerURL": "https://app.baseten.co/cli/alice%40example.com",
        "Username": NAME,
        "Secret": SECRET,
    });
    assert_eq!(stored, expected);
    assert_eq!(place.get(&name(), REMOTE).unwrap(), Some(SECRET.into()));
    assert_eq!(script.read("url"), "https://app.baseten.co/cli/alice%40example.com");
    place.remove(&name(), REMOTE).unwrap();
    place.remove(&name(), REMOTE).unwrap();
    assert_eq!(script.read("calls"), "get\nstore\nget\nerase\nerase\n");
}

#[test]
fn empty_fields_are_no_credential() {
    for answer in [r#"{"ServerURL":"","Username":"","Secret":""}"#, "{}"] {
        let script = Script::new(&format!("echo '{answer}'"));
        assert_eq!(script.place().get(&name(), REMOTE).unwrap(), None);
    }
}

#[test]
fn an_erase_of_a_missing_item_is_not_an_error() {
    let script = Script::new("test $1 = get && echo '{}' || { echo 'no such entry'; exit 1; }");
    script.place().remove(&name(), REMOTE).unwrap();
    let script =
        Script::new("test $1 = get && echo '{\"Secret\":\"x\"}' || { echo refused; exit 1; }");
    let error = script.place().remove(&name(), REMOTE).unwrap_err();
    assert_eq!(error.to_string(), "docker-credential-test failed: refused");
}

#[test]
fn a_helper_that_is_not_there_is_missing() {
    let script = Script::new(KEEPER);
    let place = helper("other", &script.env(), budget(5.0, &Cancel::default()));
    let error = place.get(&name(), REMOTE).unwrap_err();
    assert!(matches!(error, PlaceError::HelperMissing { .. }), "{error:?}");
    assert_eq!(error.to_string(), "docker-credential-other is not in PATH");
    assert!(!error.allows_fallback());
}

#[test]
fn directories_and_files_that_are_not_programs_are_skipped() {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (directory.path().join("1"), directory.path().join("2"));
    fs::create_dir_all(first.join("docker-credential-test")).unwrap();
    fs::create_dir(&second).unwrap();
    fs::write(second.join("docker-credential-test"), "text").unwrap();
    let script = Script::new(KEEPER);
    let path = [first.as_path(), &second, Path::new("."), script.directory.path()];
    let env: Env = [("PATH", std::env::join_paths(path).unwrap())].into_iter().collect();
    let place = helper("test", &env, budget(5.0, &Cancel::default()));
    assert_eq!(place.get(&name(), REMOTE).unwrap(), None);
}

#[test]
fn what_a_helper_says_about_its_failure_is_shown_in_one_clean_line() {
    for (body, message) in [
        ("echo 'cannot reach the agent'; exit 1", "cannot reach the agent"),
        (r"printf 'bad \033[31mnews\342\200\256\nand more\n' >&2; exit 1", "bad [31mnews"),
        ("exit 3", "it ended with exit status: 3"),
        ("kill -SEGV $$", "it ended with signal: 11 (SIGSEGV)"),
        ("echo not json", "its answer is not the JSON of a credential"),
    ] {
        let error = Script::new(body).place().get(&name(), REMOTE).unwrap_err();
        assert_eq!(error.to_string(), format!("docker-credential-test failed: {message}"));
    }
}

#[test]
fn a_message_that_repeats_the_secret_is_not_shown() {
    for body in ["cat; exit 1", "cat >&2; exit 1", "echo 'refused canary-token'; exit 1"] {
        let error = Script::new(body).place().set(&name(), REMOTE, &SECRET.into()).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(!text.contains("canary"), "{text}");
        assert!(text.contains("exit status: 1"), "{text}");
    }
    let body = r#"echo '{"Secret":"canary"}'; exit 1"#;
    let error = Script::new(body).place().get(&name(), REMOTE).unwrap_err();
    assert!(!format!("{error:?}").contains("canary"), "{error:?}");
}

#[test]
fn a_slow_helper_is_ended_with_its_children_at_the_deadline() {
    for body in ["sleep 30; touch late", "exec 1>&- 2>&-; sleep 30"] {
        let script = Script::new(&format!("echo $$ > id; {body}"));
        let started = Instant::now();
        let place = script.place_with(budget(0.4, &Cancel::default()));
        let error = place.get(&name(), REMOTE).unwrap_err();
        let expected = "docker-credential-test did not answer within 0.4 s";
        assert_eq!(error.to_string(), expected, "{body}");
        assert!((400..2000).contains(&started.elapsed().as_millis()), "{body}");
        assert!(script.group_is_gone(), "{body}");
        // All calls share the time.
        let again = Instant::now();
        place.get(&name(), REMOTE).unwrap_err();
        assert!(again.elapsed() < Duration::from_millis(100));
    }
}

#[test]
fn a_helper_that_has_exited_has_answered_even_if_its_streams_stay_open() {
    let answer = r#"echo '{"Username":"alice@example.com","Secret":"kept"}'"#;
    let script = Script::new(&format!("sleep 30 & {answer}"));
    let started = Instant::now();
    let place = script.place_with(budget(20.0, &Cancel::default()));
    assert_eq!(place.get(&name(), REMOTE).unwrap(), Some("kept".into()));
    assert!(started.elapsed() < Duration::from_secs(3));
}

#[test]
fn a_cancellation_ends_the_helper() {
    let script = Script::new("echo $$ > id; sleep 30");
    let cancel = Cancel::default();
    let place = script.place_with(budget(20.0, &cancel));
    let waiting = std::thread::spawn(move || (place.get(&name(), REMOTE), Instant::now()));
    script.wait_for("id");
    let canceled = Instant::now();
    cancel.cancel();
    let (result, ended) = waiting.join().unwrap();
    assert!(matches!(result, Err(PlaceError::Canceled)), "{result:?}");
    assert!(ended - canceled < Duration::from_secs(1));
    assert!(script.group_is_gone());
}

#[test]
fn a_cancellation_lets_a_store_end() {
    let script = Script::new("echo begun > begun; cat > kept; sleep 0.2");
    let cancel = Cancel::default();
    let place = script.place_with(budget(20.0, &cancel));
    let waiting = std::thread::spawn(move || place.set(&name(), REMOTE, &"secret".into()));
    script.wait_for("begun");
    cancel.cancel();
    waiting.join().unwrap().unwrap();
}

#[test]
fn a_helper_inherits_the_environment_but_not_the_api_key() {
    if !Env::from_process().has("BASETEN_API_KEY") {
        // Run this test again in a process that has an API key.
        let test = "a_helper_inherits_the_environment_but_not_the_api_key";
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test])
            .envs([("BASETEN_API_KEY", "canary"), ("OTHER", "kept")])
            .stdout(std::process::Stdio::null())
            .status();
        assert!(status.unwrap().success());
        return;
    }
    let script = Script::new("env > seen");
    script.place().set(&name(), REMOTE, &"secret".into()).unwrap();
    let seen = script.read("seen");
    assert!(seen.contains("OTHER=kept") && !seen.contains("canary"), "{seen}");
}

#[test]
fn an_endless_answer_is_cut_off() {
    for (body, message) in [("yes", "its answer is larger than 1 MiB"), ("yes y >&2; exit 1", "y")]
    {
        let started = Instant::now();
        let error = Script::new(body).place().get(&name(), REMOTE).unwrap_err();
        assert_eq!(error.to_string(), format!("docker-credential-test failed: {message}"));
        assert!(started.elapsed() < Duration::from_secs(4), "{body}");
    }
}

#[test]
fn a_helper_may_leave_a_large_secret_unread() {
    let script = Script::new("exit 0");
    let large = Entry::from("s".repeat(512 * 1024));
    script.place().set(&name(), REMOTE, &large).unwrap();
}

#[test]
fn a_large_secret_comes_back() {
    let script = Script::new(KEEPER);
    let large = Entry::from("s\"".repeat(64 * 1024));
    script.place().set(&name(), REMOTE, &large).unwrap();
    assert_eq!(script.place().get(&name(), REMOTE).unwrap(), Some(large));
}

#[test]
fn the_helper_for_pass_keeps_a_credential() {
    let pass = Pass::start(Home::new());
    let script = Script::real("docker-credential-pass", pass.environment());
    round_trip(&script.place_with(budget(20.0, &Cancel::default())));
}

#[test]
fn the_helper_for_the_secret_service_keeps_a_credential() {
    let session = KeyringSession::start();
    let script = Script::real("docker-credential-secretservice", session.environment());
    round_trip(&script.place_with(budget(20.0, &Cancel::default())));
}

fn round_trip(place: &Place) {
    let other = ProfileName::new("b c:d").unwrap();
    assert_eq!(place.get(&name(), REMOTE).unwrap(), None);
    place.set(&name(), REMOTE, &"first".into()).unwrap();
    place.set(&name(), REMOTE, &SECRET.into()).unwrap();
    place.set(&other, REMOTE, &"other".into()).unwrap();
    assert_eq!(place.get(&name(), REMOTE).unwrap(), Some(SECRET.into()));
    assert_eq!(place.get(&name(), "https://app.example.com").unwrap(), None);
    place.remove(&name(), REMOTE).unwrap();
    assert_eq!(place.get(&name(), REMOTE).unwrap(), None);
    // Not every helper reports that there was nothing to remove, but none fails.
    place.remove(&name(), REMOTE).unwrap();
    assert_eq!(place.get(&other, REMOTE).unwrap(), Some("other".into()));
}

/// The program `docker-credential-test`, which runs in its own directory.
struct Script {
    directory: tempfile::TempDir,
}

impl Script {
    fn new(body: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("docker-credential-test");
        let start = format!("PATH=/usr/bin:/bin\ncd '{}' || exit", directory.path().display());
        write_script(&program, &format!("{start}\n{body}"));
        Self { directory }
    }

    /// A real helper, with these variables and no others.
    fn real<V: AsRef<OsStr>>(
        program: &str,
        variables: impl IntoIterator<Item = (&'static str, V)>,
    ) -> Self {
        let program = find(program, "golang-docker-credential-helpers");
        let variables: Vec<String> = variables
            .into_iter()
            .map(|(name, value)| format!("{name}='{}'", value.as_ref().to_str().unwrap()))
            .collect();
        Self::new(&format!("exec env -i {} {} \"$@\"", variables.join(" "), program.display()))
    }

    fn env(&self) -> Env {
        [("PATH", self.directory.path())].into_iter().collect()
    }

    fn place(&self) -> Place {
        self.place_with(budget(5.0, &Cancel::default()))
    }

    fn place_with(&self, budget: Budget) -> Place {
        helper("test", &self.env(), budget)
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.directory.path().join(file)).unwrap()
    }

    /// Waits until the script has written this file.
    fn wait_for(&self, file: &str) {
        wait::until(&format!("{file} is written"), || {
            fs::read_to_string(self.directory.path().join(file)).is_ok_and(|text| !text.is_empty())
        });
    }

    /// Whether no process of the script's process group is left. The script wrote its number down.
    fn group_is_gone(&self) -> bool {
        let group: i32 = self.read("id").trim().parse().unwrap();
        let group = rustix::process::Pid::from_raw(group).unwrap();
        wait::within(Duration::from_secs(2), || {
            rustix::process::test_kill_process_group(group).is_err()
        })
    }
}

fn helper(name: &str, env: &Env, budget: Budget) -> Place {
    Place::helper(Helper::new(&name.parse().unwrap(), env), budget)
}

fn budget(seconds: f64, cancel: &Cancel) -> Budget {
    let wait = Wait::default().with_cancel(cancel.clone());
    Budget::new(Duration::from_secs_f64(seconds), false, wait, Observer::default())
}

fn name() -> ProfileName {
    ProfileName::new(NAME).unwrap()
}
