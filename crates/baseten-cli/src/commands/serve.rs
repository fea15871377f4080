//! `baseten auth serve`: lends access tokens over a socket until it is stopped.

use schemars::JsonSchema;
use serde::Serialize;

use crate::args::options::ServeArgs;
use crate::error::CliError;
use crate::exit::Exit;
use crate::host::Host;

/// The JSON that says that the lender is ready.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ReadyRecord {
    /// Where it listens.
    socket: String,
    /// What it lends.
    profiles: Vec<String>,
}

/// The JSON of a token that was handed out.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct GrantRecord {
    /// When.
    #[schemars(extend("format" = "date-time"))]
    time: String,
    /// The user who asked.
    uid: u32,
    /// The process that asked, if the system says which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    /// The profile; empty if the lender uses `BASETEN_API_KEY` or `BASETEN_TRUST_RULE`.
    profile: String,
    /// When the token ends, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    expires_at: Option<String>,
}

#[cfg(unix)]
pub(crate) use on_unix::run;

#[cfg(not(unix))]
pub(crate) fn run(_: &ServeArgs, _: &Host) -> Result<Exit, CliError> {
    Err(baseten_auth::Error::from(baseten_auth::internal::LendError::NoSockets).into())
}

#[cfg(unix)]
mod on_unix {
    use std::sync::mpsc::{self, Sender, SyncSender};
    use std::time::Duration;

    use baseten_auth::Error;
    use baseten_auth::internal::{
        Complaint, LendError, Lender, Lending, Offer, Peer, Socket, Stop, plain_text,
    };

    use super::{CliError, Exit, GrantRecord, Host, ReadyRecord, ServeArgs};
    use crate::args::options::{LogFormat, MinTtl};
    use crate::explanation::Explanation;
    use crate::json;
    use crate::render::{line, talk};
    use crate::terminal::window;
    use crate::text::sanitize;

    pub(crate) fn run(args: &ServeArgs, host: &Host) -> Result<Exit, CliError> {
        let context = host.context();
        let format = args.output.unwrap_or(LogFormat::Text);
        let offer = match args.profile.as_slice() {
            _ if args.all => Offer::All,
            [] => Offer::Selected,
            names => Offer::Named(names.to_vec()),
        };
        let printer = Printer::start();
        let lines = printer.clone();
        let log = move |lending: &Lending<'_>| lines.print(told(format, lending));
        let lender = Lender::new(context, offer, explain, log)?
            .allowing(&args.allow_uid)
            .with_max_ttl(args.max_ttl.map(|MinTtl(most)| most.max(MinTtl::LEAST)));
        // Fails now, and not at the first request, if the store cannot be read.
        let profiles = lender.names()?;
        let socket = listen(args, host)?;
        let failed = |source| {
            CliError::from(Error::from(LendError::Bind {
                socket: socket.path().to_owned(),
                source,
            }))
        };
        let stop = Stop::new().map_err(failed)?;
        let stopped = stop.clone();
        host.interrupt().stop_with(window::has_terminal(), move || stopped.stop());
        printer.print(ready(format, &socket, profiles));
        // It does not matter if nobody listens for this.
        #[cfg(target_os = "linux")]
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        lender.run(&socket, &stop).map_err(failed)?;
        printer.finish();
        wait_for_refreshes(host);
        Ok(Exit::Done)
    }

    /// The socket that was asked for, or else the one handed over, or else the default one.
    fn listen(args: &ServeArgs, host: &Host) -> Result<Socket, CliError> {
        let context = host.context();
        let path = match &args.socket {
            // Clients may run in another directory.
            Some(path) => std::path::absolute(path).unwrap_or_else(|_| path.clone()),
            None => match Socket::handed_over()? {
                Some(socket) => return Ok(socket),
                None => Socket::default_path(context)?,
            },
        };
        Ok(Socket::bind(&path, !args.allow_uid.is_empty(), context.wait())?)
    }

