//! Free ports on loopback that stay free.
//!
//! The kernel would hand out any free port for port 0, but from the range that it also uses for outgoing
//! connections: while a node is down, a client's connection may then occupy its port, or even connect to itself.
//! So ports come from below that range. Between choosing a port and the node's own bind another program may still
//! take it; the node then ends with exit code 4 and the orchestrator starts it again a few times.

use anyhow::{Context, Result, bail};
use std::{fs, net::TcpListener, ops::Range};

const LOWEST: u16 = 10_240;

/// `count` different free ports on 127.0.0.1; none is released before all are found.
pub(crate) fn free_ports(count: usize) -> Result<Vec<u16>> {
    let range = below_ephemeral(&fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default());
    let mut held = Vec::with_capacity(count);
    let mut ports = Vec::with_capacity(count);
    if range.len() > 4 * count {
        let offset = getrandom::u32().context("the system has no entropy")? as usize % range.len();
        let candidates = range.clone().cycle().skip(offset).take(range.len());
        for port in candidates {
            if ports.len() == count {
                break;
            }
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
                held.push(listener);
                ports.push(port);
            }
        }
    }
    while ports.len() < count {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port on 127.0.0.1")?;
        ports.push(listener.local_addr().context("the address of a bound socket")?.port());
        held.push(listener);
    }
    if ports.len() != count {
        bail!("only {} of {count} ports are free", ports.len());
    }
    Ok(ports)
}

/// The ports between the well-known ones and those for outgoing connections.
fn below_ephemeral(local_port_range: &str) -> Range<u16> {
    let lowest_ephemeral = local_port_range.split_whitespace().next().and_then(|text| text.parse().ok());
    LOWEST..lowest_ephemeral.unwrap_or(32_768).max(LOWEST)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ports_are_different_and_can_be_bound() {
        let ports = free_ports(40).unwrap();
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), 40);
        let bound: Vec<_> = ports.iter().filter_map(|port| TcpListener::bind(("127.0.0.1", *port)).ok()).collect();
        assert!(bound.len() >= 38, "tests beside this one may take one or two");
    }

    #[test]
    fn ports_lie_below_those_of_outgoing_connections() {
        assert_eq!(below_ephemeral("32768\t60999\n"), 10_240..32_768);
        assert_eq!(below_ephemeral(""), 10_240..32_768);
        assert!(below_ephemeral("1024 65535").is_empty(), "then the kernel chooses");
    }
}
