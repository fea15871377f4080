//! A request that cannot be undone is only sent if its answer can be stored.

#![cfg(target_os = "linux")]

use std::any::Any;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;
use std::process::Command;

use baseten_sandbox::Sandbox;
use baseten_testing::faults::{Mount, STRANGER, give, is_root, mode, run_as, set_mode, straced};
use baseten_testing::home::Home;
use baseten_testing::outcome::{Outcome, Running};
use baseten_testing::program::{baseten, find};
use baseten_testing::sandbox::sandbox;
use baseten_testing::stored::{
    current, in_file, name, names, read, session, store, tokens_of, with_key,
};

const REFRESH: [&str; 2] = ["auth", "token"];

/// Makes it impossible to store anything, until it is dropped.
type Fault = Box<dyn Any>;

/// A home whose current profile has a session that has to be refreshed, and a second profile.
fn home(sandbox: &Sandbox) -> Home {
    let home = Home::at(sandbox).with("BASETEN_CREDENTIAL_STORE", "file");
    fill(&home, sandbox);
    home
}

fn fill(home: &Home, sandbox: &Sandbox) {
    let remote = sandbox.remote_url();
    let old = in_file(&remote, &session(sandbox, "ada", -1));
    // All tests share the locks of profiles.
    home.write_store(&store([
        (name("session").as_str(), old),
        ("other", with_key(&remote, "key")),
    ]));
}

fn directory(home: &Home) -> &Path {
    // The returned fault needs the home to live on.
    Box::leak(home.auth_json().parent().unwrap().to_owned().into_boxed_path())
}

/// Every request that would change something at the server is refused, and the session stays valid.
fn assert_refused(sandbox: &Sandbox, home: &Home, reason: &str, run: impl Fn(&[&str]) -> Outcome) {
    let before = home.store();
    let requests = sandbox.requests().len();
    let logout = ["auth", "logout"];
    let login = ["auth", "login", "--web", "--insecure-storage"];
    for arguments in [&REFRESH[..], &logout, &login] {
        let outcome = run(arguments);
        let what = format!("{arguments:?}: {outcome}");
        assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""), "{what}");
        let error = outcome.stderr.lines().next().unwrap();
        assert!(error.starts_with("error: ") && error.contains("auth.json"), "{what}");
        assert!(error.contains(reason), "{what}");
        assert!(!error.contains(".auth.json."), "{what}");
        assert_eq!(home.store(), before, "{what}");
        assert_eq!(sandbox.requests().len(), requests, "{what}");
    }
}

fn assert_session_is_unharmed(sandbox: &Sandbox, home: &Home) {
    let token = home.run(&REFRESH).succeeded();
    assert!(sandbox.is_live(token.stdout.trim()), "{token}");
    assert_eq!(token.stderr, "");
    let name = current(home);
    let stored = tokens_of(home, name.as_str().unwrap());
    assert_eq!(stored["access_token"], token.stdout.trim());
}

fn refused_under(what: &str, reason: &str, spoil: impl Fn(&Home) -> Fault) {
    if !is_root(what) {
        return;
    }
    let sandbox = sandbox();
    let home = home(&sandbox);
    let fault = spoil(&home);
    assert_refused(&sandbox, &home, reason, |arguments| home.run(arguments));
    drop(fault);
    assert_session_is_unharmed(&sandbox, &home);
}

#[test]
fn a_read_only_disk() {
    refused_under("a read-only disk", "Read-only file system", |home| {
        Box::new(Mount::read_only(directory(home)))
    });
}

#[test]
fn a_link_into_a_read_only_directory() {
    refused_under("a read-only disk behind a link", "Read-only file system", |home| {
        let elsewhere = home.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::rename(home.auth_json(), elsewhere.join("auth.json")).unwrap();
        symlink(elsewhere.join("auth.json"), home.auth_json()).unwrap();
        Box::new(Mount::read_only(&elsewhere))
    });
}