    /// What is printed when clients can connect.
    fn ready(format: LogFormat, socket: &Socket, profiles: Vec<String>) -> Option<Line> {
        let socket = socket.path().display().to_string();
        match format {
            LogFormat::Text => {
                let lent = if profiles.is_empty() {
                    "nothing yet: nobody is logged in".to_owned()
                } else {
                    profiles.iter().map(|name| shown(name)).collect::<Vec<_>>().join(", ")
                };
                Some(Line::Talk(format!("Lending {lent} at {}", plain_text(&socket))))
            }
            LogFormat::Jsonl => data(&ReadyRecord { socket, profiles }),
            LogFormat::None => None,
        }
    }

    /// Waits for refreshes in progress, even if their clients no longer wait. No new one begins.
    fn wait_for_refreshes(host: &Host) {
        let (done, released) = std::sync::mpsc::channel();
        let cancel = host.interrupt().cancel();
        cancel.cancel();
        cancel.when_released(move || {
            let _ = done.send(());
        });
        let _ = released.recv();
    }

    /// What is printed for an event.
    fn told(format: LogFormat, lending: &Lending<'_>) -> Option<Line> {
        match lending {
            _ if format == LogFormat::None => None,
            Lending::Granted { time, peer, profile, expires_at } if format == LogFormat::Text => {
                let end = expires_at.map(|end| format!(", until {end:.0}")).unwrap_or_default();
                let (client, profile) = (client(*peer), shown(profile));
                Some(Line::Talk(format!("{time:.0} {client} got a token of {profile}{end}")))
            }
            Lending::Granted { time, peer: Peer { uid, pid }, profile, expires_at } => {
                data(&GrantRecord {
                    time: time.to_string(),
                    uid: *uid,
                    pid: *pid,
                    profile: (*profile).to_owned(),
                    expires_at: expires_at.map(|end| end.to_string()),
                })
            }
            Lending::Failed { peer, complaint } => {
                let (client, why) = (client(*peer), sanitize(&complaint.message));
                Some(Line::Talk(format!("{client} got none: {why}")))
            }
        }
    }

    fn client(Peer { uid, pid }: Peer) -> String {
        let process = pid.map(|pid| format!("process {pid} of ")).unwrap_or_default();
        format!("{process}user {uid}")
    }

    fn shown(profile: &str) -> String {
        if profile.is_empty() {
            "the credential of the environment".to_owned()
        } else {
            format!("profile '{}'", plain_text(profile))
        }
    }

    /// A record as a line of JSON. Texts and numbers can always be written.
    fn data(record: &impl serde::Serialize) -> Option<Line> {
        serde_json::to_value(record).ok().map(|value| Line::Data(json::one_line(&value)))
    }

    /// Something to print.
    enum Line {
        /// For a program, on stdout.
        Data(String),
        /// For people, on stderr.
        Talk(String),
        /// Prints nothing: says that everything before it was printed.
        End(Sender<()>),
    }

    /// Prints on a thread of its own, so that a slow reader does not keep clients waiting. If the
    /// reader is more than [`Printer::QUEUE`] lines behind, further lines are left out.
    #[derive(Clone)]
    struct Printer(SyncSender<Line>);

    impl Printer {
        const QUEUE: usize = 1024;
        const END_LIMIT: Duration = Duration::from_secs(1);

        fn start() -> Self {
            let (sender, lines) = mpsc::sync_channel(Self::QUEUE);
            // Without a thread, nothing is printed.
            let _ = std::thread::Builder::new().spawn(move || lines.iter().for_each(Line::print));
            Self(sender)
        }

        fn print(&self, line: Option<Line>) {
            let _ = line.map(|line| self.0.try_send(line));
        }

        fn finish(&self) {
            let (printed, end) = mpsc::channel();
            if self.0.try_send(Line::End(printed)).is_ok() {
                let _ = end.recv_timeout(Self::END_LIMIT);
            }
        }
    }

    impl Line {
        fn print(self) {
            match self {
                Self::Data(text) => line(&text),
                Self::Talk(text) => talk(&text),
                Self::End(printed) => drop(printed),
            }
        }
    }

    /// Explains an error as a command here would.
    fn explain(error: &Error) -> Complaint {
        let Explanation { exit, message, hint } = Explanation::of_error(error);
        Complaint { exit: exit as u8, message, hint }
    }
}
