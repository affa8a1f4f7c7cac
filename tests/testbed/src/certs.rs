//! The certificate authority of a cluster, its certificates and kubeconfigs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// A certificate authority that writes its certificates and keys to one folder.
pub struct Authority {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// The files of an issued certificate.
pub struct Issued {
    /// Path of the certificate in PEM format.
    pub certificate: PathBuf,
    /// Path of the private key in PEM format (PKCS #8).
    pub key: PathBuf,
}

impl Authority {
    /// Creates an authority. Its certificate is `ca.crt` in `dir`.
    pub fn new(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = name("jobwright-testbed", &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        fs::write(dir.join("ca.crt"), certificate.pem())?;
        Ok(Self { dir: dir.to_owned(), issuer: Issuer::new(params, key) })
    }

    /// Returns the path of the authority's own certificate.
    pub fn certificate(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    /// Issues a certificate for a server with these names and addresses.
    pub fn server(&self, file: &str, names: &[&str]) -> Result<Issued> {
        let mut params = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())?;
        params.distinguished_name = name(file, &[]);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(file, params)
    }

    /// Issues a certificate for a client: Kubernetes takes the user from the common name and the groups from the
    /// organizations.
    pub fn client(&self, file: &str, user: &str, groups: &[&str]) -> Result<Issued> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = name(user, groups);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(file, params)
    }

    /// Issues a certificate for a client that expires after `life`.
    pub fn client_for(&self, file: &str, user: &str, groups: &[&str], life: Duration) -> Result<Issued> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name = name(user, groups);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_after = (SystemTime::now() + life).into();
        self.issue(file, params)
    }

    /// Creates a key pair for service account tokens, and returns the paths of the private and of the public key.
    pub fn service_account_key(&self) -> Result<(PathBuf, PathBuf)> {
        let pair = KeyPair::generate()?;
        let (private, public) = (self.dir.join("service-account.key"), self.dir.join("service-account.pub"));
        fs::write(&private, pair.serialize_pem())?;
        fs::write(&public, pair.public_key_pem())?;
        Ok((private, public))
    }

    /// Writes a kubeconfig with a client certificate for this user.
    pub fn kubeconfig(&self, path: &Path, server: &str, user: &str, groups: &[&str]) -> Result<()> {
        let file = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let issued = self.client(&format!("client-{file}"), user, groups)?;
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: testbed\n\
             clusters:\n- name: testbed\n  cluster:\n    server: {server}\n    certificate-authority: {ca}\n\
             contexts:\n- name: testbed\n  context:\n    cluster: testbed\n    user: testbed\n\
             users:\n- name: testbed\n  user:\n    client-certificate: {certificate}\n    client-key: {key}\n",
            ca = self.certificate().display(),
            certificate = issued.certificate.display(),
            key = issued.key.display(),
        );
        Ok(fs::write(path, text)?)
    }

    fn issue(&self, file: &str, mut params: CertificateParams) -> Result<Issued> {
        // rustls accepts X.509 v3 certificates only. The extension makes the certificate one of version 3.
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let issued =
            Issued { certificate: self.dir.join(format!("{file}.crt")), key: self.dir.join(format!("{file}.key")) };
        fs::write(&issued.certificate, certificate.pem())?;
        fs::write(&issued.key, key.serialize_pem())?;
        Ok(issued)
    }
}

fn name(common: &str, organizations: &[&str]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    for organization in organizations {
        name.push(DnType::OrganizationName, *organization);
    }
    name
}
