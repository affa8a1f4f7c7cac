//! Container images as OCI layout tarballs, which `ctr images import` reads.
//!
//! There are two images of the testbed: a pause image with one static program, and a busybox image with Debian's
//! busybox-static.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// Name of the image of pod sandboxes.
pub const PAUSE_IMAGE: &str = "jobwright.dev/testbed/pause:1";
/// Name of the same image for upstream's end-to-end specs, with the tag that they use.
const SPECS_PAUSE_IMAGE: &str = "jobwright.dev/testbed/pause:3.10.2";
/// Names of the busybox image. Manifests use `busybox:1.36` or `busybox`, and the last name is that of upstream's
/// end-to-end specs.
pub const BUSYBOX_IMAGES: &[&str] = &[
    "docker.io/library/busybox:1.36",
    "docker.io/library/busybox:1.28",
    "docker.io/library/busybox:latest",
    "jobwright.dev/testbed/busybox:1.37.0-2",
];

/// Writes the tarball of the pause image.
pub fn pause(program: &Path, target: &Path) -> Result<()> {
    let mut layer = Builder::new(Vec::new());
    file(&mut layer, "pause", &fs::read(program)?, 0o755)?;
    write(target, &[PAUSE_IMAGE, SPECS_PAUSE_IMAGE], &layer.into_inner()?, &json!({"Cmd": ["/pause"]}))
}

/// Writes the tarball of the busybox image: the static binary, and a link for each of its applets.
pub fn busybox(target: &Path) -> Result<()> {
    let binary = busybox_binary()?;
    let applets = Command::new(&binary).arg("--list").output().context("listing the applets of busybox")?;
    let mut layer = Builder::new(Vec::new());
    for dir in ["bin", "etc", "root", "var", "dev", "proc", "sys"] {
        directory(&mut layer, dir, 0o755)?;
    }
    directory(&mut layer, "tmp", 0o1777)?;
    file(&mut layer, "bin/busybox", &fs::read(&binary)?, 0o755)?;
    file(
        &mut layer,
        "etc/passwd",
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
        0o644,
    )?;
    file(&mut layer, "etc/group", b"root:x:0:\nnogroup:x:65534:\n", 0o644)?;
    for applet in String::from_utf8_lossy(&applets.stdout).lines().filter(|applet| *applet != "busybox") {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        layer.append_link(&mut header, format!("bin/{applet}"), "busybox")?;
    }
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    write(target, BUSYBOX_IMAGES, &layer.into_inner()?, &json!({"Env": [path], "Cmd": ["sh"], "WorkingDir": "/"}))
}

/// Returns the path of Debian's static busybox.
fn busybox_binary() -> Result<PathBuf> {
    ["/bin/busybox", "/usr/bin/busybox"]
        .iter()
        .map(PathBuf::from)
        .find(|path| path.is_file())
        .context("no busybox on this machine: install Debian's package busybox-static")
}

/// Adds a file to a layer.
pub fn file(layer: &mut Builder<Vec<u8>>, path: &str, content: &[u8], mode: u32) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    Ok(layer.append_data(&mut header, path, content)?)
}

fn directory(layer: &mut Builder<Vec<u8>>, path: &str, mode: u32) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Directory);
    header.set_size(0);
    header.set_mode(mode);
    Ok(layer.append_data(&mut header, format!("{path}/"), std::io::empty())?)
}

/// Writes an OCI image layout with one layer and these names. The same input gives the same bytes.
pub fn write(target: &Path, names: &[&str], layer: &[u8], config: &Value) -> Result<()> {
    let mut blobs: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut add = |content: Vec<u8>| -> (String, usize) {
        let digest: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
        let size = content.len();
        blobs.insert(digest.clone(), content);
        (format!("sha256:{digest}"), size)
    };
    let (layer_digest, layer_size) = add(layer.to_vec());
    let config = json!({
        "architecture": go_architecture(),
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [layer_digest]},
    });
    let (config_digest, config_size) = add(serde_json::to_vec(&config)?);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest, "size": config_size},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer_digest, "size": layer_size}],
    });
    let (manifest_digest, manifest_size) = add(serde_json::to_vec(&manifest)?);
    let manifests: Vec<_> = names
        .iter()
        .map(|name| {
            json!({
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": manifest_digest,
                "size": manifest_size,
                "annotations": {"io.containerd.image.name": name},
            })
        })
        .collect();
    let index =
        json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests});

    let mut archive = Builder::new(Vec::new());
    file(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#, 0o644)?;
    file(&mut archive, "index.json", &serde_json::to_vec(&index)?, 0o644)?;
    for (digest, content) in &blobs {
        file(&mut archive, &format!("blobs/sha256/{digest}"), content, 0o644)?;
    }
    let bytes = archive.into_inner()?;
    std::io::Write::write_all(&mut File::create(target)?, &bytes)?;
    Ok(())
}

fn go_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
