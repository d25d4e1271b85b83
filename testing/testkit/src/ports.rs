//! Free ports.

use std::net::{Ipv4Addr, TcpListener};

/// As many different ports of the loopback address as asked for, free a moment ago. Another process may be
/// quicker: whoever starts a server on them tries again with others.
///
/// # Panics
/// Where the machine has no free port.
#[must_use]
pub fn free_ports<const N: usize>() -> [u16; N] {
    // All are held until all are chosen, so that none comes twice.
    let listeners: [TcpListener; N] = std::array::from_fn(|_| {
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("the machine has a free port")
    });
    std::array::from_fn(|i| listeners[i].local_addr().expect("a bound listener has an address").port())
}
