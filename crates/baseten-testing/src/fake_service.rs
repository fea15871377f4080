//! A fake Secret Service with at most one item, which misbehaves as scripted and logs its calls.

#![cfg(target_os = "linux")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dbus::Message;
use dbus::arg::{PropMap, RefArg, Variant};
use dbus::channel::Channel;
use dbus::strings::Path;

use crate::wait;

const COLLECTION: &str = "/org/freedesktop/secrets/collection/only";
const ITEM: &str = "/org/freedesktop/secrets/collection/only/1";
const PROMPT: &str = "/org/freedesktop/secrets/prompt/1";
const NONE: &str = "/";

/// What the service keeps, and how it behaves.
#[derive(Clone, Default)]
pub struct Script {
    /// The one secret, if there is one.
    pub secret: Option<&'static str>,
    /// Whether the collection is locked at first. A locked collection shows no items.
    pub locked: bool,
    /// How a prompt ends, and how long after it is shown; `None` for a prompt that does not end.
    pub prompt: Option<(PromptEnd, Duration)>,
    /// How long it takes to create an item.
    pub slow_create: Duration,
    /// How long it takes to change one.
    pub slow_set: Duration,
}

/// How a user ends a prompt.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PromptEnd {
    /// Enters the password.
    Unlocked,
    /// Closes the window.
    Dismissed,
}

/// The service, which runs on its own thread.
pub struct FakeService {
    stop: Arc<AtomicBool>,
    calls: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl FakeService {
    /// Takes the name of the Secret Service on this bus.
    pub fn start(address: &str, script: Script) -> Self {
        let mut channel = Channel::open_private(address).unwrap();
        channel.register().unwrap();
        let bus = "org.freedesktop.DBus";
        let request = Message::new_method_call(bus, "/", bus, "RequestName")
            .unwrap()
            .append2("org.freedesktop.secrets", 4_u32);
        channel.send_with_reply_and_block(request, Duration::from_secs(5)).unwrap();
        let (stop, calls) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<String>>>::default());
        let (stopped, log) = (Arc::clone(&stop), Arc::clone(&calls));
        let thread = std::thread::spawn(move || {
            let mut state = State { channel, script, log, prompt: None };
            while !stopped.load(Ordering::SeqCst) {
                state.turn();
            }
        });
        Self { stop, calls, thread: Some(thread) }
    }

    /// The methods that were called, and the contents of each write.
    pub fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }

    /// Waits until a method was called.
    pub fn wait_for(&self, method: &str) {
        wait::until(&format!("somebody calls {method}"), || {
            self.calls().iter().any(|call| call.starts_with(method))
        });
    }
}

impl Drop for FakeService {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct State {
    channel: Channel,
    script: Script,
    log: Arc<Mutex<Vec<String>>>,
    prompt: Option<(PromptEnd, Instant)>,
}

impl State {
    fn turn(&mut self) {
        if let Some((end, at)) = self.prompt
            && at <= Instant::now()
        {
            self.prompt = None;
            self.end_prompt(end);
        }
        let message = self.channel.blocking_pop_message(Duration::from_millis(5)).unwrap();
        let Some(message) = message else { return };
        let Some(member) = message.member().map(|member| member.to_string()) else { return };
        if message.msg_type() == dbus::MessageType::MethodCall {
            let answer = self.answer(&member, &message);
            self.channel.send(answer).unwrap();
        }
    }

    fn answer(&mut self, member: &str, message: &Message) -> Message {
        let path = |text: &str| Path::from(text.to_owned());
        let answer = message.method_return();
        let log = |entry: String| self.log.lock().unwrap().push(entry);
        match member {
            "SearchItems" => {
                log(member.to_owned());
                let visible = self.script.secret.is_some() && !self.script.locked;
                let items: Vec<_> = visible.then(|| path(ITEM)).into_iter().collect();
                answer.append2(items, Vec::<Path<'_>>::new())
            }
            "ReadAlias" => answer.append1(path(COLLECTION)),
            "GetAll" if message.path() == Some(path(COLLECTION)) => {
                let locked = Box::new(self.script.locked) as Box<dyn RefArg>;
                answer.append1(HashMap::from([("Locked".to_owned(), Variant(locked))]))
            }
            "OpenSession" => answer.append2(Variant(""), path("/session")),
            "Unlock" => {
                log(member.to_owned());
                let prompt = if self.script.locked { PROMPT } else { NONE };
                answer.append2(Vec::<Path<'_>>::new(), path(prompt))
            }
            "Prompt" => {
                log(member.to_owned());
                self.prompt = self.script.prompt.map(|(end, after)| (end, Instant::now() + after));
                answer
            }
            "Dismiss" => {
                log(member.to_owned());
                answer
            }
            "GetSecret" => {
                let secret = self.script.secret.unwrap_or_default().as_bytes();
                answer.append1((path("/session"), Vec::<u8>::new(), secret, "text/plain"))
            }
            "CreateItem" => {
                log(format!("CreateItem {}", describe(message)));
                std::thread::sleep(self.script.slow_create);
                self.script.secret = Some("created");
                answer.append2(path(ITEM), path(NONE))
            }
            "SetSecret" => {
                type Value<'a> = (Path<'a>, Vec<u8>, Vec<u8>, String);
                let (_, _, secret, _): Value<'_> = message.read1().unwrap();
                log(format!("SetSecret {}", String::from_utf8(secret).unwrap()));
                std::thread::sleep(self.script.slow_set);
                answer
            }
            _ => {
                let name = "org.freedesktop.DBus.Error.UnknownMethod".into();
                message.error(&name, c"no such method")
            }
        }
    }

    fn end_prompt(&mut self, end: PromptEnd) {
        self.script.locked = end == PromptEnd::Dismissed;
        let signal = Message::new_signal(PROMPT, "org.freedesktop.Secret.Prompt", "Completed");
        let dismissed = end == PromptEnd::Dismissed;
        self.channel.send(signal.unwrap().append2(dismissed, Variant(""))).unwrap();
    }
}

/// The contents of a `CreateItem`: label, attributes, secret, content type, and whether it replaces.
fn describe(message: &Message) -> String {
    type Value<'a> = (Path<'a>, Vec<u8>, Vec<u8>, String);
    let (properties, value, replace): (PropMap, Value<'_>, bool) = message.read3().unwrap();
    let property = |name: &str| &properties[&format!("org.freedesktop.Secret.Item.{name}")].0;
    let label = property("Label").as_str().unwrap();
    let mut attributes: Vec<String> = Vec::new();
    let mut texts = property("Attributes").as_iter().unwrap();
    while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
        attributes.push(format!("{}={}", name.as_str().unwrap(), value.as_str().unwrap()));
    }
    attributes.sort();
    let secret = String::from_utf8(value.2).unwrap();
    format!("{label} {attributes:?} {secret} {} {replace}", value.3)
}
