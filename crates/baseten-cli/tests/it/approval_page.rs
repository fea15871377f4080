//! The sandbox's approval page, in a real browser that the program starts.

#![cfg(target_os = "linux")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use baseten_sandbox::{Config, Sandbox, User};
use baseten_testing::counterparts::{person_log, with_person};
use baseten_testing::home::{Home, WEB_LOGIN};
use baseten_testing::outcome::Outcome;
use baseten_testing::sandbox::sandbox_with;
use baseten_testing::wait;

/// If the script that acts as the user fails, the login expires soon enough to report it.
const SOON: fn(&mut Config) = |config| config.device_code_lifetime = Duration::from_secs(45);

/// The path of a screenshot, which is kept for people to look at.
fn picture(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("approval-page");
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join(name);
    let _ = fs::remove_file(&path);
    let _ = fs::remove_file(path.with_extension("png.after.png"));
    path
}

/// The width of a screenshot in pixels, once there is also a screenshot of the next page. Until
/// then the browser still needs the sandbox.
fn width(home: &Home, picture: &Path) -> u32 {
    let after = picture.with_extension("png.after.png");
    let is_whole = || fs::read(&after).is_ok_and(|bytes| bytes.ends_with(b"IEND\xae\x42\x60\x82"));
    assert!(wait::within(wait::PATIENCE, is_whole), "{}", person_log(home));
    let bytes = fs::read(picture).unwrap();
    assert!(bytes.starts_with(b"\x89PNG"));
    u32::from_be_bytes(bytes[16..20].try_into().unwrap())
}

fn person_logs_in(sandbox: &Sandbox, options: &str) -> (Home, Outcome) {
    let home = with_person(Home::at(sandbox), options);
    let outcome = home.run(WEB_LOGIN);
    (home, outcome)
}

#[test]
fn a_person_chooses_a_user_and_allows() {
    let sandbox = sandbox_with(SOON);
    let path = picture("light.png");
    let options = format!("--user Grace --screenshot {}", path.display());
    let (home, outcome) = person_logs_in(&sandbox, &options);
    assert_eq!(outcome.status, 0, "{outcome}\n{}", person_log(&home));
    let expected = "Logged in as grace@example.com (Compilers) as profile \
                    grace@example.com:localhost\n";
    assert_eq!(outcome.stdout, expected);
    assert_eq!(width(&home, &path), 2000);
}

#[test]
fn a_person_denies_in_dark_mode() {
    let sandbox = sandbox_with(SOON);
    let path = picture("dark.png");
    let options = format!("--deny --dark --screenshot {}", path.display());
    let (home, outcome) = person_logs_in(&sandbox, &options);
    assert_eq!(outcome.status, 3, "{outcome}\n{}", person_log(&home));
    let denied = "error: the login was denied in the browser\nhint: start again with: baseten auth login --web";
    assert!(outcome.stderr.contains(denied), "{outcome}");
    assert_eq!(home.store(), "");
    assert_eq!(width(&home, &path), 2000);
}

/// What has to be visible on a small phone when the page opens, besides both buttons: who asks, and
/// the chosen account.
fn phone() -> String {
    format!(
        "--size 320x640 --expect baseten-cli --expect {} --expect computer --expect Engines",
        std::env::consts::ARCH
    )
}

#[test]
fn the_page_fits_a_small_phone() {
    for (mode, name) in [("", "phone-light.png"), ("--dark", "phone-dark.png")] {
        let sandbox = sandbox_with(SOON);
        let path = picture(name);
        let options = format!("{} {mode} --screenshot {}", phone(), path.display());
        let (home, outcome) = person_logs_in(&sandbox, &options);
        assert_eq!(outcome.status, 0, "{outcome}\n{}", person_log(&home));
        assert_eq!(width(&home, &path), 640);
    }
}

#[test]
fn the_buttons_are_in_view_however_many_accounts_there_are() {
    let sandbox = sandbox_with(|config| {
        SOON(config);
        let ada = config.users[0].clone();
        config.users.extend((0..40).map(|n| User { id: format!("ada-{n}"), ..ada.clone() }));
    });
    let path = picture("many.png");
    let options = format!("{} --screenshot {}", phone(), path.display());
    let (home, outcome) = person_logs_in(&sandbox, &options);
    assert_eq!(outcome.status, 0, "{outcome}\n{}", person_log(&home));
    assert_eq!(width(&home, &path), 640);
}
