//! The program is killed, or the disk fails, at every system call that changes a file. What is
//! stored afterwards is the old state or the new one, and the next command works.

#![cfg(target_os = "linux")]

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;

use baseten_sandbox::Sandbox;
use baseten_testing::faults::{Mount, STRANGER, is_root, run_as, says_io_error, straced};
use baseten_testing::home::Home;
use baseten_testing::outcome::Outcome;
use baseten_testing::sandbox::{sandbox, sandbox_with};
use baseten_testing::stored::{in_file, session, store, tokens_of, with_key};
use serde_json::Value;

/// A command that changes the store.
#[derive(Clone, Copy)]
struct Operation {
    arguments: &'static [&'static str],
    /// If set, the store has an OAuth session named `session`, which expires in this many seconds.
    session: Option<i64>,
    /// Whether there is a store before the command.
    store: bool,
}

const KEY_LOGIN: &[&str] =
    &["auth", "login", "--with-api-key", "--insecure-storage", "--profile", "new"];

const FIRST_LOGIN: Operation = Operation { arguments: KEY_LOGIN, session: None, store: false };
const LOGIN: Operation = Operation { arguments: KEY_LOGIN, session: None, store: true };
const SWITCH: Operation =
    Operation { arguments: &["auth", "switch", "--profile", "second"], session: None, store: true };
const LOGOUT: Operation = Operation {
    arguments: &["auth", "logout", "--profile", "session"],
    session: Some(3600),
    store: true,
};
const REFRESH: Operation = Operation {
    arguments: &["auth", "token", "--profile", "session"],
    session: Some(-1),
    store: true,
};

impl Operation {
    /// A home before the command.
    fn home(&self, sandbox: &Sandbox) -> Home {
        // Other storages have their own tests.
        let home = Home::at(sandbox).with("BASETEN_CREDENTIAL_STORE", "file");
        if !self.store {
            return home;
        }
        let remote = sandbox.remote_url();
        let mut profiles = vec![
            ("first", with_key(&remote, "first-key")),
            ("second", with_key(&remote, "second-key")),
        ];
        if let Some(seconds) = self.session {
            let tokens = session(sandbox, "ada", seconds);
            profiles.push(("session", in_file(&remote, &tokens)));
        }
        home.write_store(&store(profiles));
        tighten(&home);
        home
    }

    fn run(&self, home: &Home, sandbox: &Sandbox, inject: &str) -> Outcome {
        straced(home, inject, self.arguments, &sandbox.api_key("ada").unwrap())
    }

    /// Whether the store is as the command leaves it.
    fn is_done(&self, home: &Home, sandbox: &Sandbox, done: &str) -> bool {
        if self.arguments == REFRESH.arguments {
            // The tokens differ every time.
            let access = tokens_of(home, "session")["access_token"].clone();
            let refresh = tokens_of(home, "session")["refresh_token"].clone();
            let live = |token: Value| sandbox.is_live(token.as_str().unwrap_or_default());
            return live(access) && live(refresh);
        }
        home.store() == done
    }
}

/// Sets the modes that this program sets.
fn tighten(home: &Home) {
    let directory = home.auth_json().parent().unwrap().to_owned();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(home.auth_json(), fs::Permissions::from_mode(0o600)).unwrap();
}

/// A system call of a trace: its name, its arguments, and its number among the calls of that name.
#[derive(Debug, Clone)]
struct Call {
    name: String,
    arguments: String,
    number: usize,
}

/// The main thread's system calls, in order.
fn trace(home: &Home) -> Vec<Call> {
    let text = fs::read_to_string(home.path().join("trace")).unwrap();
    let main = text.split_whitespace().next().unwrap().to_owned();
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let calls = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(&main)?.trim_start();
        let (name, arguments) = rest.split_once('(')?;
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return None;
        }
        let number = numbers.entry(name.to_owned()).or_default();
        *number += 1;
        Some(Call { name: name.to_owned(), arguments: arguments.to_owned(), number: *number })
    });
    calls.collect()
}

