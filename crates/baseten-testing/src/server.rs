//! A scripted HTTP server: each connection gets the next act of the script.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What happens on a connection.
pub enum Act {
    /// Reads the request and answers with these bytes.
    Answer(Vec<u8>),
    /// Reads the request, answers with the first bytes, then with one of the others every 50 ms.
    Dribble(Vec<u8>, Vec<u8>),
    /// Reads the request and closes the connection.
    Close,
    /// Resets the connection without having read the request.
    Reset,
    /// Never answers.
    Hang,
    /// Reads the request and answers with what this function returns for it.
    Respond(Box<dyn FnOnce(String) -> Vec<u8> + Send>),
    /// Anything else.
    Custom(Box<dyn FnOnce(TcpStream) + Send>),
}

/// A running server. After the last act, connections are refused.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Server {
    /// Runs the script on a free port.
    pub fn start(script: impl IntoIterator<Item = Act>) -> Self {
        Self::start_on("127.0.0.1:0", script)
    }

    /// The same at this address.
    pub fn start_on(address: &str, script: impl IntoIterator<Item = Act>) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (script, kept) = (script.into_iter().collect::<Vec<_>>(), Arc::clone(&requests));
        std::thread::spawn(move || {
            for act in script {
                let (stream, _) = listener.accept().unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                play(act, stream, &kept);
            }
        });
        Self { address, requests }
    }

    /// The URL of this server under a name that leads to it.
    pub fn url(&self, host: &str, path: &str) -> String {
        format!("http://{host}:{}{path}", self.address.port())
    }

    /// The URL of a remote whose API is this server.
    pub fn remote(&self, scheme: &str) -> String {
        format!("{scheme}://localhost:{}", self.address.port())
    }

    /// The requests so far, as they were sent.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().iter().map(|(_, request)| request.clone()).collect()
    }

    /// The time between each request and the next.
    pub fn pauses(&self) -> Vec<Duration> {
        let requests = self.requests.lock().unwrap();
        requests.windows(2).map(|pair| pair[1].0.duration_since(pair[0].0)).collect()
    }
}

fn play(act: Act, mut stream: TcpStream, requests: &Mutex<Vec<(Instant, String)>>) {
    let mut read = || {
        let request = read_request(&mut stream);
        requests.lock().unwrap().push((Instant::now(), request.clone()));
        request
    };
    match act {
        // The write fails if the client closed the connection early.
        Act::Answer(bytes) => {
            read();
            let _ = stream.write_all(&bytes);
        }
        Act::Dribble(start, rest) => {
            read();
            let _ = stream.write_all(&start);
            dribble(stream, rest);
        }
        Act::Respond(respond) => {
            let answer = respond(read());
            let _ = stream.write_all(&answer);
        }
        Act::Close => drop(read()),
        // Closing a connection with unread data resets it.
        Act::Reset => drop(stream.peek(&mut [0])),
        Act::Hang => {
            std::thread::spawn(move || stream.peek(&mut [0]).map(|_| std::thread::park()));
        }
        Act::Custom(function) => function(stream),
    }
}

/// Writes a byte every 50 ms, on its own thread, until the client closes the connection.
pub fn dribble(mut stream: impl Write + Send + 'static, bytes: Vec<u8>) {
    std::thread::spawn(move || {
        for byte in bytes {
            std::thread::sleep(Duration::from_millis(50));
            if stream.write_all(&[byte]).and_then(|()| stream.flush()).is_err() {
                return;
            }
        }
    });
}

/// A whole request: the head, and as much body as it says.
pub fn read_request(stream: &mut impl Read) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() > 0 {
        text.push(byte[0]);
    }
    let head = String::from_utf8(text).unwrap();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
    });
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).unwrap();
    head + &String::from_utf8(body).unwrap()
}

/// An answer with a status, more header lines, and a body.
pub fn answer(status: u16, headers: &str, body: &str) -> Act {
    Act::Answer(http(status, headers, body))
}

/// An answer of 200 with this body.
pub fn ok(body: &str) -> Act {
    answer(200, "", body)
}

/// A whole HTTP answer.
pub fn http(status: u16, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status} Status\r\nContent-Length: {length}\r\n{headers}\r\n");
    (head + body).into_bytes()
}

/// Reads the request and answers with what this function returns for it.
pub fn respond(with: impl FnOnce(String) -> Vec<u8> + Send + 'static) -> Act {
    Act::Respond(Box::new(with))
}

/// Reads a request, does not answer, and passes the connection on; dropping it closes it.
pub fn silence() -> (Act, Receiver<TcpStream>) {
    let (sender, arrived) = channel();
    let act = Act::Custom(Box::new(move |mut stream| {
        read_request(&mut stream);
        let _ = sender.send(stream);
    }));
    (act, arrived)
}

/// The response to the start of a device login. The code expires in ten minutes.
pub const STARTED: &str = r#"{"device_code": "canary-device", "user_code": "WDJB-MJHT",
    "interval": 1, "verification_uri": "https://app.example.com/device", "expires_in": 600}"#;
/// The response with the tokens, which expire in an hour.
pub const TOKENS: &str = r#"{"access_token": "canary-access", "refresh_token": "canary-refresh",
    "token_type": "Bearer", "expires_in": 3600}"#;
/// The response with the user.
pub const ADA: &str = r#"{"user_id": "ada", "email": "ada@example.com", "name": null}"#;

/// The body of the response to a refresh.
pub fn refreshed(access: &str, refresh: Option<&str>) -> String {
    let refresh = refresh.map_or(String::new(), |token| format!(r#","refresh_token":"{token}""#));
    format!(r#"{{"access_token":"{access}"{refresh},"expires_in":3600}}"#)
}