#[test]
fn the_first_step_of_a_login_whose_second_step_could_not_be_taken() {
    if !is_root("a read-only disk") {
        return;
    }
    let sandbox = sandbox();
    let home = home(&sandbox);
    let elsewhere = home.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::rename(home.auth_json(), elsewhere.join("auth.json")).unwrap();
    symlink(elsewhere.join("auth.json"), home.auth_json()).unwrap();
    let first = ["auth", "login", "--web", "--no-wait", "--insecure-storage"];
    let read_only = Mount::read_only(directory(&home));
    let requests = sandbox.requests().len();
    let outcome = home.run(&first);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""), "{outcome}");
    assert!(outcome.stderr.contains("pending-login.json: Read-only file system"), "{outcome}");
    assert_eq!(sandbox.requests().len(), requests);
    // The store itself can be written.
    home.run(&["auth", "switch", "--profile", "other"]).succeeded();
    drop(read_only);
    home.run(&first).succeeded();
}

#[test]
fn a_disk_without_room_for_the_answer() {
    if !is_root("a full disk") {
        return;
    }
    let sandbox = sandbox();
    // Empty files still fit, or not even these.
    for (options, size) in [("size=64k", 64 * 1024), ("nr_inodes=8", 0)] {
        let home = Home::at(&sandbox).with("BASETEN_CREDENTIAL_STORE", "file");
        let _disk = Mount::disk(directory(&home), options);
        fill(&home, &sandbox);
        let fillers = (0..).map(|number| directory(&home).join(format!("filler-{number}")));
        let mut has_room = true;
        let fillers: Vec<_> = fillers
            .take_while(|path| {
                std::mem::replace(&mut has_room, fs::write(path, vec![0; size]).is_ok())
            })
            .collect();
        assert_refused(&sandbox, &home, "No space left on device", |arguments| home.run(arguments));
        for path in fillers {
            let _ = fs::remove_file(path);
        }
        assert_session_is_unharmed(&sandbox, &home);
    }
}

