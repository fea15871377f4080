//! A browser login in two steps, as agents and remote shells do it.

use std::path::PathBuf;
use std::time::Duration;

use baseten_sandbox::Request;
use baseten_testing::home::Home;
use baseten_testing::sandbox::{approve, deny, sandbox, sandbox_with};
use baseten_testing::server::{STARTED, Server, answer, ok};
use baseten_testing::stored::{current, profile};
use baseten_testing::wait::PATIENCE;

fn pending_file(home: &Home) -> PathBuf {
    home.auth_json().with_file_name("pending-login.json")
}

fn device_code(home: &Home) -> String {
    let text = std::fs::read_to_string(pending_file(home)).unwrap();
    let file: serde_json::Value = serde_json::from_str(&text).unwrap();
    file["device_code"].as_str().unwrap().to_owned()
}

const FIRST: &[&str] = &["auth", "login", "--web", "--no-wait", "--insecure-storage"];
const SECOND: &[&str] = &["auth", "login", "--resume"];

#[test]
fn a_login_in_two_steps() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let first = home.run(&[FIRST, &["-o", "json"]].concat());
    assert_eq!(first.status, 0, "{first}");
    let json = first.json();
    let keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        ["verification_uri", "verification_uri_complete", "user_code", "expires_at", "next_step"]
    );
    assert_eq!(json["next_step"], "baseten auth login --resume");
    assert_eq!(json["user_code"], sandbox.pending_user_codes()[0].as_str());
    assert!(!first.to_string().contains(&device_code(&home)));
    assert!(!home.auth_json().exists());

    let second = home.start(&[SECOND, &["-v"]].concat());
    approve(&sandbox, "ada");
    let second = second.end();
    assert_eq!(
        second.stdout,
        "Logged in as ada@example.com (Analytical Engines) as profile ada@example.com:localhost\n",
        "{second}"
    );
    assert!(!pending_file(&home).exists());
    assert_eq!(home.run(SECOND).status, 3);
}

#[test]
fn the_first_step_prints_text() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let outcome = home.run(FIRST);
    assert!(!outcome.to_string().contains(&device_code(&home)));
    baseten_testing::assert_outcome!(home, outcome);
}

#[test]
fn the_second_step_uses_the_options_of_the_first() {
    let sandbox = sandbox();
    let home = Home::new();
    let remote = sandbox.remote_url();
    let more = ["--profile", "work", "--no-switch", "--remote-url", &remote];
    assert_eq!(home.run(&[FIRST, &more].concat()).status, 0);
    approve(&sandbox, "ada");
    let outcome = home.run(SECOND);
    assert_eq!((outcome.status, outcome.stdout.ends_with("work\n")), (0, true), "{outcome}");
    assert_eq!(current(&home), serde_json::Value::Null);
    assert_eq!(profile(&home, "work")["remote_url"], remote);
}

#[test]
#[cfg(unix)]
fn the_file_between_the_steps_is_private() {
    use std::os::unix::fs::MetadataExt;
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    home.run(FIRST);
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&pending_file(&home)), 0o600);
    assert_eq!(mode(pending_file(&home).parent().unwrap()), 0o700);
}

#[test]
fn a_second_first_step_replaces_the_first() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    home.run(FIRST);
    let code = device_code(&home);
    let again = home.run(&[FIRST, &["-o", "json"]].concat());
    assert_ne!(device_code(&home), code);
    let user_code = again.json()["user_code"].as_str().unwrap().to_owned();
    sandbox.approve(&user_code, "grace").unwrap();
    let outcome = home.run(SECOND);
    assert!(outcome.stdout.starts_with("Logged in as grace@example.com "), "{outcome}");
}

#[test]
fn a_denied_or_expired_login_is_3_and_is_deleted() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    home.run(FIRST);
    deny(&sandbox);
    let outcome = home.run(SECOND);
    assert_eq!(outcome.status, 3, "{outcome}");
    assert!(outcome.stderr.contains("denied"), "{outcome}");
    assert!(!pending_file(&home).exists());

    let sandbox = sandbox_with(|config| config.device_code_lifetime = Duration::from_secs(1));
    let home = Home::at(&sandbox);
    home.run(FIRST);
    let waited = home.run(SECOND);
    assert_eq!(waited.status, 3, "{waited}");
    assert!(waited.stderr.contains("expired"), "{waited}");
    assert!(!pending_file(&home).exists());
    home.run(FIRST);
    let text = std::fs::read_to_string(pending_file(&home)).unwrap();
    let mut file: serde_json::Value = serde_json::from_str(&text).unwrap();
    file["expires_at"] = "2020-01-01T00:00:00Z".into();
    std::fs::write(pending_file(&home), file.to_string()).unwrap();
    let late = home.run(SECOND);
    assert_eq!(late.status, 3, "{late}");
    assert!(late.stderr.contains("--no-wait"), "{late}");
    assert!(!pending_file(&home).exists());
}

