//! The commands to measure, and the stores that they read.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use fs_err as fs;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::engine::Engine;
use crate::demo::Sandbox;
use crate::measure::Invocation;
use crate::process::{Outcome, has_program, poll, spawn};

/// Another program to read the keyring with.
pub(super) const SECRET_TOOL: &str = "/usr/bin/secret-tool";

/// The static hello-world, beside the other programs.
pub(super) const STATIC_HELLO: &str = "hello-static";

/// One command to measure.
pub(super) struct Case {
    /// Its unique name in the table.
    pub(super) name: String,
    work: Work,
    before: Before,
    /// Whether it runs only in a few rounds.
    pub(super) slow: bool,
    /// Another project's program, in a language for which callgrind takes too long.
    pub(super) is_peer: bool,
}

enum Work {
    Command(Invocation),
    Parallel(Invocation, usize),
    /// A command, and how much of its time is a wait that the protocol requires.
    Waiting(Invocation, Duration),
    /// A file with this content, written as safely as the store.
    Write(PathBuf, Vec<u8>),
}

/// What is prepared before each run.
enum Before {
    Nothing,
    /// Nobody is logged in.
    Forget(PathBuf),
    /// Every token has expired.
    Expire(PathBuf),
}

impl Case {
    fn new(name: impl Into<String>, invocation: Invocation) -> Self {
        let work = Work::Command(invocation);
        Self { name: name.into(), work, before: Before::Nothing, slow: false, is_peer: false }
    }

    fn peer(name: &str, invocation: Invocation) -> Self {
        Self { is_peer: true, ..Self::new(name, invocation) }
    }

    /// One run.
    pub(super) fn wall(&self) -> Outcome<Duration> {
        self.before.prepare()?;
        match &self.work {
            Work::Command(invocation) => invocation.wall(),
            Work::Parallel(invocation, processes) => invocation.parallel(*processes),
            Work::Waiting(invocation, wait) => Ok(invocation.wall()?.saturating_sub(*wait)),
            Work::Write(path, content) => durable_write(path, content),
        }
    }

    /// A count for one run; `None` if it is not one process.
    pub(super) fn count(&self, count: fn(&Invocation) -> Outcome<u64>) -> Outcome<Option<u64>> {
        self.before.prepare()?;
        match &self.work {
            Work::Command(invocation) | Work::Waiting(invocation, _) => count(invocation).map(Some),
            Work::Parallel(..) | Work::Write(..) => Ok(None),
        }
    }
}

impl Before {
    fn prepare(&self) -> Outcome {
        match self {
            Self::Nothing => {}
            Self::Forget(home) => match fs::remove_file(home.join("auth.json")) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error)?,
                _ => {}
            },
            Self::Expire(home) => expire(&home.join("auth.json"))?,
        }
        Ok(())
    }
}

fn expire(path: &Path) -> Outcome {
    let mut store: Value = serde_json::from_str(&fs::read_to_string(path)?)?;
    let profiles = store.pointer_mut("/profiles").and_then(Value::as_object_mut);
    for profile in profiles.ok_or("nobody is logged in")?.values_mut() {
        profile["oauth_credential"]["expiry"] = "2020-01-01T00:00:00Z".into();
    }
    Ok(fs::write(path, store.to_string())?)
}

/// The minimum for changing the store: a temporary file, fsync, rename, fsync.
fn durable_write(path: &Path, content: &[u8]) -> Outcome<Duration> {
    let started = Instant::now();
    let directory = path.parent().ok_or("a file has a directory")?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    std::io::Write::write_all(&mut file, content)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    fs::File::open(directory)?.sync_all()?;
    Ok(started.elapsed())
}

/// The commands, and what must stay alive while they run.
pub(super) struct Cases {
    pub(super) list: Vec<Case>,
    /// The directory of the programs.
    programs: PathBuf,
    shipped: Option<PathBuf>,
    homes: Homes,
    /// The engine that they use.
    engine: Engine,
    _kept: (Sandbox, Lender),
}

/// Lends the login of a home, until this value is dropped.
struct Lender(Child);