/// A file attribute that applies to root too, as long as this value lives.
struct Attribute(&'static str, std::path::PathBuf);

impl Attribute {
    fn set(attribute: &'static str, path: &Path) -> Self {
        let set = Command::new("chattr").arg(format!("+{attribute}")).arg(path).status().unwrap();
        assert!(set.success(), "chattr +{attribute}");
        Self(attribute, path.to_owned())
    }
}

impl Drop for Attribute {
    fn drop(&mut self) {
        let attribute = format!("-{}", self.0);
        let _ = Command::new("chattr").arg(attribute).arg(&self.1).status();
    }
}

#[test]
fn a_file_that_may_not_be_replaced() {
    refused_under("an immutable file", "Operation not permitted", |home| {
        Box::new(Attribute::set("i", &home.auth_json()))
    });
}

#[test]
fn a_directory_that_only_takes_new_files() {
    let what = "an append-only directory";
    refused_under(what, "Operation not permitted", |home| {
        Box::new(Attribute::set("a", directory(home)))
    });
}

#[test]
fn a_file_of_another_user_in_a_shared_directory_is_refused() {
    if !is_root("another user's file") {
        return;
    }
    let sandbox = sandbox();
    // In a directory where others may not remove it, and in one where they may.
    for permissions in [0o1777, 0o777] {
        let home = home(&sandbox);
        set_mode(&home.path().join(".config"), 0o755);
        set_mode(directory(&home), permissions);
        set_mode(&home.auth_json(), 0o666);
        assert_refused(&sandbox, &home, "it belongs to another user", |arguments| {
            run_as(STRANGER, &home, arguments, "")
        });
        // Its owner may replace it.
        home.run(&REFRESH).succeeded();
        assert_eq!(mode(&home.auth_json()), 0o600);
    }
}

#[test]
fn a_change_on_a_file_system_without_locks_is_refused() {
    let sandbox = sandbox();
    for errno in ["ENOLCK", "ENOSYS"] {
        let home = home(&sandbox);
        assert_refused(&sandbox, &home, "the file system does not lock it", |arguments| {
            // The locks of profiles are in another directory, which may be writable.
            let lock = format!("{}.lock", home.auth_json().display());
            let mut command = home.command_of(find("strace", "strace"), &[]);
            command
                .args(["-f", "-qq", "-o", "/dev/null", "-P", &lock, "-e", "trace=flock"])
                .arg(format!("--inject=flock:error={errno}"))
                .arg(baseten())
                .args(arguments);
            Running::with_input(&mut command, "").end()
        });
        assert_session_is_unharmed(&sandbox, &home);
    }
}

#[test]
fn a_lock_that_a_signal_disturbs_is_taken_all_the_same() {
    let sandbox = sandbox();
    let home = home(&sandbox);
    let outcome =
        straced(&home, "flock:error=EINTR:when=1", &["auth", "switch", "--profile", "other"], "");
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{outcome}");
}

#[test]
fn a_file_system_without_locks_is_reported() {
    let home = Home::with_store(&store([("other", with_key("https://app.baseten.co", "key"))]));
    let outcome =
        straced(&home, "flock:error=ENOLCK", &["auth", "switch", "--profile", "other"], "");
    baseten_testing::assert_outcome!(home, outcome);
}

#[test]
fn too_few_file_descriptors() {
    let sandbox = sandbox();
    let (mut kept, mut refused) = (0, 0);
    for limit in 3..32 {
        let home = home(&sandbox);
        let refreshes = sandbox.refresh_count();
        let script = format!("ulimit -n {limit}; exec \"$0\" auth token");
        let mut command = home.command_of("/bin/sh", &["-c", &script, baseten()]);
        let outcome = Running::start(&mut command).end();
        if outcome.status == 0 {
            assert_eq!(outcome.stderr, "", "{limit}: {outcome}");
            kept += 1;
        } else {
            assert_eq!(sandbox.refresh_count(), refreshes, "{limit}: {outcome}");
            refused += 1;
        }
        assert_session_is_unharmed(&sandbox, &home);
    }
    assert!(kept > 0 && refused > 0, "{kept} kept, {refused} refused");
}

/// A home that has a single file of the host as its store.
fn mounted(sandbox: &Sandbox) -> (Home, Mount) {
    let home = home(sandbox);
    let host = home.path().join("host.json");
    fs::rename(home.auth_json(), &host).unwrap();
    let mount = Mount::file(&host, &home.auth_json());
    (home, mount)
}

#[test]
fn a_mounted_file_is_refused_for_a_refresh() {
    if !is_root("a mounted file") {
        return;
    }
    let sandbox = sandbox();
    let (home, mount) = mounted(&sandbox);
    let before = home.store();
    let outcome = home.run(&REFRESH);
    assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""), "{outcome}");
    baseten_testing::assert_outcome!(home, outcome);
    assert_eq!((home.store(), sandbox.refresh_count()), (before, 0));
    drop(mount);
    // The same file, in its own directory.
    fs::rename(home.path().join("host.json"), home.auth_json()).unwrap();
    assert_session_is_unharmed(&sandbox, &home);
}

#[test]
fn a_mounted_file_is_written_in_place() {
    if !is_root("a mounted file") {
        return;
    }
    let sandbox = sandbox();
    let (home, _mount) = mounted(&sandbox);
    let host = home.path().join("host.json");
    let inode = fs::metadata(&host).unwrap().ino();
    // Longer, shorter, and about as long as before.
    home.log_in_with_key(&sandbox, "grace", "new");
    assert_eq!(current(&home), "new");
    assert_eq!(names(&home).len(), 3);
    home.run(&["auth", "logout", "--profile", "new"]).succeeded();
    home.run(&["auth", "switch", "--profile", "other"]).succeeded();
    assert_eq!(current(&home), "other");
    assert_eq!(names(&home).len(), 2);
    assert_eq!(fs::read_to_string(&host).unwrap(), home.store());
    assert!(home.store().ends_with("}\n"), "{}", home.store());
    assert_eq!((fs::metadata(&host).unwrap().ino(), mode(&host)), (inode, 0o600));
    // No temporary file is left of an attempted replacement.
    let left: Vec<_> = fs::read_dir(directory(&home)).unwrap().collect();
    assert!(left.iter().all(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name == "auth.json" || name == "locks"
    }));
}

