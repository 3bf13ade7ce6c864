//! Servers that checks talk to: HTTP with an answer that can be changed, HTTPS, and a name server.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use tempfile::TempDir;

use crate::lab::{
    namespace::Namespace,
    process::Process,
    wait::wait_until,
    worker::{Stop, Worker},
};

const START_DEADLINE: Duration = Duration::from_secs(10);

/// A client that is silent for so long has gone.
const SILENCE_MAX: Duration = Duration::from_secs(2);

/// Between two looks for a new client.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// A server that answers every request of HTTP with the same text.
pub struct HttpServer {
    answer: Arc<Mutex<String>>,
    requests: Arc<Mutex<Vec<Request>>>,
    _worker: Worker<()>,
}

/// What a client asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who asked.
    pub from: IpAddr,
    /// Its head, as it came.
    pub head: String,
}

impl HttpServer {
    /// Starts it on these addresses.
    #[track_caller]
    pub fn start(namespace: &Namespace, addresses: &[SocketAddr], answer: &str) -> Self {
        let answer = Arc::new(Mutex::new(answer.to_owned()));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (shared, seen, addresses) = (
            Arc::clone(&answer),
            Arc::clone(&requests),
            addresses.to_vec(),
        );
        let (sender, listening) = mpsc::channel();
        let worker = namespace.worker("http", move |stop| {
            let listeners: Vec<TcpListener> = addresses.iter().map(listener).collect();
            sender.send(()).expect("the test waits for it");
            while !stop.is_wanted() {
                for listener in &listeners {
                    if let Ok((client, from)) = listener.accept() {
                        let answer = shared.lock().expect("nobody panics with it").clone();
                        let head = serve(client, &answer, stop);
                        let from = from.ip();
                        let mut seen = seen.lock().expect("nobody panics with it");
                        seen.push(Request { from, head });
                    }
                }
                std::thread::sleep(LOOK_EVERY);
            }
        });
        listening
            .recv_timeout(START_DEADLINE)
            .expect("the server listens");
        Self {
            answer,
            requests,
            _worker: worker,
        }
    }

    /// Answers with this from the next request on.
    pub fn answer(&self, answer: &str) {
        answer.clone_into(&mut self.answer.lock().expect("nobody panics with it"));
    }

    /// What it was asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("nobody panics with it").clone()
    }
}

fn listener(address: &SocketAddr) -> TcpListener {
    let listener = TcpListener::bind(address)
        .unwrap_or_else(|error| panic!("cannot listen on {address}: {error}"));
    listener
        .set_nonblocking(true)
        .expect("a socket can be made not to block");
    listener
}

/// Reads a head, and answers it. A client that goes away is nobody's fault.
fn serve(mut client: TcpStream, answer: &str, stop: &Stop) -> String {
    let _ = client.set_nonblocking(false);
    let _ = client.set_read_timeout(Some(SILENCE_MAX));
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && !stop.is_wanted() {
        match client.read(&mut chunk) {
            Ok(count) if count > 0 => head.extend_from_slice(&chunk[..count]),
            Ok(_) | Err(_) => break,
        }
    }
    let _ = client.write_all(answer.as_bytes());
    String::from_utf8_lossy(&head).into_owned()
}

/// An HTTPS server with a certificate of its own; it answers 200.
pub struct TlsServer {
    _process: Process,
    directory: TempDir,
}

impl TlsServer {
    /// Starts it; `certificate` and `key` are PEM.
    #[track_caller]
    pub fn start(namespace: &Namespace, address: &str, certificate: &str, key: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let write = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).expect("a temporary file can be written");
            path
        };
        let mut command = namespace.command("openssl");
        command.args(["s_server", "-www", "-accept", address, "-cert"]);
        command.arg(write("certificate.pem", certificate));
        command.arg("-key").arg(write("key.pem", key));
        let mut process = Process::spawn("openssl", command);
        process.wait_for_log("ACCEPT", START_DEADLINE);
        Self {
            _process: process,
            directory,
        }
    }

    /// A file beside it, for a test's own certificates.
    #[track_caller]
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).expect("a temporary file can be written");
        path.display().to_string()
    }
}

/// A name server: dnsmasq, with what it is told alone.
pub struct NameServer(Process);

impl NameServer {
    /// Starts it on port 53 of an address, with these options of dnsmasq's.
    #[track_caller]
    pub fn start(namespace: &Namespace, address: IpAddr, options: &[&str]) -> Self {
        let mut command = namespace.command("dnsmasq");
        command.args([
            "--keep-in-foreground",
            "--log-facility=-",
            "--log-queries",
            "--user=root",
            "--no-resolv",
            "--no-hosts",
            "--bind-interfaces",
            "--conf-file=/dev/null",
            "--pid-file=",
        ]);
        command.arg(format!("--listen-address={address}"));
        command.args(options);
        let mut process = Process::spawn("dnsmasq", command);
        process.wait_for_log("started", START_DEADLINE);
        Self(process)
    }

    /// Waits until it was asked for a name by somebody.
    #[track_caller]
    pub fn wait_for_query(&self, name: &str, from: IpAddr, deadline: Duration) {
        wait_until("a query", deadline, || {
            let log = self.0.log();
            let is_it = |line: &&str| line.contains(&format!("] {name} from {from}"));
            match log.lines().find(is_it) {
                Some(_) => Ok(()),
                None => Err(log),
            }
        });
    }
}