impl Lender {
    fn start(program: &Path, homes: &Homes) -> Outcome<Self> {
        let socket = homes.socket();
        let serve = format!("auth serve -o none --socket {}", socket.display());
        let lender = Self(spawn(&mut homes.invocation(program, &serve, "one").command(&[]))?);
        poll(Duration::from_secs(10), || socket.exists().then_some(()))
            .ok_or("nothing listens at the socket of `auth serve`")?;
        Ok(lender)
    }
}

impl Drop for Lender {
    fn drop(&mut self) {
        // It may have already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Cases {
    /// Logs in where needed, and lists the commands.
    pub(super) fn prepare(programs: &Path, shipped: Option<&Path>) -> Outcome<Self> {
        let sandbox =
            Sandbox::start(&programs.join("baseten-sandbox"), &["--auto-approve", "ada"])?;
        let engine = Engine::start()?;
        let homes = Homes::new(&programs.join("baseten"), &sandbox, &engine)?;
        let lender = Lender::start(&programs.join("baseten"), &homes)?;
        let (programs, kept) = (programs.to_owned(), (sandbox, lender));
        let (list, shipped_yet) = (Vec::new(), None);
        let mut cases = Self { list, programs, shipped: shipped_yet, homes, engine, _kept: kept };
        cases.list.push(Case::new("hello-world", cases.hello()));
        cases.of_program(&cases.programs.join("baseten"), "");
        if let Some(shipped) = shipped {
            cases.shipped = Some(shipped.to_owned());
            cases.list.push(Case::new(format!("hello-world{STATIC}"), cases.static_hello()));
            cases.of_program(shipped, STATIC);
        }
        cases.counterparts()?;
        Ok(cases)
    }

    pub(super) fn hello(&self) -> Invocation {
        self.homes.invocation(&self.programs.join("hello"), "", "one")
    }

    fn static_hello(&self) -> Invocation {
        self.homes.invocation(&self.programs.join(STATIC_HELLO), "", "one")
    }

    pub(super) fn status(&self) -> Invocation {
        self.homes.invocation(&self.programs.join("baseten"), "auth status", "one")
    }

    /// Names and sizes of the programs.
    pub(super) fn sizes(&self) -> Outcome<Vec<(&'static str, u64)>> {
        let mut sizes = vec![
            ("hello-world", fs::metadata(self.programs.join("hello"))?.len()),
            ("baseten", fs::metadata(self.programs.join("baseten"))?.len()),
        ];
        if let Some(shipped) = &self.shipped {
            sizes.push(("baseten, static", fs::metadata(shipped)?.len()));
        }
        Ok(sizes)
    }

    fn of_program(&mut self, program: &Path, suffix: &str) {
        let command = |arguments, home| self.homes.invocation(program, arguments, home);
        let case = |name: &str, invocation| Case::new(format!("{name}{suffix}"), invocation);
        let status = "auth status";
        let completion = command("-- baseten auth status --profile user0000", "1000")
            .with("BASETEN_COMPLETE", "bash")
            .with("_CLAP_COMPLETE_INDEX", "4");
        let login =
            |arguments| command(arguments, "login").with("BASETEN_REMOTE_URL", &self.homes.remote);
        let mut api_key = login("auth login --with-api-key --profile bot --insecure-storage");
        api_key.input.clone_from(&self.homes.api_key);
        let browser = login("auth login --web --no-browser --insecure-storage");
        let nobody = || Before::Forget(self.homes.path("login"));
        let expired = Before::Expire(self.homes.path("expired"));
        let parallel = Work::Parallel(command("auth token", "expired"), 64);
        let mut cases = vec![
            case(STATUS, command(status, "one")),
            case("`auth status`, keyring profile", command(status, "keyring")),
            case(STATUS_JQ, command("auth status --jq .auth_type", "one")),
            case(STATUS_10_000, command(status, "10000")),
            case(LIST, command("auth list", "one")),
            case("`auth list`, 1,000 profiles", command("auth list", "1000")),
            case(LIST_10_000, command("auth list", "10000")),
            case(TOKEN, command("auth token", "one")),
            case(TOKEN_KEYRING, command("auth token", "keyring")),
            case(
                TOKEN_SOCKET,
                command("auth token", "nobody").with("BASETEN_AUTH_SOCK", self.homes.socket()),
            ),
            case(TOKEN_ENGINE, self.engine.used_by(command("auth token", "engine"))),
            case(EXEC, command("auth exec -- /bin/true", "one")),
            case(
                "`auth switch`, 1 profile",
                command("auth switch --profile user00000@example.com", "one"),
            ),
            case(SWITCH_10_000, command("auth switch --profile user00004@example.com", "10000")),
            case("completion of a profile, 1,000 profiles", completion),
            Case { before: nobody(), ..case("`auth login`, API key", api_key) },
        ];
        let waiting = Work::Waiting(browser.clone(), Duration::from_secs(1));
        let browser = case("`auth login`, browser, without its wait of 1 s", browser);
        cases.push(Case { before: nobody(), work: waiting, slow: true, ..browser });
        let together = case(PARALLEL, command("auth token", "expired"));
        cases.push(Case { before: expired, work: parallel, slow: true, ..together });
        self.list.append(&mut cases);
    }

    /// The programs to compare ours with, as far as they are installed.
    fn counterparts(&mut self) -> Outcome {
        let lookup = "lookup service baseten-profile username bot";
        let lookup = self.homes.invocation(Path::new(SECRET_TOOL), lookup, "one");
        self.list.push(Case::new(SECRET_TOOL_LOOKUP, lookup));
        let read =
            |program: &Path, arguments: &str| self.homes.invocation(program, arguments, "one");
        self.list.push(Case::new(CURL_ENGINE, self.engine.read(&self.homes.remote, read)));
        self.list.push(Case::new(TRUE, self.homes.invocation(Path::new("/bin/true"), "", "one")));
        let path = self.homes.path("10000").join("copy.json");
        let content = fs::read(self.homes.path("10000").join("auth.json"))?;
        let write = Case::new(WRITE_10_000, self.hello());
        self.list.push(Case { work: Work::Write(path, content), ..write });
        for (name, program, arguments, is_slow, fails) in PEERS {
            if !has_program(program) {
                println!("{program} is not installed: {name} is left out");
                continue;
            }
            let mut invocation = self.homes.invocation(Path::new(program), arguments, "one");
            invocation.fails = *fails;
            let invocation = invocation
                .with("GH_TOKEN", "gho_0123456789abcdefghijABCDEFGHIJ012345")
                .with("GH_NO_UPDATE_NOTIFIER", "1")
                .with("AWS_ACCESS_KEY_ID", "AKIA0123456789ABCDEF")
                .with("AWS_SECRET_ACCESS_KEY", "a-secret")
                .with("AWS_DEFAULT_REGION", "eu-west-1")
                .with("AWS_EC2_METADATA_DISABLED", "true");
            self.list.push(Case { slow: *is_slow, ..Case::peer(name, invocation) });
        }
        Ok(())
    }
}

pub(super) const STATIC: &str = " (static)";
pub(super) const HELLO: &str = "hello-world";
pub(super) const STATUS: &str = "`auth status`";
pub(super) const STATUS_JQ: &str = "`auth status --jq .auth_type`";
pub(super) const STATUS_10_000: &str = "`auth status`, 10,000 profiles";
pub(super) const LIST: &str = "`auth list`, 1 profile";
pub(super) const LIST_10_000: &str = "`auth list`, 10,000 profiles";
pub(super) const TOKEN: &str = "`auth token`";
pub(super) const TOKEN_KEYRING: &str = "`auth token`, from the keyring";
pub(super) const TOKEN_SOCKET: &str = "`auth token`, lent by `auth serve`";
pub(super) const TOKEN_ENGINE: &str = "`auth token`, from OpenBao";
pub(super) const CURL_ENGINE: &str = "`curl` of the same secret in OpenBao";
pub(super) const EXEC: &str = "`auth exec -- true`";
pub(super) const TRUE: &str = "`true`";
pub(super) const SWITCH_10_000: &str = "`auth switch`, 10,000 profiles";
pub(super) const PARALLEL: &str = "64 × `auth token` at once, expired";
pub(super) const SECRET_TOOL_LOOKUP: &str = "`secret-tool lookup`";
pub(super) const WRITE_10_000: &str = "one safe write of 10,000 profiles";

pub(super) const GH_STATUS: &str = "`gh auth status`, which asks its server";
pub(super) const GH_TOKEN: &str = "`gh auth token`";
pub(super) const AWS_LIST: &str = "`aws configure list`";

/// Name, program, arguments, whether it is slow, whether it fails in this setup.
const PEERS: &[(&str, &str, &str, bool, bool)] = &[
    // The token is made up: asking the server about it fails.
    (GH_STATUS, "/usr/bin/gh", "auth status", true, true),
    (GH_TOKEN, "/usr/bin/gh", "auth token", false, false),
    (AWS_LIST, "/usr/bin/aws", "configure list", true, false),
];

/// A directory with a subdirectory for each store.
struct Homes {
    directory: TempDir,
    remote: String,
    api_key: String,
    session: Vec<(&'static str, OsString)>,
}

impl Homes {
    fn new(program: &Path, sandbox: &Sandbox, engine: &Engine) -> Outcome<Self> {
        let session = ["DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR"];
        let session = session.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        let homes = Self {
            directory: tempfile::tempdir()?,
            remote: sandbox.remote.clone(),
            api_key: sandbox.api_key.clone(),
            session: session.collect(),
        };
        for (home, profiles) in [("one", 1), ("1000", 1_000), ("10000", 10_000)] {
            fs::create_dir(homes.path(home))?;
            fs::write(homes.path(home).join("auth.json"), store(profiles)?)?;
        }
        let login = |arguments, home| {
            let login = homes.invocation(program, arguments, home);
            login.with("BASETEN_REMOTE_URL", &homes.remote)
        };
        let mut keyring = login("auth login --with-api-key --profile bot", "keyring");
        keyring.input.clone_from(&homes.api_key);
        keyring.with("BASETEN_CREDENTIAL_STORE", "keyring").wall()?;
        let mut shared = login("auth login --with-api-key --profile bot", "engine");
        shared.input.clone_from(&homes.api_key);
        engine.used_by(shared).wall()?;
        login("auth login --web --no-browser --insecure-storage", "expired").wall()?;
        Ok(homes)
    }