#[test]
fn an_interrupted_second_step_can_be_run_again() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    home.run(FIRST);
    let second = home.start(SECOND);
    sandbox.wait_for_request(PATIENCE, Request::is_poll).unwrap();
    drop(second);
    approve(&sandbox, "ada");
    assert_eq!(home.run(SECOND).status, 0);
}

#[test]
fn a_second_step_deletes_only_its_own_login() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    home.run(FIRST);
    let second = home.start(SECOND);
    sandbox.wait_for_request(PATIENCE, Request::is_poll).unwrap();
    let (first, newer) = (sandbox.pending_user_codes(), home.run(FIRST));
    assert_eq!(newer.status, 0, "{newer}");
    sandbox.deny(&first[0]).unwrap();
    assert_eq!(second.end().status, 3);
    assert!(pending_file(&home).exists());
    approve(&sandbox, "ada");
    assert_eq!(home.run(SECOND).status, 0);
}

#[test]
#[cfg(target_os = "linux")]
fn a_second_step_that_deletes_its_login_keeps_a_newer_one() {
    use baseten_testing::outcome::Running;
    use baseten_testing::program::{baseten, find};
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    home.run(FIRST);
    deny(&sandbox);
    // It is paused for two seconds after checking that the file is its own, before removing it.
    let mut second = home.command_of(find("strace", "strace"), &[]);
    let (trace, file) = (home.path().join("trace"), pending_file(&home));
    second
        .args(["-f", "-qq", "-o", trace.to_str().unwrap(), "-P", file.to_str().unwrap()])
        .args(["-e", "trace=unlink,unlinkat"])
        .args(["-e", "inject=unlink,unlinkat:delay_enter=2000000"])
        .arg(baseten())
        .args(SECOND);
    let second = Running::start(&mut second);
    let is_removing = || std::fs::read_to_string(&trace).is_ok_and(|it| it.contains("unlink"));
    baseten_testing::wait::until("it is about to remove the file", is_removing);
    let newer = home.run(FIRST);
    assert_eq!(newer.status, 0, "{newer}");
    assert_eq!(second.end().status, 3);
    assert!(pending_file(&home).exists(), "the newer login is gone");
    approve(&sandbox, "ada");
    assert_eq!(home.run(SECOND).status, 0);
}

#[test]
fn a_file_that_another_program_has_put_there_is_not_removed() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    home.run(FIRST);
    let second = home.start(SECOND);
    sandbox.wait_for_request(PATIENCE, Request::is_poll).unwrap();
    std::fs::write(pending_file(&home), "of a newer version").unwrap();
    deny(&sandbox);
    assert_eq!(second.end().status, 3);
    assert_eq!(std::fs::read_to_string(pending_file(&home)).unwrap(), "of a newer version");
}

#[test]
fn a_used_code_is_deleted() {
    let used = answer(400, "", r#"{"error": "invalid_grant"}"#);
    let server = Server::start([ok(STARTED), used]);
    let home = Home::at_remote(server.remote("http"));
    assert_eq!(home.run(FIRST).status, 0);
    let outcome = home.run(SECOND);
    assert_eq!(outcome.status, 3, "{outcome}");
    assert!(outcome.stderr.contains("start again with: baseten auth login --web --no-wait"));
    assert!(!pending_file(&home).exists());
}

#[test]
fn an_expired_code_cannot_be_resumed() {
    let sandbox = sandbox_with(|config| config.device_code_lifetime = Duration::ZERO);
    let home = Home::at(&sandbox);
    let outcome = home.run(&["auth", "login", "--web", "--no-wait"]);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (3, ""), "{outcome}");
    assert!(outcome.stderr.starts_with("error: the code expired before"), "{outcome}");
    assert_eq!(home.run(&["auth", "login", "--resume"]).status, 3);
}

#[test]
#[cfg(target_os = "linux")]
fn a_second_step_that_cannot_be_stored_yet_is_canceled_whole() {
    use rustix::fs::{FlockOperation, flock};
    let sandbox = sandbox();
    let home = Home::at(&sandbox).with("BASETEN_CREDENTIAL_STORE", "file");
    home.run(FIRST);
    let second = home.start(SECOND);
    sandbox.wait_for_request(PATIENCE, Request::is_poll).unwrap();
    let lock = home.auth_json().with_extension("json.lock");
    let lock = std::fs::File::create(lock).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    approve(&sandbox, "ada");
    baseten_testing::wait::until("it has tokens", || sandbox.session_count("ada") == 1);
    std::thread::sleep(std::time::Duration::from_millis(500));
    second.signal(rustix::process::Signal::INT);
    std::thread::sleep(std::time::Duration::from_millis(500));
    drop(lock);
    let outcome = second.end();
    assert_eq!((outcome.status, outcome.stdout.as_str()), (130, ""), "{outcome}");
    // Nobody could end it later.
    assert_eq!(sandbox.session_count("ada"), 0);
}
