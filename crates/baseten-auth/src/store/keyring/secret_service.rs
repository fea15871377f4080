//! The Secret Service of the session bus (freedesktop.org Secret Service API 0.2).
//! We send the messages ourselves, over libdbus: the deadline is the time limit of each, and none
//! makes the bus start a service that isn't running.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use dbus::arg::{AppendAll, PropMap, ReadAll, RefArg, Variant, prop_cast};
use dbus::channel::Channel;
use dbus::strings::Path;
use dbus::{Error, Message};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use super::{SERVICE, entry_from};
use crate::env::Env;
use crate::event::Event;
use crate::store::budget::Call;
use crate::store::entry::Entry;
use crate::store::error::{Cause, PlaceError};
use crate::wait::SLICE;

const BUS: &str = "org.freedesktop.DBus";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const SECRETS: &str = "org.freedesktop.secrets";
const SERVICE_INTERFACE: &str = "org.freedesktop.Secret.Service";
const COLLECTION_INTERFACE: &str = "org.freedesktop.Secret.Collection";
const ITEM_INTERFACE: &str = "org.freedesktop.Secret.Item";
const PROMPT_INTERFACE: &str = "org.freedesktop.Secret.Prompt";
const SERVICE_PATH: &str = "/org/freedesktop/secrets";

/// The collection that desktops unlock at login, and that other programs prefer as well.
const LOGIN_COLLECTION: &str = "/org/freedesktop/secrets/collection/login";

/// Nobody has seen a prompt that was dismissed sooner than this: without a display, the service
/// dismisses it by itself.
const FASTER_THAN_PEOPLE: Duration = Duration::from_secs(1);

/// libdbus counts whole milliseconds. Without one more, it would give up just before the deadline,
/// and a slow service would look like a dead one.
const ROUNDING: Duration = Duration::from_millis(1);

/// The characters that need no escape in the value of an address (D-Bus specification, "Server
/// Addresses").
const ADDRESS_VALUE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'/')
    .remove(b'\\')
    .remove(b'.')
    .remove(b'*');

/// One more than the largest file descriptor that libdbus can wait for, as `libdbus-sys` builds it:
/// with `select`, which writes beyond its buffers for any other (`FD_SETSIZE`).
const DESCRIPTORS: RawFd = 1024;

type ObjectPath = Path<'static>;

pub(super) struct Backend {
    address: Option<OsString>,
    runtime_directory: Option<PathBuf>,
    service: Option<Service>,
}

impl Backend {
    pub(super) fn new(env: &Env) -> Self {
        Self {
            address: env.os("DBUS_SESSION_BUS_ADDRESS").map(ToOwned::to_owned),
            runtime_directory: env.path("XDG_RUNTIME_DIR"),
            service: None,
        }
    }

    /// Fails if there is no bus.
    pub(super) fn check(&self) -> Result<(), PlaceError> {
        self.connect().map(drop)
    }

    pub(super) fn get(&mut self, profile: &str, call: &Call) -> Result<Option<Entry>, PlaceError> {
        self.service(call)?.get(profile, call)
    }

    pub(super) fn set(
        &mut self,
        profile: &str,
        entry: &Entry,
        call: &Call,
    ) -> Result<(), PlaceError> {
        self.service(call)?.set(profile, entry, call)
    }

    pub(super) fn remove(&mut self, profile: &str, call: &Call) -> Result<(), PlaceError> {
        self.service(call)?.remove(profile, call)
    }

    fn service(&mut self, call: &Call) -> Result<&mut Service, PlaceError> {
        let service = match self.service.take() {
            Some(service) => service,
            None => Service::register(self.connect()?, call)?,
        };
        Ok(self.service.insert(service))
    }

    /// Connects to the session bus: to the first of its addresses where this user listens. Nothing
    /// is sent yet.
    fn connect(&self) -> Result<Channel, PlaceError> {
        let addresses = match (&self.address, &self.runtime_directory) {
            (Some(addresses), _) => addresses.to_str().map(ToOwned::to_owned),
            (None, Some(directory)) => bus_of_login_session(directory),
            (None, None) => None,
        };
        let mut reason = not_available("there is no D-Bus session bus");
        for address in sockets(addresses.as_deref().unwrap_or_default()) {
            match open(address) {
                Ok(channel) => return Ok(channel),
                Err(error) => reason = error,
            }
        }
        Err(reason)
    }
}