    fn path(&self, home: &str) -> PathBuf {
        self.directory.path().join(home)
    }

    fn socket(&self) -> PathBuf {
        self.path("auth.sock")
    }

    fn invocation(&self, program: &Path, arguments: &str, home: &str) -> Invocation {
        let invocation = Invocation::new(program, arguments)
            .with("HOME", self.directory.path())
            .with("BASETEN_CONFIG_DIR", self.path(home));
        let session = self.session.iter();
        session.fold(invocation, |invocation, (name, value)| invocation.with(name, value))
    }
}

/// A realistic store: half the profiles are browser logins in the keyring, half are API keys in the
/// file. The first, which is current, has its tokens in the file.
pub(crate) fn store(profiles: usize) -> Outcome<String> {
    let profile = |number: usize| {
        let name = format!("user{number:05}@example.com");
        let mut profile = if number % 2 == 1 {
            json!({"remote_url": "https://app.baseten.co", "auth_type": "api_key",
                "api_key": "k".repeat(40)})
        } else {
            json!({"remote_url": "https://app.baseten.co", "auth_type": "oauth",
                "user_id": format!("user-{number:05}"), "email": name, "workspace_name": "Acme"})
        };
        if number == 0 {
            profile["oauth_credential"] = json!({"access_token": "a".repeat(40),
                "refresh_token": "r".repeat(40), "expiry": "2126-01-01T00:00:00Z"});
        }
        (name, profile)
    };
    let profiles: serde_json::Map<String, Value> = (0..profiles).map(profile).collect();
    let store = json!({"version": 1, "current": "user00000@example.com", "profiles": profiles});
    Ok(serde_json::to_string_pretty(&store)? + "\n")
}
