//! Root in somebody's home, directories that several users share, and links that lead elsewhere.

#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use baseten_testing::faults::{STRANGER, give, is_root, mode, run_as, set_mode};
use baseten_testing::home::Home;
use baseten_testing::outcome::Outcome;
use baseten_testing::sandbox::{approve, sandbox};
use baseten_testing::stored::{current, names, store, with_key};

const SWITCH: [&str; 4] = ["auth", "switch", "--profile", "other"];

fn two_profiles() -> String {
    let key = |key| with_key("https://app.baseten.co", key);
    store([("first", key("first-key")), ("other", key("other-key"))])
}

fn directory(home: &Home) -> PathBuf {
    home.auth_json().parent().unwrap().to_owned()
}

fn owner(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().uid()
}

/// Everything in a directory, and the directory.
fn all(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![path.to_owned()];
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            found.extend(all(&entry.unwrap().path()));
        }
    }
    found
}

/// A user's home, in which root works with `sudo -E`.
fn home_of_a_stranger() -> Home {
    let home = Home::new().with("BASETEN_CREDENTIAL_STORE", "file");
    give(home.path(), STRANGER);
    home
}

fn assert_all_are_the_strangers(home: &Home) {
    for path in all(&home.path().join(".config")) {
        assert_eq!(owner(&path), STRANGER, "{}", path.display());
    }
}

/// The user can use everything that root has created.
fn assert_usable(home: &Home) {
    let run = |arguments: &[&str], input: &str| -> Outcome {
        run_as(STRANGER, home, arguments, input).succeeded()
    };
    assert_eq!(run(&["auth", "list"], "").stderr, "");
    for name in names(home) {
        assert_eq!(run(&["auth", "switch", "--profile", &name], "").stderr, "");
        assert!(!run(&["auth", "token"], "").stdout.is_empty());
    }
    for name in names(home) {
        assert_eq!(run(&["auth", "logout", "--profile", &name], "").stderr, "");
    }
}

#[test]
fn files_of_a_first_login_as_root_belong_to_the_owner_of_the_home() {
    if !is_root("root in another user's home") {
        return;
    }
    let sandbox = sandbox();
    for config_is_there in [false, true] {
        let mut home = home_of_a_stranger();
        home.set("BASETEN_REMOTE_URL", sandbox.remote_url());
        if config_is_there {
            fs::create_dir(home.path().join(".config")).unwrap();
            give(&home.path().join(".config"), STRANGER);
        }
        home.log_in_with_key(&sandbox, "ada", "new");
        assert_all_are_the_strangers(&home);
        assert_usable(&home);
    }
}

#[test]
fn files_that_root_writes_belong_to_the_owner_of_the_home() {
    if !is_root("root in another user's home") {
        return;
    }
    let sandbox = sandbox();
    let mut home = home_of_a_stranger();
    home.set("BASETEN_REMOTE_URL", sandbox.remote_url());
    home.write_store(&two_profiles());
    give(&home.path().join(".config"), STRANGER);
    home.run(&SWITCH).succeeded();
    assert_all_are_the_strangers(&home);
    home.run(&["auth", "logout", "--profile", "other"]).succeeded();
    // And the file between the two steps of a login.
    let two_steps = ["auth", "login", "--web", "--no-wait", "--insecure-storage"];
    home.run(&two_steps).succeeded();
    assert_all_are_the_strangers(&home);
    let resumed = ["auth", "login", "--resume"];
    approve(&sandbox, "ada");
    run_as(STRANGER, &home, &resumed, "").succeeded();
    assert_usable(&home);
}

#[test]
fn a_file_keeps_its_owner_whoever_owns_its_directory() {
    if !is_root("another user's file") {
        return;
    }
    let home = Home::with_store(&two_profiles());
    chown(home.auth_json(), Some(STRANGER), Some(STRANGER)).unwrap();
    home.run(&SWITCH).succeeded();
    assert_eq!((owner(&home.auth_json()), mode(&home.auth_json())), (STRANGER, 0o600));
}

#[test]
fn a_file_that_root_left_in_our_directory_becomes_ours() {
    if !is_root("another user's file") {
        return;
    }
    let home = home_of_a_stranger();
    home.write_store(&two_profiles());
    give(&home.path().join(".config"), STRANGER);
    chown(home.auth_json(), Some(0), Some(0)).unwrap();
    set_mode(&home.auth_json(), 0o644);
    run_as(STRANGER, &home, &SWITCH, "").succeeded();
    assert_eq!((owner(&home.auth_json()), mode(&home.auth_json())), (STRANGER, 0o600));
}

#[test]
fn root_keeps_its_secret_where_a_directory_is_shared() {
    if !is_root("a directory of several users") {
        return;
    }
    let sandbox = sandbox();
    for permissions in [0o2775, 0o1777] {
        let home = Home::at(&sandbox);
        fs::create_dir_all(directory(&home)).unwrap();
        give(&directory(&home), STRANGER);
        set_mode(&directory(&home), permissions);
        home.log_in(sandbox.api_key("ada").unwrap(), "new", &["--insecure-storage"]).succeeded();
        assert_eq!((owner(&home.auth_json()), mode(&home.auth_json())), (0, 0o600));
        assert_eq!(mode(&directory(&home)), permissions);
    }
}