/// The addresses in a list that are sockets on this machine, where we can see who listens. The
/// others lead to an unknown peer (`tcp`), or have libdbus start a program (`autolaunch`,
/// `unixexec`).
fn sockets(addresses: &str) -> impl Iterator<Item = &str> {
    addresses.split(';').filter(|address| address.starts_with("unix:"))
}

/// The bus of the user's login session, if there is one.
fn bus_of_login_session(runtime_directory: &std::path::Path) -> Option<String> {
    let socket = runtime_directory.join("bus");
    let path = percent_encode(socket.as_os_str().as_bytes(), ADDRESS_VALUE);
    socket.exists().then(|| format!("unix:path={path}"))
}

/// Connects to a socket and checks who listens there: if the address is out of date, or in a
/// directory that everybody can write to, it may be another user.
fn open(address: &str) -> Result<Channel, PlaceError> {
    let mut channel = Channel::open_private(address).map_err(not_available)?;
    channel.set_watch_enabled(true);
    let socket = channel.watch().fd;
    channel.set_watch_enabled(false);
    if socket >= DESCRIPTORS {
        return Err(not_available("too many files are open: it can be used with at most 1,000"));
    }
    let listener = peer(socket).map_err(not_available)?;
    if listener == rustix::process::geteuid().as_raw() {
        Ok(channel)
    } else {
        Err(not_available("the D-Bus session bus is another user's"))
    }
}

/// The user at the other end of a socket. libdbus gives us only its number.
#[cfg(target_os = "linux")]
fn peer(socket: RawFd) -> Result<u32, Cause> {
    let socket = filedescriptor::OwnedHandle::dup(&socket)?;
    Ok(rustix::net::sockopt::socket_peercred(socket)?.uid.as_raw())
}

#[cfg(not(target_os = "linux"))]
fn peer(_socket: RawFd) -> Result<u32, Cause> {
    Err("this system does not say whose the D-Bus session bus is".into())
}

/// A connection to the service.
struct Service {
    channel: Channel,
    /// The session for transferring secrets, once it is open.
    session: Option<ObjectPath>,
}

/// The items of a profile.
struct Found {
    unlocked: Vec<ObjectPath>,
    locked: Vec<ObjectPath>,
}

/// The collection that new items go to.
struct Collection {
    path: ObjectPath,
    locked: bool,
    empty: bool,
}

/// Why a message has no answer.
enum Unanswered {
    /// The object that it was sent to does not exist, or no longer.
    NoSuchObject(Error),
    Other(PlaceError),
}

impl From<Unanswered> for PlaceError {
    fn from(reason: Unanswered) -> Self {
        match reason {
            Unanswered::NoSuchObject(error) => Self::failed(error),
            Unanswered::Other(error) => error,
        }
    }
}

impl Service {
    fn register(mut channel: Channel, call: &Call) -> Result<Self, PlaceError> {
        channel.register().map_err(not_available)?;
        call.remaining()?;
        Ok(Self { channel, session: None })
    }

