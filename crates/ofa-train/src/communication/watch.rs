//! Notices that another rank has ended without a word, as one that was killed does: the connection to it closes. What is waiting
//! for a message of that rank would wait for ever.

use super::OnLost;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A rank ends as it should.
const ENDS: u8 = b'e';
/// A rank has failed, and the reason is reported.
const FAILS: u8 = b'f';
/// How long ranks may take to connect.
const PATIENCE: Duration = Duration::from_secs(20);

/// Connections from every rank to rank 0, which stay silent until the end.
pub struct Watch {
    connections: Arc<Connections>,
}

struct Connections {
    /// With the ranks at their other ends.
    all: Vec<(usize, TcpStream)>,
    /// Set once this rank ends, so that what follows is expected.
    ended: AtomicBool,
}

/// Where rank 0 waits for the others.
pub struct Post {
    listener: TcpListener,
    token: [u8; 16],
}

/// How the others reach it: port and token.
pub type Address = (u16, [u8; 16]);

impl Post {
    /// Opens a port.
    ///
    /// # Errors
    /// What the system reports.
    pub fn open(token: [u8; 16]) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(("0.0.0.0", 0))?, token })
    }

    /// What the others need.
    ///
    /// # Errors
    /// What the system reports.
    pub fn address(&self) -> io::Result<Address> {
        Ok((self.listener.local_addr()?.port(), self.token))
    }

    /// Waits for the other ranks.
    ///
    /// # Errors
    /// What the system reports.
    pub fn watch(self, size: usize, on_lost: OnLost) -> io::Result<Watch> {
        self.listener.set_nonblocking(true)?;
        let started = Instant::now();
        let mut connections = Vec::new();
        while connections.len() + 1 < size {
            match self.listener.accept() {
                Ok((connection, _)) => connections.extend(self.admitted(connection)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && started.elapsed() < PATIENCE => {
                    thread::sleep(Duration::from_millis(2));
                }
                // Those that did not come are not watched.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Watch::over(connections, 0, on_lost)
    }

    /// The connection with the rank at its other end, if it is one of ours.
    fn admitted(&self, mut connection: TcpStream) -> Option<(usize, TcpStream)> {
        let mut greeting = [0; 20];
        connection.set_nonblocking(false).ok()?;
        connection.set_read_timeout(Some(PATIENCE)).ok()?;
        connection.read_exact(&mut greeting).ok()?;
        connection.set_read_timeout(None).ok()?;
        let (token, rank) = greeting.split_first_chunk()?;
        let rank = u32::from_le_bytes(*rank.first_chunk()?);
        (*token == self.token).then_some((rank as usize, connection))
    }
}

impl Watch {
    /// Connects a rank to rank 0, which is on the machine `host`.
    ///
    /// # Errors
    /// What the system reports.
    pub fn join(host: &str, (port, token): Address, rank: usize, on_lost: OnLost) -> io::Result<Self> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
        for address in addresses {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(mut connection) => {
                    connection.write_all(&[&token[..], &(rank as u32).to_le_bytes()].concat())?;
                    return Self::over(vec![(0, connection)], rank, on_lost);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn over(connections: Vec<(usize, TcpStream)>, own: usize, on_lost: OnLost) -> io::Result<Self> {
        let shared = Arc::new(Connections { all: connections, ended: AtomicBool::new(false) });
        for (rank, connection) in &shared.all {
            let (mut read, rank, shared) = (connection.try_clone()?, *rank, shared.clone());
            thread::spawn(move || {
                let mut word = [0];
                let word = read.read_exact(&mut word).map(|()| word[0]);
                if matches!(word, Ok(ENDS)) || shared.ended.load(Ordering::SeqCst) {
                    return;
                }
                // Rank 0 ends too, and the others need not report that.
                shared.part_with(FAILS);
                // Of those who lose rank 0, the first reports it.
                on_lost(rank, word.is_err() && own <= 1);
            });
        }
        Ok(Self { connections: shared })
    }

    /// Lets the others end too: this rank has failed and has reported why.
    pub fn fail(&self) {
        self.connections.part_with(FAILS);
    }
}

impl Connections {
    fn part_with(&self, word: u8) {
        if !self.ended.swap(true, Ordering::SeqCst) {
            for (_, connection) in &self.all {
                let mut connection = connection;
                // Whoever is gone already needs no word.
                let _ = connection.write_all(&[word]);
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.connections.part_with(ENDS);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::Mutex;

    static LOST: Mutex<Vec<(usize, bool)>> = Mutex::new(Vec::new());

    fn noted(rank: usize, reports: bool) {
        LOST.lock().unwrap().push((rank, reports));
    }

    /// The three ranks, in order.
    fn watches() -> Vec<Watch> {
        let post = Post::open([7; 16]).unwrap();
        let address = post.address().unwrap();
        // A stranger is not let in.
        let mut stranger = TcpStream::connect(("localhost", address.0)).unwrap();
        stranger.write_all(&[0; 20]).unwrap();
        let others = thread::spawn(move || [1, 2].map(|rank| Watch::join("localhost", address, rank, noted).unwrap()));
        let mut all = vec![post.watch(3, noted).unwrap()];
        all.extend(others.join().unwrap());
        all
    }

    fn noted_after_a_while() -> Vec<(usize, bool)> {
        thread::sleep(Duration::from_millis(200));
        std::mem::take(&mut LOST.lock().unwrap())
    }

    #[test]
    fn who_is_cut_off_is_reported_once_and_who_parts_is_not() {
        let watches = watches();
        // As the system does for a process that ends.
        watches[2].connections.ended.store(true, Ordering::SeqCst);
        watches[2].connections.all[0].1.shutdown(std::net::Shutdown::Both).unwrap();
        // Rank 1 learns it from rank 0.
        let mut noted = noted_after_a_while();
        noted.sort_unstable();
        assert_eq!(noted, [(0, false), (2, true)]);
        drop(self::watches());
        assert_eq!(noted_after_a_while(), []);
        // A rank that fails reports it itself.
        let watches = self::watches();
        watches[1].fail();
        let mut noted = noted_after_a_while();
        noted.sort_unstable();
        assert_eq!(noted, [(0, false), (1, false)]);
    }
}