#[test]
fn a_link_in_place_of_a_lock_makes_no_file_elsewhere() {
    let home = Home::with_store(&two_profiles());
    let elsewhere = home.path().join("elsewhere");
    symlink(&elsewhere, directory(&home).join("auth.json.lock")).unwrap();
    let before = home.store();
    let outcome = home.run(&SWITCH);
    assert_eq!(outcome.status, 1, "{outcome}");
    // ELOOP; glibc and musl have different messages for it.
    assert!(
        outcome.stderr.contains("cannot lock") && outcome.stderr.contains("(os error 40)"),
        "{outcome}"
    );
    assert!(!elsewhere.exists(), "{outcome}");
    assert_eq!(home.store(), before);
}

#[test]
fn a_link_of_another_user_leads_root_only_to_files_of_that_user() {
    if !is_root("another user's link") {
        return;
    }
    let sandbox = sandbox();
    let mut home = home_of_a_stranger();
    home.set("BASETEN_REMOTE_URL", sandbox.remote_url());
    fs::create_dir_all(directory(&home)).unwrap();
    // Root's own, and the user's.
    let (closed, dotfiles) = (tempfile::tempdir().unwrap(), home.path().join("dotfiles"));
    fs::create_dir(&dotfiles).unwrap();
    symlink(closed.path().join("auth.json"), home.auth_json()).unwrap();
    for path in [&home.path().join(".config"), &dotfiles] {
        give(path, STRANGER);
    }
    let key = sandbox.api_key("ada").unwrap();
    let outcome = home.log_in(&key, "new", &["--insecure-storage"]);
    assert_eq!(outcome.status, 1, "{outcome}");
    assert!(outcome.stderr.contains("it is another user's link"), "{outcome}");
    assert_eq!(fs::read_dir(closed.path()).unwrap().count(), 0, "{outcome}");
    assert_eq!(sandbox.requests().len(), 0);

    fs::remove_file(home.auth_json()).unwrap();
    symlink(dotfiles.join("auth.json"), home.auth_json()).unwrap();
    give(&home.auth_json(), STRANGER);
    home.log_in(&key, "new", &["--insecure-storage"]).succeeded();
    for path in all(&dotfiles) {
        assert_eq!(owner(&path), STRANGER, "{}", path.display());
    }
    assert_usable(&home);
}

#[test]
fn only_a_directory_with_no_other_files_is_made_private() {
    // The other file in the directory, the directory's mode before, and after.
    for (other, before, after) in [
        (None, 0o755, 0o700),
        (Some("auth.json.lock"), 0o755, 0o700),
        (Some("pending-login.json"), 0o755, 0o700),
        (Some("locks"), 0o755, 0o700),
        (Some(".auth.json.left.tmp"), 0o755, 0o700),
        (Some("index.html"), 0o755, 0o755),
        (Some(".hidden"), 0o755, 0o755),
        (Some("index.html"), 0o2775, 0o2775),
        (None, 0o2775, 0o2775),
        (None, 0o1777, 0o1777),
    ] {
        let home = Home::with_store(&two_profiles());
        let directory = directory(&home);
        if let Some(name) = other {
            fs::write(directory.join(name), "").unwrap();
        }
        if other == Some("locks") {
            fs::remove_file(directory.join("locks")).unwrap();
            fs::create_dir(directory.join("locks")).unwrap();
        }
        set_mode(&directory, before);
        set_mode(&home.auth_json(), 0o644);
        home.run(&SWITCH).succeeded();
        let what = format!("{other:?} {before:o}");
        assert_eq!((mode(&directory), mode(&home.auth_json())), (after, 0o600), "{what}");
    }
}

#[test]
fn a_directory_of_ours_behind_a_link_stays_as_it_is() {
    let home = Home::new();
    let (elsewhere, target) = (home.path().join("shared"), home.path().join("shared/auth.json"));
    fs::create_dir_all(directory(&home)).unwrap();
    fs::create_dir(&elsewhere).unwrap();
    fs::write(&target, two_profiles()).unwrap();
    symlink(&target, home.auth_json()).unwrap();
    set_mode(&elsewhere, 0o755);
    home.run(&SWITCH).succeeded();
    assert_eq!((mode(&elsewhere), mode(&target)), (0o755, 0o600));
    assert_eq!(mode(&directory(&home)), 0o700);
}

#[test]
fn a_user_who_could_replace_the_file_is_reported() {
    if !is_root("a directory of several users") {
        return;
    }
    // The directory's mode, and its owner.
    for (permissions, user, is_told) in [
        (0o775, 0, false),
        (0o777, 0, true),
        (0o1777, 0, false),
        (0o775, STRANGER, true),
        (0o755, STRANGER, true),
    ] {
        let home = Home::with_store(&two_profiles());
        fs::write(directory(&home).join("another-program.json"), "").unwrap();
        chown(directory(&home), Some(user), Some(user)).unwrap();
        set_mode(&directory(&home), permissions);
        let outcome = home.run(&SWITCH).succeeded();
        assert_eq!(mode(&home.auth_json()), 0o600);
        let what = format!("{permissions:o} {user}: {outcome}");
        if is_told {
            assert!(outcome.stderr.starts_with("warning: other users can replace "), "{what}");
            assert!(outcome.stderr.contains(home.auth_json().to_str().unwrap()), "{what}");
            assert_eq!(outcome.stderr.lines().count(), 1, "{what}");
        } else {
            assert_eq!(outcome.stderr, "", "{what}");
        }
        assert_eq!(current(&home), "other");
    }
    // A group with other members.
    let home = Home::with_store(&two_profiles());
    fs::write(directory(&home).join("another-program.json"), "").unwrap();
    chown(directory(&home), None, Some(STRANGER)).unwrap();
    set_mode(&directory(&home), 0o2775);
    let outcome = home.run(&SWITCH).succeeded();
    baseten_testing::assert_outcome!(home, outcome);
}
