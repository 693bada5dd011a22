//! A certificate for a server on this machine, and the authority that vouches for it.

use std::path::{Path, PathBuf};
use std::{fs, io};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

/// Files in PEM, in the folder of the server.
#[derive(Debug)]
pub(crate) struct Certificate {
    /// The authority's certificate: what clients trust.
    pub(crate) authority: PathBuf,
    /// The server's certificate, for 127.0.0.1 and localhost.
    pub(crate) certificate: PathBuf,
    /// Its secret key.
    pub(crate) key: PathBuf,
}

impl Certificate {
    /// Makes both anew. The authority's key is forgotten, so that it can vouch for nothing else.
    pub(crate) fn make(folder: &Path) -> io::Result<Self> {
        let authority = authority().map_err(io::Error::other)?;
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let certificate = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()])
            .and_then(|parameters| parameters.signed_by(&key, &authority))
            .map_err(io::Error::other)?;
        let write = |name: &str, pem: String| {
            let path = folder.join(name);
            fs::write(&path, pem).map(|()| path)
        };
        Ok(Self {
            authority: write("ca.pem", authority.pem())?,
            certificate: write("server.pem", certificate.pem())?,
            key: write("server-key.pem", key.serialize_pem())?,
        })
    }
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let mut parameters = CertificateParams::default();
    // Other than the server's: a certificate whose issuer has its own name counts as signed by itself.
    parameters
        .distinguished_name
        .push(DnType::CommonName, "jobcore's tests");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages.push(KeyUsagePurpose::KeyCertSign);
    CertifiedIssuer::self_signed(parameters, KeyPair::generate()?)
}
