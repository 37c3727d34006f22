//! Relays between plain sockets.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use super::*;
use crate::{Profile, Wiring, create, create_wired};
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

const SOON: Duration = Duration::from_millis(300);

/// A relayed network whose endpoints echo in lower case what they hear.
struct Echoes {
    links: Links,
    network: Network,
    _dir: tempfile::TempDir,
}

fn echoes() -> Echoes {
    let dir = tempfile::tempdir().unwrap();
    let network = create_wired(&dir.path().join("net"), &Profile::small(), Wiring::Relayed).unwrap();
    for process in network.processes() {
        let listener = TcpListener::bind(&process.endpoint).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                thread::spawn(move || echo(stream.unwrap()));
            }
        });
    }
    let links = Links::open(&network).unwrap().unwrap();
    Echoes { links, network, _dir: dir }
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(count) = stream.read(&mut buffer) {
        let lower = buffer[..count].to_ascii_lowercase();
        if count == 0 || stream.write_all(&lower).is_err() {
            return;
        }
    }
}

impl Echoes {
    fn place(&self, name: &str) -> usize {
        self.network.processes().iter().position(|process| process.name == name).unwrap()
    }

    fn dial(&self, from: &str, to: &str) -> TcpStream {
        let address = self.network.relay(self.place(from), self.place(to)).unwrap();
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream
    }

    fn change(&self, between: &Between, change: Change) {
        assert!(self.links.apply(between, change).unwrap() > 0);
        // The relays are told asynchronously.
        thread::sleep(Duration::from_millis(30));
    }

    fn state(&self, from: &str, to: &str) -> LinkState {
        self.links.states().into_iter().find(|state| state.from == from && state.to == to).unwrap()
    }
}

/// What comes back for what is said: the echo, nothing in time, or the end of the connection.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Echo(String),
    Nothing,
    End,
}

fn say(stream: &mut TcpStream, text: &str) -> Heard {
    if stream.write_all(text.as_bytes()).is_err() {
        return Heard::End;
    }
    let mut buffer = [0; 4096];
    match stream.read(&mut buffer) {
        Ok(0) => Heard::End,
        Ok(count) => Heard::Echo(String::from_utf8_lossy(&buffer[..count]).into_owned()),
        Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
            Heard::Nothing
        }
        Err(_) => Heard::End,
    }
}

fn hears(text: &str) -> Heard {
    Heard::Echo(text.to_owned())
}

#[test]
fn a_cut_ends_connections_and_refuses_new_ones_until_it_is_healed() {
    let net = echoes();
    let (mut near, mut other) = (net.dial("beacon-0", "beacon-1"), net.dial("beacon-0", "beacon-2"));
    assert_eq!(say(&mut near, "ONE"), hears("one"));
    assert_eq!(say(&mut other, "TWO"), hears("two"));
    net.change(&Between::pair("beacon-0", "beacon-1"), Change::Cut(Cut::Closed));
    assert_eq!(say(&mut near, "X"), Heard::End);
    assert_eq!(say(&mut net.dial("beacon-0", "beacon-1"), "X"), Heard::End);
    assert_eq!(say(&mut net.dial("beacon-1", "beacon-0"), "X"), Heard::End);
    assert_eq!(say(&mut other, "THREE"), hears("three"), "another link is whole");
    let state = net.state("beacon-0", "beacon-1");
    assert_eq!((state.faults.as_str(), state.connections, state.broken), ("cut", 1, 2));
    net.change(&Between::pair("beacon-0", "beacon-1"), Change::Heal);
    assert_eq!(say(&mut net.dial("beacon-0", "beacon-1"), "FOUR"), hears("four"));
}

#[test]
fn a_one_way_cut_leaves_the_other_members_stream_whole_and_ends_both_between_chains() {
    let net = echoes();
    let dials =
        [("beacon-0", "beacon-1"), ("beacon-1", "beacon-0"), ("beacon-0", "validator-0"), ("validator-0", "beacon-0")];
    let mut streams = dials.map(|(from, to)| net.dial(from, to));
    assert!(streams.iter_mut().all(|stream| say(stream, "A") == hears("a")));
    net.change(&Between { one_way: true, ..Between::around(&["beacon-0"]) }, Change::Cut(Cut::Closed));
    let heard: Vec<Heard> = streams.iter_mut().map(|stream| say(stream, "B")).collect();
    assert_eq!(heard, [Heard::End, hears("b"), Heard::End, Heard::End]);
}