/// The calls that change a file or take a lock.
fn changes(calls: &[Call]) -> Vec<Call> {
    let changes = |call: &&Call| match call.name.as_str() {
        "open" | "openat" => call.arguments.contains("O_CREAT"),
        "write" => !call.arguments.starts_with("1<") && !call.arguments.starts_with("2<"),
        "fsync" | "fdatasync" | "rename" | "renameat" | "renameat2" | "unlink" | "unlinkat"
        | "chmod" | "fchmod" | "fchmodat" | "mkdir" | "mkdirat" | "flock" | "ftruncate"
        | "link" | "linkat" | "symlink" | "rmdir" => true,
        _ => false,
    };
    calls.iter().filter(changes).cloned().collect()
}

/// Checks that no other user can read the files, and, if asked, that no temporary file is left.
fn assert_private(home: &Home, and_tidy: bool, what: &str) {
    let directory = home.auth_json().parent().unwrap().to_owned();
    let Ok(entries) = fs::read_dir(&directory) else { return };
    assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o777, 0o700, "{what}");
    for entry in entries {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let mode = if name == "locks" { 0o700 } else { 0o600 };
        assert_eq!(entry.metadata().unwrap().mode() & 0o777, mode, "{what}: {name}");
        let ours = ["auth.json", "auth.json.lock", "locks"].contains(&name.as_str());
        assert!(ours || !and_tidy, "{what}: {name}");
    }
}

/// Runs the command without a fault, and returns the calls to disturb and the resulting store.
fn run_without_fault(operation: Operation, sandbox: &Sandbox) -> (Vec<Call>, String) {
    let home = operation.home(sandbox);
    let outcome = operation.run(&home, sandbox, "");
    assert_eq!(outcome.status, 0, "{outcome}");
    let calls = changes(&trace(&home));
    assert!(calls.iter().any(|call| call.name.starts_with("rename")), "{calls:?}");
    (calls, home.store())
}

fn kill_everywhere(operation: Operation) {
    let sandbox = sandbox();
    let (calls, done) = run_without_fault(operation, &sandbox);
    let (mut old, mut new) = (0, 0);
    for call in &calls {
        let what = format!("killed before {} {}({}", call.name, call.number, call.arguments);
        let home = operation.home(&sandbox);
        let before = home.store();
        let inject = format!("{}:signal=KILL:when={}", call.name, call.number);
        let outcome = operation.run(&home, &sandbox, &inject);
        if outcome.status == 0 && is_repeated(call) && same(call, trace(&home)).is_none() {
            continue;
        }
        assert_eq!(outcome.status, 137, "{what}: {outcome}");
        if home.store() == before {
            old += 1;
        } else {
            assert!(operation.is_done(&home, &sandbox, &done), "{what}: {}", home.store());
            new += 1;
        }
        assert_private(&home, false, &what);
        let list = home.run(&["auth", "list"]);
        assert_eq!(list.status, 0, "{what}: {list}");
        home.log_in_with_key(&sandbox, "grace", "next");
        assert_private(&home, true, &what);
    }
    // There are calls both before and after the rename.
    assert!(old >= 3 && new >= 1, "{old} old, {new} new");
}

#[test]
fn a_first_login_killed_anywhere_leaves_a_whole_store() {
    kill_everywhere(FIRST_LOGIN);
}

#[test]
fn a_login_killed_anywhere_leaves_a_whole_store() {
    kill_everywhere(LOGIN);
}

#[test]
fn a_switch_killed_anywhere_leaves_a_whole_store() {
    kill_everywhere(SWITCH);
}

#[test]
fn a_logout_killed_anywhere_leaves_a_whole_store() {
    kill_everywhere(LOGOUT);
}

#[test]
fn a_refresh_killed_anywhere_leaves_a_whole_store() {
    kill_everywhere(REFRESH);
}

/// Calls whose number varies: how often a lock file is opened and locked depends on other tests,
/// which use profiles of the same names.
fn is_repeated(call: &Call) -> bool {
    matches!(call.name.as_str(), "flock" | "open" | "openat") && call.number > 1
}

/// The same call in another run. It has another number if a lock was tried again.
fn same(call: &Call, others: Vec<Call>) -> Option<Call> {
    let same = |other: &Call| other.name == call.name && other.number == call.number;
    others.into_iter().find(same)
}

/// A profile has two locks, and one of them is enough.
fn is_of_a_profile_lock(call: &Call) -> bool {
    call.arguments.contains("/locks/") || call.arguments.contains("/baseten-auth-")
}

