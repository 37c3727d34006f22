//! One relay: takes the connections from one node to another and carries them, as far as the table lets it.

use super::{
    faults::{Cut, Faults},
    table::{Table, Way},
};
use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

/// Bytes read at once.
const PIECE: usize = 16 * 1024;
/// Bytes of one direction that wait in the relay at most; then it reads no more, and the sender's window closes.
const WAITING: usize = 1024 * 1024;
/// Bytes that a dialler may say to a silent link before it is read no more.
const HELD: usize = 64 * 1024;

/// Takes connections for ever.
pub(super) async fn serve(socket: TcpListener, target: SocketAddr, table: Arc<Table>, dialler: usize, listener: usize) {
    loop {
        match socket.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(carry(stream, target, Arc::clone(&table), dialler, listener))),
            // Out of descriptors: some connection ends sooner or later.
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// The faults of both directions of one connection.
struct Both {
    there: watch::Receiver<Faults>,
    back: watch::Receiver<Faults>,
    /// The way back only acknowledges, which a one-way cut lets through.
    mute: bool,
}

impl Both {
    /// The cuts that concern this connection: of the way there and of the way back.
    fn cuts(&self) -> [Option<Cut>; 2] {
        let back = self.back.borrow().cut.filter(|_| !self.mute);
        [self.there.borrow().cut, back]
    }

    fn resets(&self) -> u64 {
        self.there.borrow().resets.wrapping_add(self.back.borrow().resets)
    }

    async fn changed(&mut self) {
        // The table outlives every relay: a failure is the end of the whole process.
        tokio::select! {
            _ = self.there.changed() => {}
            _ = self.back.changed() => {}
        }
    }

    /// Resolves when the connection is to end.
    async fn broken(mut self) {
        let resets = self.resets();
        while !self.cuts().contains(&Some(Cut::Closed)) && self.resets() == resets {
            self.changed().await;
        }
    }
}

async fn carry(mut near: TcpStream, target: SocketAddr, table: Arc<Table>, dialler: usize, listener: usize) {
    let (there, back) = (table.way(dialler, listener), table.way(listener, dialler));
    let mute = table.only_dialler_speaks(dialler, listener);
    let watched = || Both { there: there.watch(), back: back.watch(), mute };
    let Some(said) = admitted(&mut near, watched()).await else {
        there.broken.fetch_add(1, Ordering::Relaxed);
        return;
    };
    // What was read last wins: a listener that is away refuses, and so does the relay.
    let Ok(mut far) = TcpStream::connect(target).await else { return };
    there.connections.fetch_add(1, Ordering::Relaxed);
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let (near_read, near_write) = near.split();
    let (far_read, far_write) = far.split();
    let onward = Pump::new(near_read, far_write, there, false, said);
    let homeward = Pump::new(far_read, near_write, back, mute, Vec::new());
    tokio::select! {
        () = watched().broken() => drop(there.broken.fetch_add(1, Ordering::Relaxed)),
        // A side that ends cleanly may still hear the other's last words; a failure ends both.
        _ = async { tokio::try_join!(onward.run(), homeward.run()) } => {}
    }
}

/// Waits while the link is silent; what the dialler said meanwhile, or none when the connection is refused or the
/// dialler gave up.
async fn admitted(near: &mut TcpStream, mut both: Both) -> Option<Vec<u8>> {
    let mut said = Vec::new();
    loop {
        let cuts = both.cuts();
        if cuts.contains(&Some(Cut::Closed)) {
            return None;
        }
        if cuts == [None, None] {
            return Some(said);
        }
        tokio::select! {
            () = both.changed() => {}
            read = near.read_buf(&mut said), if said.len() < HELD => if read.is_ok_and(|count| count > 0) {} else { return None },
        }
    }
}

/// One direction of one connection.
struct Pump<'a> {
    from: ReadHalf<'a>,
    to: WriteHalf<'a>,
    way: &'a Way,
    faults: watch::Receiver<Faults>,
    /// Silence does not stop it.
    mute: bool,
    waiting: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    /// When the bandwidth is free again.
    free: Instant,
    random: u64,
}

impl<'a> Pump<'a> {
    fn new(from: ReadHalf<'a>, to: WriteHalf<'a>, way: &'a Way, mute: bool, said: Vec<u8>) -> Pump<'a> {
        let now = Instant::now();
        let bytes = said.len();
        let waiting = if said.is_empty() { VecDeque::new() } else { VecDeque::from([(now, said)]) };
        // Which bits flip need not be repeatable: when bytes pass never is.
        let random = way.bytes.load(Ordering::Relaxed) ^ way.connections.load(Ordering::Relaxed).rotate_left(32);
        Pump { from, to, way, faults: way.watch(), mute, waiting, bytes, free: now, random }
    }

    async fn run(mut self) -> io::Result<()> {
        let mut buffer = vec![0; PIECE];
        let mut ended = false;
        loop {
            let faults = *self.faults.borrow_and_update();
            let held = faults.cut == Some(Cut::Silent) && !self.mute;
            if ended && self.waiting.is_empty() {
                return self.to.shutdown().await;
            }
            let due = self.waiting.front().filter(|_| !held).map(|(due, _)| (*due).max(self.free));
            tokio::select! {
                changed = self.faults.changed() => if changed.is_err() { return Ok(()) },
                () = at(due) => self.write_first(&faults).await?,
                count = self.from.read(&mut buffer), if !ended && self.bytes < WAITING => match count? {
                    0 => ended = true,
                    count if faults.is_clear() && self.waiting.is_empty() => self.write(&buffer[..count]).await?,
                    count => self.queue(&faults, &buffer[..count]),
                },
            }
        }
    }

    fn queue(&mut self, faults: &Faults, bytes: &[u8]) {
        let jitter = if faults.jitter_ms > 0 { self.draw() % (faults.jitter_ms + 1) } else { 0 };
        let due = Instant::now() + Duration::from_millis(faults.delay_ms.saturating_add(jitter).min(3_600_000));
        // A stream keeps its order, however late its pieces are.
        let due = self.waiting.back().map_or(due, |(last, _)| due.max(*last));
        self.bytes += bytes.len();
        self.waiting.push_back((due, bytes.to_vec()));
    }

    async fn write_first(&mut self, faults: &Faults) -> io::Result<()> {
        let Some((due, mut piece)) = self.waiting.pop_front() else { return Ok(()) };
        if let Some(rate) = faults.bytes_per_second {
            // Some twenty small pieces a second rather than a large one now and then.
            let most = usize::try_from(rate / 20).unwrap_or(usize::MAX).max(1);
            if piece.len() > most {
                self.waiting.push_front((due, piece.split_off(most)));
            }
            self.free = Instant::now() + Duration::from_secs_f64(piece.len() as f64 / rate as f64);
        }
        if faults.flips_per_million > 0 {
            self.corrupt(&mut piece, faults.flips_per_million.into());
        }
        self.bytes -= piece.len();
        self.write(&piece).await
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(bytes).await?;
        self.way.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn corrupt(&mut self, bytes: &mut [u8], per_million: u64) {
        for byte in bytes {
            let drawn = self.draw();
            if drawn % 1_000_000 < per_million {
                *byte ^= 1 << (drawn >> 61);
                self.way.flipped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// SplitMix64.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