    fn get(&mut self, profile: &str, call: &Call) -> Result<Option<Entry>, PlaceError> {
        let mut found = self.find(profile, call)?;
        if found.unlocked.is_empty() && !found.locked.is_empty() {
            self.unlock(&found.locked, call)?;
            found.unlocked = found.locked;
        }
        let Some(item) = self.preferred(&found.unlocked, call)? else { return Ok(None) };
        let session = self.session(call)?;
        let answer = match self.send(call, SECRETS, &item, ITEM_INTERFACE, "GetSecret", (session,))
        {
            Ok(answer) => answer,
            // Somebody has removed it since it was found.
            Err(Unanswered::NoSuchObject(_)) => return Ok(None),
            Err(Unanswered::Other(error)) => return Err(error),
        };
        // The session, parameters of its encryption, the secret, and its content type.
        let (_, _, bytes, _): (Path<'_>, &[u8], &[u8], &str) =
            answer.read1().map_err(PlaceError::failed)?;
        Ok(Some(entry_from(bytes.to_vec())))
    }

    fn set(&mut self, profile: &str, entry: &Entry, call: &Call) -> Result<(), PlaceError> {
        let collection = self.collection(call)?;
        if let Some(collection) = &collection
            && collection.locked
        {
            self.unlock(std::slice::from_ref(&collection.path), call)?;
        }
        let items = self.unlocked_items(profile, call)?;
        let session = self.session(call)?;
        let Some(kept) = self.preferred(&items, call)? else {
            let collection = collection.ok_or_else(|| not_available("it has no collection"))?;
            return self.create(profile, entry, session, &collection.path, call);
        };
        call.begin_change()?;
        let value = value(session, entry);
        self.ask::<()>(call, &kept, ITEM_INTERFACE, "SetSecret", (value,))?;
        let others: Vec<_> = items.into_iter().filter(|item| *item != kept).collect();
        self.delete(&others, call)
    }

    fn remove(&mut self, profile: &str, call: &Call) -> Result<(), PlaceError> {
        let found = self.find(profile, call)?;
        if found.unlocked.is_empty() && found.locked.is_empty() {
            return Ok(());
        }
        let items = self.unlocked_items(profile, call)?;
        call.begin_change()?;
        self.delete(&items, call)
    }

    /// Finds the items of a profile. Some services hide the items of a locked collection: there,
    /// "none" means nothing until it is unlocked.
    fn find(&self, profile: &str, call: &Call) -> Result<Found, PlaceError> {
        let found = self.search(profile, call)?;
        if !found.unlocked.is_empty() || !found.locked.is_empty() {
            return Ok(found);
        }
        match self.collection(call)? {
            Some(collection) if collection.locked && collection.empty => {
                self.unlock(&[collection.path], call)?;
                self.search(profile, call)
            }
            _ => Ok(found),
        }
    }

    /// All items of a profile, after unlocking the locked ones.
    fn unlocked_items(&self, profile: &str, call: &Call) -> Result<Vec<ObjectPath>, PlaceError> {
        let Found { mut unlocked, locked } = self.search(profile, call)?;
        if !locked.is_empty() {
            self.unlock(&locked, call)?;
            unlocked.extend(locked);
        }
        Ok(unlocked)
    }

    fn search(&self, profile: &str, call: &Call) -> Result<Found, PlaceError> {
        if !call.may_prompt() && self.would_ask_before_a_search(call)? {
            return Err(PlaceError::Locked);
        }
        let attributes = HashMap::from([("service", SERVICE), ("username", profile)]);
        let (unlocked, locked) =
            self.ask(call, &service_path(), SERVICE_INTERFACE, "SearchItems", (attributes,))?;
        Ok(Found { unlocked, locked })
    }

    /// Whether even a search may open a window: `KeePassXC` does so if it is locked, and answers
    /// once the window is closed. GNOME's `login` can be searched while it is locked.
    fn would_ask_before_a_search(&self, call: &Call) -> Result<bool, PlaceError> {
        let collection = self.collection(call)?;
        Ok(collection
            .is_some_and(|collection| collection.locked && *collection.path != *LOGIN_COLLECTION))
    }

    /// The item to read or to write. If there are several, one in the collection that new ones go
    /// to.
    fn preferred(
        &self,
        items: &[ObjectPath],
        call: &Call,
    ) -> Result<Option<ObjectPath>, PlaceError> {
        let collection = if items.len() > 1 { self.collection(call)? } else { None };
        let inside = |item: &&ObjectPath| {
            collection.as_ref().is_some_and(|collection| {
                item.strip_prefix(&*collection.path).is_some_and(|rest| rest.starts_with('/'))
            })
        };
        Ok(items.iter().find(inside).or(items.first()).cloned())
    }

    /// The login collection, or else the default one.
    fn collection(&self, call: &Call) -> Result<Option<Collection>, PlaceError> {
        if let Some(collection) = self.describe(Path::from(LOGIN_COLLECTION), call)? {
            return Ok(Some(collection));
        }
        let alias = ("default",);
        let (path,): (ObjectPath,) =
            self.ask(call, &service_path(), SERVICE_INTERFACE, "ReadAlias", alias)?;
        if is_none(&path) { Ok(None) } else { self.describe(path, call) }
    }

    fn describe(&self, path: ObjectPath, call: &Call) -> Result<Option<Collection>, PlaceError> {
        let interface = (COLLECTION_INTERFACE,);
        match self.ask::<(PropMap,)>(call, &path, PROPERTIES, "GetAll", interface) {
            Ok((properties,)) => {
                let locked = prop_cast::<bool>(&properties, "Locked").copied().unwrap_or_default();
                let items = prop_cast::<Vec<ObjectPath>>(&properties, "Items");
                Ok(Some(Collection { path, locked, empty: items.is_none_or(Vec::is_empty) }))
            }
            Err(Unanswered::NoSuchObject(_)) => Ok(None),
            Err(Unanswered::Other(error)) => Err(error),
        }
    }

    fn create(
        &self,
        profile: &str,
        entry: &Entry,
        session: ObjectPath,
        collection: &ObjectPath,
        call: &Call,
    ) -> Result<(), PlaceError> {
        let attributes = HashMap::from([("service", SERVICE), ("username", profile)]);
        let attributes: HashMap<String, String> = attributes
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let property = |name: &str| format!("{ITEM_INTERFACE}.{name}");
        let boxed = |value: Box<dyn RefArg>| Variant(value);
        let properties: PropMap = HashMap::from([
            (
                property("Label"),
                boxed(Box::new(format!("Password for '{profile}' on '{SERVICE}'"))),
            ),
            (property("Attributes"), boxed(Box::new(attributes))),
        ]);
        let value = value(session, entry);
        // If another process creates the same item meanwhile, the service keeps only one.
        let replace = true;
        call.begin_change()?;
        let (_, prompt): (ObjectPath, ObjectPath) = self.ask(
            call,
            collection,
            COLLECTION_INTERFACE,
            "CreateItem",
            (properties, value, replace),
        )?;
        self.wait_for_prompt(&prompt, call)
    }

    fn delete(&self, items: &[ObjectPath], call: &Call) -> Result<(), PlaceError> {
        for item in items {
            match self.ask::<(ObjectPath,)>(call, item, ITEM_INTERFACE, "Delete", ()) {
                Ok((prompt,)) => self.wait_for_prompt(&prompt, call)?,
                // Somebody else has removed it already.
                Err(Unanswered::NoSuchObject(_)) => {}
                Err(Unanswered::Other(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// The session for transferring secrets. It is not encrypted: the bus is this user's own, and
    /// agreeing on a key would take longer than everything else.
    fn session(&mut self, call: &Call) -> Result<ObjectPath, PlaceError> {
        if let Some(session) = &self.session {
            return Ok(session.clone());
        }
        let algorithm = ("plain", Variant(""));
        let (_, session): (Variant<Box<dyn RefArg>>, ObjectPath) =
            self.ask(call, &service_path(), SERVICE_INTERFACE, "OpenSession", algorithm)?;
        Ok(self.session.insert(session).clone())
    }

    /// Unlocks these, if that needs no prompt or if somebody can answer it.
    fn unlock(&self, objects: &[ObjectPath], call: &Call) -> Result<(), PlaceError> {
        let (_, prompt): (Vec<ObjectPath>, ObjectPath) =
            self.ask(call, &service_path(), SERVICE_INTERFACE, "Unlock", (objects,))?;
        if is_none(&prompt) {
            return Ok(());
        }
        if !call.may_prompt() {
            self.dismiss(&prompt);
            return Err(PlaceError::Locked);
        }
        call.announce(&Event::KeyringPrompt);
        self.wait_for_prompt(&prompt, call)
    }

    /// Shows the prompt that the service requests, if it requests one, and waits until it is
    /// answered. Some services request one for every change, even if there is nothing to ask.
    fn wait_for_prompt(&self, prompt: &ObjectPath, call: &Call) -> Result<(), PlaceError> {
        if is_none(prompt) {
            return Ok(());
        }
        let rule = format!(
            "type='signal',sender='{SECRETS}',interface='{PROMPT_INTERFACE}',member='Completed',path='{prompt}'"
        );
        self.send(call, BUS, &Path::from("/org/freedesktop/DBus"), BUS, "AddMatch", (rule,))?;
        let shown = Instant::now();
        let no_window = ("",);
        self.ask::<()>(call, prompt, PROMPT_INTERFACE, "Prompt", no_window)?;
        loop {
            let slice = call.remaining().inspect_err(|_| self.dismiss(prompt))?.min(SLICE);
            let message = self.channel.blocking_pop_message(slice).map_err(not_available)?;
            match message.as_ref().and_then(|message| completed(message, prompt)) {
                None => {}
                Some(false) => return Ok(()),
                Some(true) if shown.elapsed() < FASTER_THAN_PEOPLE => {
                    return Err(PlaceError::Locked);
                }
                Some(true) => return Err(PlaceError::Dismissed),
            }
        }
    }

    /// Dismisses a prompt. Errors don't matter.
    fn dismiss(&self, prompt: &ObjectPath) {
        if let Ok(mut message) =
            Message::new_method_call(SECRETS, prompt.clone(), PROMPT_INTERFACE, "Dismiss")
        {
            message.set_auto_start(false);
            message.set_no_reply(true);
            let _ = self.channel.send(message);
            self.channel.flush();
        }
    }

    /// Asks the Secret Service.
    fn ask<R: ReadAll>(
        &self,
        call: &Call,
        path: &ObjectPath,
        interface: &str,
        method: &str,
        arguments: impl AppendAll,
    ) -> Result<R, Unanswered> {
        self.send(call, SECRETS, path, interface, method, arguments)?
            .read_all()
            .map_err(|error| Unanswered::Other(PlaceError::failed(error)))
    }

    fn send(
        &self,
        call: &Call,
        destination: &str,
        path: &ObjectPath,
        interface: &str,
        method: &str,
        arguments: impl AppendAll,
    ) -> Result<Message, Unanswered> {
        let time = call.remaining().map_err(Unanswered::Other)?;
        let mut message = Message::new_method_call(destination, path.clone(), interface, method)
            .map_err(|error| Unanswered::Other(PlaceError::failed(error)))?;
        message.set_auto_start(false);
        message.append_all(arguments);
        self.channel
            .send_with_reply_and_block(message, time + ROUNDING)
            .map_err(|error| explain(error, call))
    }
}

/// Sorts the errors of the D-Bus and Secret Service specifications, and of libdbus itself.
fn explain(error: Error, call: &Call) -> Unanswered {
    let name = error.name().unwrap_or_default();
    let short = name.rsplit('.').next().unwrap_or_default();
    Unanswered::Other(match short {
        "NoSuchObject" | "UnknownObject" | "UnknownMethod" | "UnknownInterface" => {
            return Unanswered::NoSuchObject(error);
        }
        "IsLocked" => PlaceError::Locked,
        "NoReply" | "Timeout" | "TimedOut" => match call.remaining() {
            Err(reason) => reason,
            // The bus also says this of a service that died during the request.
            Ok(_) => not_available(error),
        },
        "ServiceUnknown" | "NameHasNoOwner" => {
            not_available("no Secret Service is running on the D-Bus session bus")
        }
        "Disconnected" | "NoServer" | "AccessDenied" => not_available(error),
        _ => PlaceError::failed(error),
    })
}

fn not_available(source: impl Into<Cause>) -> PlaceError {
    PlaceError::NotAvailable { source: source.into() }
}

/// If the message says that this prompt is over: whether it was dismissed.
fn completed(message: &Message, prompt: &ObjectPath) -> Option<bool> {
    let matches = message.interface().is_some_and(|interface| &*interface == PROMPT_INTERFACE)
        && message.member().is_some_and(|member| &*member == "Completed")
        && message.path().is_some_and(|path| path == *prompt);
    if matches { message.get1() } else { None }
}

/// An entry in the form that the service takes: with its session, empty parameters because there is
/// no encryption, and its content type.
fn value(session: ObjectPath, entry: &Entry) -> (ObjectPath, &[u8], &[u8], &str) {
    let (bytes, content_type) = match entry {
        Entry::Text(secret) => (secret.expose().as_bytes(), "text/plain; charset=utf8"),
        Entry::Other(bytes) => (bytes.as_slice(), "application/octet-stream"),
    };
    (session, &[], bytes, content_type)
}

fn service_path() -> ObjectPath {
    Path::from(SERVICE_PATH)
}

/// The service's way to say "no object": the root path.
fn is_none(path: &ObjectPath) -> bool {
    &**path == "/"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sockets_of_this_machine_are_addresses_of_a_bus() {
        for (addresses, usable) in [
            ("unix:path=/run/user/1000/bus", &["unix:path=/run/user/1000/bus"][..]),
            ("unix:abstract=/tmp/dbus-1,guid=0", &["unix:abstract=/tmp/dbus-1,guid=0"]),
            ("autolaunch:", &[]),
            ("unixexec:path=/bin/sh", &[]),
            ("tcp:host=localhost,port=1;nonce-tcp:host=localhost,port=1", &[]),
            (
                "autolaunch:scope=*;unix:path=/a;unixexec:path=b;unix:path=/c",
                &["unix:path=/a", "unix:path=/c"],
            ),
        ] {
            assert_eq!(sockets(addresses).collect::<Vec<_>>(), usable);
        }
    }

    #[test]
    fn the_bus_of_the_login_session_may_be_in_any_directory() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().join("a b");
        std::fs::create_dir(&directory).unwrap();
        assert_eq!(bus_of_login_session(&directory), None);
        std::fs::write(directory.join("bus"), "").unwrap();
        let address = format!("unix:path={}/bus", directory.to_str().unwrap().replace(' ', "%20"));
        assert_eq!(bus_of_login_session(&directory), Some(address));
    }
}
