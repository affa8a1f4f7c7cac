//! A real Kubernetes control plane on loopback, for tests, benchmarks and the demo.
//!
//! The testbed runs etcd, kube-apiserver, kube-controller-manager and kube-scheduler of Kubernetes, by default
//! with the built-in Job, CronJob and TTL controllers switched off. Optionally it runs a real node (kubelet,
//! containerd, runc) or simulated nodes (kwok). All processes are children of this process, and the kernel kills them
//! when it ends. The entry point is [`Cluster`]; [`Chromium`] is a browser for the tests of pages.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "the testbed serves tests, measures time and prints its progress"
)]

pub mod assets;
pub mod certs;
pub mod chromium;
pub mod cluster;
pub mod console;
pub mod control_plane;
pub mod crds;
pub mod image;
pub mod images;
pub mod jobwright;
pub mod kubectl;
pub mod kubelet;
pub mod kwok;
pub mod manifest;
pub mod node;
pub mod npm;
pub mod packages;
pub mod permissions;
pub mod process;
pub mod quota;
pub mod report;
pub mod service;
pub mod version;
pub mod wire;

pub use chromium::Chromium;
pub use cluster::{Cluster, Nodes, Options};
pub use kubectl::Kubectl;
pub use kubelet::Kubelet;
pub use version::Version;