#[test]
fn a_silent_cut_swallows_what_is_said_until_it_is_healed() {
    let net = echoes();
    let mut near = net.dial("validator-0", "beacon-0");
    assert_eq!(say(&mut near, "ONE"), hears("one"));
    net.change(&Between::around(&["validator-0"]), Change::Cut(Cut::Silent));
    assert_eq!(say(&mut near, "TWO"), Heard::Nothing);
    let mut late = net.dial("validator-0", "beacon-0");
    assert_eq!(say(&mut late, "THREE"), Heard::Nothing, "it is accepted, and that is all");
    drop(net.dial("validator-0", "beacon-1"));
    let started = Instant::now();
    while net.state("validator-0", "beacon-1").broken == 0 {
        assert!(started.elapsed() < Duration::from_secs(10), "the relay notices who gives up");
        thread::sleep(Duration::from_millis(10));
    }
    net.change(&Between::around(&["all"]), Change::Heal);
    assert_eq!(say(&mut near, ""), hears("two"));
    assert_eq!(say(&mut late, ""), hears("three"));
    assert_eq!(net.state("validator-0", "beacon-1").connections, 0, "who gave up meanwhile is not let in late");
}

#[test]
fn delayed_bytes_keep_their_order_and_throttled_ones_take_their_time() {
    let net = echoes();
    let mut near = net.dial("beacon-0", "beacon-1");
    near.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    net.change(&Between::one_way("beacon-0", "beacon-1"), Change::Delay { ms: 80, jitter_ms: 40 });
    let started = Instant::now();
    for piece in ["A", "B", "C", "D"] {
        near.write_all(piece.as_bytes()).unwrap();
        thread::sleep(Duration::from_millis(5));
    }
    let mut heard = [0; 4];
    near.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"abcd");
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(90) && took < Duration::from_millis(1_000), "{took:?}");
    net.change(&Between::one_way("beacon-0", "beacon-1"), Change::Heal);
    net.change(&Between::one_way("beacon-0", "beacon-1"), Change::Throttle { bytes_per_second: 10_000 });
    let started = Instant::now();
    near.write_all(&[b'X'; 4_000]).unwrap();
    near.read_exact(&mut [0; 4_000]).unwrap();
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(2), "{took:?}");
    assert_eq!(net.state("beacon-0", "beacon-1").faults, "10000 bytes/s");
}

#[test]
fn a_reset_ends_a_connection_once_and_corruption_flips_single_bits() {
    let net = echoes();
    let mut near = net.dial("beacon-0", "beacon-1");
    assert_eq!(say(&mut near, "ONE"), hears("one"));
    net.change(&Between::pair("beacon-1", "beacon-0"), Change::Reset);
    assert_eq!(say(&mut near, "X"), Heard::End);
    let mut near = net.dial("beacon-0", "beacon-1");
    assert_eq!(say(&mut near, "TWO"), hears("two"));
    net.change(&Between::one_way("beacon-0", "beacon-1"), Change::Corrupt { per_million: 100_000 });
    near.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    near.write_all(&[0; 2_000]).unwrap();
    let mut heard = vec![0; 2_000];
    near.read_exact(&mut heard).unwrap();
    let flipped = heard.iter().filter(|byte| **byte != 0).count() as u64;
    assert!((100..400).contains(&flipped), "{flipped} of 2,000");
    assert_eq!(net.state("beacon-0", "beacon-1").flipped, flipped);
}

#[test]
fn names_mean_nodes_committees_and_beginnings() {
    let dir = tempfile::tempdir().unwrap();
    let network = create_wired(&dir.path().join("net"), &Profile::demo(), Wiring::Relayed).unwrap();
    let count = |between: &Between| select(&network, between).map(|ways| ways.len());
    assert_eq!(count(&Between::around(&["all"])).unwrap(), 12 * 11);
    assert_eq!(count(&Between::around(&["beacon-0"])).unwrap(), 2 * 11);
    assert_eq!(count(&Between::around(&["beacon"])).unwrap(), 2 * 4 * 8);
    assert_eq!(count(&Between::around(&["beacon-*", "validator-*"])).unwrap(), 12 * 11);
    assert_eq!(count(&Between { inside: true, ..Between::around(&["beacon"]) }).unwrap(), 2 * 4 * 8 + 4 * 3);
    assert_eq!(count(&Between::pair("shard-0", "shard-1")).unwrap(), 2 * 16);
    assert_eq!(count(&Between::one_way("beacon-0", "beacon")).unwrap(), 3);
    for wrong in ["shard-2", "nobody", "x-*", ""] {
        let error = count(&Between::around(&[wrong])).unwrap_err().to_string();
        assert!(error.contains("shard-1") && error.contains("beacon-3"), "{error}");
    }
}

#[test]
fn a_network_without_relays_says_what_to_do_and_a_large_one_gets_none() {
    let dir = tempfile::tempdir().unwrap();
    let network = create(&dir.path().join("net"), &Profile::small()).unwrap();
    assert!(Links::open(&network).unwrap().is_none());
    let error = require(&network).unwrap_err();
    assert!(error.is_refusal() && error.to_string().contains("kakera testnet up"), "{error}");
    let mut profile = Profile::small();
    profile.validators[1].count = 40;
    let error = create_wired(&dir.path().join("large"), &profile, Wiring::Relayed).unwrap_err();
    assert!(error.to_string().contains("at most 32"), "{error}");
}
