//! The address at which pods find the API server, in place of what kube-proxy does on other nodes: it is this machine's
//! own for as long as the node lives, and who connects to it is passed on to the API server.

use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, bail};

/// The port of the Service `kubernetes`.
const PORT: u16 = 443;

/// A forwarded address, this machine's until dropped.
pub struct ServiceAddress(Ipv4Addr);

impl ServiceAddress {
    /// Passes on what comes to `address` to `server` (`https://HOST:PORT`), from threads that live as long as the process.
    pub fn forward(address: Ipv4Addr, server: &str) -> Result<Self> {
        let target = server.trim_start_matches("https://").to_owned();
        // One that a killed testbed left behind serves as well.
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

/// Passes on until one side ends; then both end.
fn pass_on(mut from: TcpStream, mut to: TcpStream) {
    // A broken connection is an ended one.
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
