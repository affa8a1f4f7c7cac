//! The address at which pods reach the API server, in place of kube-proxy. The address belongs to this machine for the
//! life of the node, and a forwarder connects its clients to the API server.

use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, bail};

/// Port of the Service `kubernetes`.
const PORT: u16 = 443;

/// A forwarded address of this machine. Dropping the value removes the address.
pub struct ServiceAddress(Ipv4Addr);

impl ServiceAddress {
    /// Adds `address` to this machine and forwards its connections to `server` (`https://HOST:PORT`). The forwarding
    /// threads live as long as the process.
    pub fn forward(address: Ipv4Addr, server: &str) -> Result<Self> {
        let target = server.trim_start_matches("https://").to_owned();
        // `replace` also accepts an address that a killed testbed has left behind.
        ip("replace", address)?;
        let own = Self(address);
        let listener = TcpListener::bind((address, PORT)).with_context(|| format!("listening on {address}:{PORT}"))?;
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&target) else { continue };
                let (Ok(from), Ok(to)) = (client.try_clone(), server.try_clone()) else { continue };
                thread::spawn(move || pass_on(from, to));
                thread::spawn(move || pass_on(server, client));
            }
        });
        Ok(own)
    }
}

impl Drop for ServiceAddress {
    fn drop(&mut self) {
        let _ = ip("del", self.0);
    }
}

/// Copies data until one side closes its connection, and then closes both connections.
fn pass_on(mut from: TcpStream, mut to: TcpStream) {
    // A broken connection is treated like a closed one.
    let _ = io::copy(&mut from, &mut to);
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

fn ip(verb: &str, address: Ipv4Addr) -> Result<()> {
    let output = Command::new("ip").args(["address", verb, &format!("{address}/32"), "dev", "lo"]).output();
    let output = output.context("starting ip, of Debian's package iproute2")?;
    if !output.status.success() {
        bail!("ip address {verb} {address}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
