//! Private keys in the encrypted form that `cosign generate-key-pair` writes.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, anyhow, bail, ensure};
use aws_lc_rs::constant_time;
use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pem::{EncodeConfig, LineEnding, Pem};
use poly1305::Poly1305;
use poly1305::universal_hash::KeyInit as _;
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit as _, StreamCipher as _};
use serde::Deserialize;

/// Holds the password of the key, as for cosign.
pub const PASSWORD: &str = "COSIGN_PASSWORD";

/// What cosign calls them, now and before.
const LABELS: [&str; 2] = ["ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"];

/// A file may not make us use more memory than this, in bytes; cosign's own keys need 64 MiB.
const MEMORY_LIMIT: u64 = 1 << 30;

/// A key on the curve P-256, which is what cosign makes.
#[derive(Debug)]
pub struct Key(EcdsaKeyPair);

/// The document inside the PEM block.
#[derive(Deserialize)]
struct Encrypted {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Deserialize)]
struct Kdf {
    name: String,
    params: Params,
    salt: String,
}

#[derive(Deserialize)]
struct Params {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

impl Key {
    /// Reads a key file; the password is in [`PASSWORD`].
    ///
    /// # Errors
    /// When it is no such file, or the password is another.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let password = std::env::var(PASSWORD).with_context(|| format!("{PASSWORD} has no password for the key"))?;
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        Self::decrypt(&text, password.as_bytes()).with_context(|| format!("open the key {}", path.display()))
    }

    /// Decrypts the text of a key file.
    ///
    /// # Errors
    /// When it is no such text, or the password is another.
    pub fn decrypt(text: &str, password: &[u8]) -> anyhow::Result<Self> {
        // What stands in it is secret: no words of the file in an error.
        let pem = pem::parse(text).map_err(|_| anyhow!("it is no PEM file"))?;
        ensure!(LABELS.contains(&pem.tag()), "it holds no key that cosign encrypted");
        let encrypted: Encrypted =
            serde_json::from_slice(pem.contents()).map_err(|_| anyhow!("it is not what cosign writes"))?;
        ensure!(encrypted.kdf.name == "scrypt", "its password is used in a way that we do not know");
        ensure!(encrypted.cipher.name == "nacl/secretbox", "it is encrypted in a way that we do not know");
        let secret = encrypted.kdf.params.derive(password, &decode(&encrypted.kdf.salt)?)?;
        let nonce = decode(&encrypted.cipher.nonce)?;
        let nonce = <[u8; 24]>::try_from(nonce.as_slice()).context("its nonce is not of 24 bytes")?;
        let pkcs8 = open(secret, nonce, &decode(&encrypted.ciphertext)?)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8);
        Ok(Self(pair.map_err(|_| anyhow!("it is no ECDSA key on the curve P-256"))?))
    }

    /// The signature of the SHA-256 of a message, in DER.
    ///
    /// # Errors
    /// When the library fails.
    pub fn sign(&self, message: &[u8]) -> anyhow::Result<Vec<u8>> {
        let signature = self.0.sign(&SystemRandom::new(), message).map_err(|_| anyhow!("sign with the key"))?;
        Ok(signature.as_ref().to_vec())
    }

    /// Its public half, as in `cosign.pub`.
    ///
    /// # Errors
    /// When the library fails.
    pub fn public(&self) -> anyhow::Result<String> {
        let der: PublicKeyX509Der<'_> =
            self.0.public_key().as_der().map_err(|_| anyhow!("write the public half of the key"))?;
        let pem = Pem::new("PUBLIC KEY", der.as_ref());
        Ok(pem::encode_config(&pem, EncodeConfig::new().set_line_ending(LineEnding::LF)))
    }
}

impl Params {
    fn derive(&self, password: &[u8], salt: &[u8]) -> anyhow::Result<[u8; 32]> {
        let memory = self.n.checked_mul(u64::from(self.r)).and_then(|count| count.checked_mul(128));
        let is_sane = self.n.is_power_of_two() && memory.is_some_and(|bytes| bytes <= MEMORY_LIMIT) && self.p <= 16;
        let log = u8::try_from(self.n.trailing_zeros()).ok().filter(|_| is_sane);
        let params = log.and_then(|log| scrypt::Params::new(log, self.r, self.p).ok());
        let params = params.context("its parameters of scrypt are not sane")?;
        let mut secret = [0; 32];
        scrypt::scrypt(password, salt, &params, &mut secret).context("derive the key of the key")?;
        Ok(secret)
    }
}

/// Opens a secret box of NaCl: XSalsa20, whose first 32 bytes are the key of the Poly1305 in front of the box.
fn open(secret: [u8; 32], nonce: [u8; 24], sealed: &[u8]) -> anyhow::Result<Vec<u8>> {
    let Some((tag, body)) = sealed.split_at_checked(16) else { bail!("it is too short") };
    let mut stream = XSalsa20::new(&secret.into(), &nonce.into());
    let mut first = [0; 32];
    stream.apply_keystream(&mut first);
    let expected = Poly1305::new(&first.into()).compute_unpadded(body);
    constant_time::verify_slices_are_equal(&expected, tag).map_err(|_| anyhow!("the password is another"))?;
    let mut opened = body.to_vec();
    stream.apply_keystream(&mut opened);
    Ok(opened)
}

fn decode(text: &str) -> anyhow::Result<Vec<u8>> {
    STANDARD.decode(text).map_err(|_| anyhow!("it is not what cosign writes"))
}