#[test]
fn a_disk_that_fails_anywhere_leaves_the_old_state_and_an_error() {
    let sandbox = sandbox();
    for operation in [FIRST_LOGIN, LOGIN, SWITCH, LOGOUT] {
        let (calls, done) = run_without_fault(operation, &sandbox);
        for call in calls {
            let home = operation.home(&sandbox);
            let before = home.store();
            let inject = format!("{}:error=EIO:when={}", call.name, call.number);
            let outcome = operation.run(&home, &sandbox, &inject);
            let what = format!("{inject} ({}: {outcome}", call.arguments);
            let Some(call) = same(&call, trace(&home)) else {
                assert!(outcome.status == 0 && is_repeated(&call), "{what}");
                continue;
            };
            let what = format!("{what} (in fact {}", call.arguments);
            if outcome.status == 0 {
                assert_eq!(home.store(), done, "{what}");
            } else {
                assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""), "{what}");
                assert!(says_io_error(&outcome.stderr), "{what}");
                assert_eq!(outcome.stderr.matches("error: ").count(), 1, "{what}");
                assert_eq!(home.store(), before, "{what}");
            }
            // An fsync of the directory may fail unnoticed. If a hard link can't be made, the file
            // is read under its own name.
            let harmless = ["fsync", "unlink", "unlinkat", "mkdir", "linkat"];
            let lenient = harmless.contains(&call.name.as_str())
                || is_of_a_profile_lock(&call)
                || changes(std::slice::from_ref(&call)).is_empty();
            assert!(outcome.status == 1 || lenient, "{what}");
            assert_private(&home, false, &what);
        }
    }
}

#[test]
fn a_file_is_on_the_disk_before_it_is_renamed() {
    let sandbox = sandbox();
    for operation in [FIRST_LOGIN, LOGIN, SWITCH, LOGOUT, REFRESH] {
        let home = operation.home(&sandbox);
        assert_eq!(operation.run(&home, &sandbox, "").status, 0);
        let calls = trace(&home);
        let target = format!("\"{}\"", home.auth_json().display());
        let at = |calls: &[Call], like: &dyn Fn(&Call) -> bool| calls.iter().rposition(like);
        let rename =
            at(&calls, &|call| call.name.starts_with("rename") && call.arguments.contains(&target));
        let (before, after) = calls.split_at(rename.unwrap());
        let open =
            at(before, &|call| call.name.starts_with("open") && call.arguments.contains("O_EXCL"));
        let written = &before[open.unwrap()..];
        assert!(written[0].arguments.contains("0600"), "{:?}", written[0]);
        let write = at(written, &|call| call.name == "write").unwrap();
        let fsync = at(written, &|call| call.name == "fsync").unwrap();
        assert!(write < fsync, "{written:?}");
        let (file, _) = written[write].arguments.split_once(',').unwrap();
        assert!(written[fsync].arguments.starts_with(file), "{written:?}");
        // The directory is synced after the rename.
        let directory = format!("\"{}\"", home.auth_json().parent().unwrap().display());
        let open = after
            .iter()
            .position(|call| call.name.starts_with("open") && call.arguments.contains(&directory));
        assert!(after[open.unwrap()..].iter().any(|call| call.name == "fsync"), "{after:?}");
    }
}

/// Checks that each command that changes the store fails, says why, and changes nothing.
fn assert_refused(home: &Home, sandbox: &Sandbox, reason: &str) {
    let before = home.store();
    let requests = sandbox.requests().len();
    for arguments in [
        KEY_LOGIN,
        &["auth", "login", "--web", "--insecure-storage"],
        &["auth", "switch", "--profile", "second"],
        &["auth", "logout", "--profile", "session"],
    ] {
        let outcome = home.run_with_input(arguments, sandbox.api_key("ada").unwrap());
        let what = format!("{arguments:?}: {outcome}");
        assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""), "{what}");
        assert!(outcome.stderr.starts_with("error: "), "{what}");
        assert!(outcome.stderr.lines().next().unwrap().contains(reason), "{what}");
        assert_eq!(outcome.stderr.lines().count(), 2, "{what}");
        assert_eq!(home.store(), before, "{what}");
    }
    assert_eq!(sandbox.requests().len(), requests, "{reason}");
}