#[test]
fn a_mounted_file_is_whole_at_every_moment() {
    if !is_root("a mounted file") {
        return;
    }
    let sandbox = sandbox();
    let (home, _mount) = mounted(&sandbox);
    home.log_in_with_key(&sandbox, "grace", "a-profile-that-makes-it-longer");
    let before = read(&home);
    // Killed after the new text was written, and before the file was truncated.
    let logout = ["auth", "logout", "--profile", "a-profile-that-makes-it-longer"];
    let outcome = straced(&home, "ftruncate:signal=KILL:when=1", &logout, "");
    assert_eq!(outcome.status, 137, "{outcome}");
    assert_eq!(names(&home).len(), before["profiles"].as_object().unwrap().len() - 1);
    assert_eq!(home.run(&["auth", "list"]).succeeded().stderr, "");
}

#[test]
fn a_mounted_file_on_a_full_disk_stays_as_it_is() {
    if !is_root("a mounted file on a full disk") {
        return;
    }
    let sandbox = sandbox();
    let home = home(&sandbox);
    let disk = home.path().join("disk");
    let _disk = Mount::disk(&disk, "size=64k");
    let host = disk.join("host.json");
    fs::copy(home.auth_json(), &host).unwrap();
    let _mount = Mount::file(&host, &home.auth_json());
    let _ = fs::write(disk.join("filler"), vec![0; 64 * 1024]);
    let before = home.store();
    let key = sandbox.api_key("ada").unwrap().repeat(200);
    let requests = sandbox.requests().len();
    let outcome = home.log_in(key, "new", &["--insecure-storage"]);
    assert_eq!(outcome.status, 1, "{outcome}");
    assert!(outcome.stderr.contains("No space left on device"), "{outcome}");
    assert_eq!((home.store(), sandbox.requests().len()), (before, requests));
}

#[test]
fn root_leaves_a_mounted_file_to_its_owner() {
    if !is_root("a mounted file of another user") {
        return;
    }
    let sandbox = sandbox();
    let (home, _mount) = mounted(&sandbox);
    give(&home.path().join("host.json"), STRANGER);
    home.run(&["auth", "switch", "--profile", "other"]).succeeded();
    assert_eq!(fs::metadata(home.auth_json()).unwrap().uid(), STRANGER);
}

mod slow_tests {
    use super::*;

    #[test]
    fn a_store_that_could_not_be_read_again() {
        let sandbox = sandbox();
        let home = Home::at(&sandbox).with("BASETEN_CREDENTIAL_STORE", "file");
        fill(&home, &sandbox);
        // Slightly smaller than the largest file that can be read.
        let text = home.store();
        let filler = " ".repeat(64 * 1024 * 1024 - 4096 - text.len());
        let large = text.replacen('{', &format!("{{\"filler\": \"{filler}\","), 1);
        home.write_store(&large);
        let requests = sandbox.requests().len();
        let outcome = home.run(&REFRESH);
        assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""), "{outcome}");
        baseten_testing::assert_outcome!(home, outcome);
        assert_eq!(sandbox.requests().len(), requests);
        assert!(home.store() == large, "it was written");
        // It can be read, and made smaller.
        home.run(&["auth", "logout", "--profile", "other"]).succeeded();
        assert_eq!(names(&home).len(), 1);
    }
}