#[test]
fn a_full_disk_is_reported_before_anything_is_done() {
    if !is_root("a full disk") {
        return;
    }
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let directory = home.auth_json().parent().unwrap().to_owned();
    let _mount = Mount::tiny(&directory);
    home.write_store(&LOGOUT.home(&sandbox).store());
    let _ = fs::write(directory.join("filler"), vec![0; 64 * 1024]);
    // Whether an empty file still fits or not, the disk is full.
    assert_refused(&home, &sandbox, "No space left on device");
}

#[test]
fn a_read_only_disk_is_reported_before_anything_is_done_and_can_be_read() {
    if !is_root("a read-only disk") {
        return;
    }
    let sandbox = sandbox();
    let home = LOGOUT.home(&sandbox);
    let _mount = Mount::read_only(home.auth_json().parent().unwrap());
    assert_refused(&home, &sandbox, "Read-only file system");
    for arguments in [
        &["auth", "status"][..],
        &["auth", "list"],
        &["auth", "token", "--profile", "session"],
        &["whoami", "--profile", "session"],
    ] {
        let outcome = home.run(arguments);
        assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{outcome}");
    }
}

#[test]
fn a_directory_of_another_user_is_reported_before_anything_is_done() {
    if !is_root("another user's directory") {
        return;
    }
    let sandbox = sandbox();
    // A directory that everybody can read, and one that only its owner can read.
    for (mode, action) in [(0o755, "lock"), (0o700, "read")] {
        let home = LOGOUT.home(&sandbox);
        for path in [home.path().join(".config"), home.auth_json().parent().unwrap().to_owned()] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::set_permissions(home.auth_json(), fs::Permissions::from_mode(0o644)).unwrap();
        let before = home.store();
        let requests = sandbox.requests().len();
        for arguments in
            [KEY_LOGIN, SWITCH.arguments, LOGOUT.arguments, &["auth", "login", "--web"]]
        {
            let key = sandbox.api_key("ada").unwrap();
            let outcome = run_as(STRANGER, &home, arguments, &key);
            let what = format!("{mode:o} {arguments:?}: {outcome}");
            assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""), "{what}");
            let error = outcome.stderr.lines().next().unwrap();
            assert!(error.starts_with("error: cannot "), "{what}");
            assert!(error.contains("Permission denied"), "{action} {what}");
            assert!(error.contains(home.path().to_str().unwrap()), "{what}");
            assert!(outcome.stderr.contains("\nhint: check the "), "{what}");
            assert_eq!(home.store(), before);
        }
        assert_eq!(sandbox.requests().len(), requests);
    }
    let _ = fs::remove_dir_all(format!("/tmp/baseten-auth-{STRANGER}"));
}

#[test]
fn a_home_that_is_missing_or_not_a_directory_is_reported_before_anything_is_done() {
    let sandbox = sandbox();
    let mut home = Home::at(&sandbox);
    home.unset("HOME");
    let outcome = home.run_with_input(KEY_LOGIN, sandbox.api_key("ada").unwrap());
    baseten_testing::assert_outcome!(home, outcome);
    assert_eq!(outcome.status, 1);

    fs::write(home.path().join("file"), "").unwrap();
    home.set("HOME", home.path().join("file").to_str().unwrap());
    let outcome = home.run_with_input(KEY_LOGIN, sandbox.api_key("ada").unwrap());
    baseten_testing::assert_outcome!(home, outcome);
    assert_eq!(outcome.status, 1);
    assert_eq!(sandbox.requests().len(), 0);
}

#[test]
fn a_token_of_a_killed_login_is_not_left_readable() {
    // Before its rename, the temporary file has the secret. No other user can read it, and the next
    // change removes it.
    let sandbox = sandbox_with(|_| ());
    let home = LOGIN.home(&sandbox);
    let outcome = LOGIN.run(&home, &sandbox, "renameat2:signal=KILL:when=1");
    assert_eq!(outcome.status, 137, "{outcome}");
    let directory = home.auth_json().parent().unwrap().to_owned();
    let left = || {
        let entries = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|it| it == "tmp")).collect::<Vec<_>>()
    };
    let key = sandbox.api_key("ada").unwrap();
    assert!(fs::read_to_string(&left()[0]).unwrap().contains(&key), "the test is of use");
    assert_private(&home, false, "left");
    assert_eq!(home.run(&["auth", "switch", "--profile", "second"]).status, 0);
    assert_eq!(left(), Vec::<PathBuf>::new());
}
