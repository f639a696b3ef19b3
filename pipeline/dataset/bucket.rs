//! Users: keyed ids, buckets and splits. Each is a hash for a purpose of its own, so they are independent.

use std::path::Path;

use crate::{Error, Result};

/// 32 bytes that turn a platform's user ids into ours. Printing it shows its check value only.
#[derive(Clone)]
pub struct UserKey([u8; 32]);

/// The environment variable that holds the key.
pub const KEY_VARIABLE: &str = "QUERENT_USER_KEY";
const SHORTEST_KEY: usize = 16;

impl std::fmt::Debug for UserKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UserKey(check {})", self.check())
    }
}

impl UserKey {
    /// A key from a secret of at least 16 bytes.
    pub fn new(secret: &[u8]) -> Result<Self> {
        if secret.len() < SHORTEST_KEY {
            return Err(Error::setting(
                KEY_VARIABLE,
                format!("a secret of at least {SHORTEST_KEY} bytes"),
                format!("{} bytes", secret.len()),
                "make one with `openssl rand -hex 32` and keep it: other keys give other user ids",
            ));
        }
        Ok(UserKey(blake3::derive_key("querent 2026 user ids", secret)))
    }

    /// The key from a file, else from `QUERENT_USER_KEY`, else (only when allowed) the public development key.
    pub fn find(file: Option<&Path>, insecure_dev_key: bool) -> Result<Self> {
        if let Some(file) = file {
            let secret = std::fs::read(file).map_err(|e| Error::io(file.display(), e))?;
            return Self::new(secret.trim_ascii());
        }
        match std::env::var(KEY_VARIABLE) {
            Ok(secret) => Self::new(secret.trim().as_bytes()),
            Err(_) if insecure_dev_key => Self::new(b"querent development key, public"),
            Err(_) => Err(Error::setting(
                KEY_VARIABLE,
                "a secret that keys the user ids",
                "nothing",
                "set it, or give --user-key-file, or for trying out --insecure-dev-key",
            )),
        }
    }

    /// Eight bytes in hex that tell keys apart and say nothing else.
    pub fn check(&self) -> String {
        hex(&self.hash(b"check", &[b"querent"]).as_bytes()[..8])
    }

    /// Our id for a platform's id: a keyed BLAKE3, 16 bytes.
    pub fn user_id(&self, raw: &[u8]) -> [u8; 16] {
        first_16(&self.hash(b"user", &[raw]))
    }

    fn hash(&self, purpose: &[u8], parts: &[&[u8]]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(purpose).update(&[0]);
        for part in parts {
            hasher.update(part);
        }
        hasher.finalize()
    }
}

fn first_16(hash: &blake3::Hash) -> [u8; 16] {
    let mut id = [0; 16];
    id.copy_from_slice(&hash.as_bytes()[..16]);
    id
}

/// 128 bits of BLAKE3 over length-prefixed parts.
pub fn digest_128(parts: &[&[u8]]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    first_16(&hasher.finalize())
}

/// A hash of a user's id for one purpose, uniform over `u64`.
pub fn user_hash(user_id: &[u8; 16], purpose: &str) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(purpose.as_bytes()).update(&[0]).update(user_id);
    let mut low = [0; 8];
    low.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(low)
}

/// The user's bucket, of `buckets`.
pub fn bucket(user_id: &[u8; 16], buckets: u32) -> u32 {
    (user_hash(user_id, "bucket") % u64::from(buckets)) as u32
}

/// The user's split: 80% train, 10% valid, 10% test.
pub fn split(user_id: &[u8; 16]) -> &'static str {
    match user_hash(user_id, "split") % 10 {
        0..8 => "train",
        8 => "valid",
        _ => "test",
    }
}

/// Lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)].into());
        text.push(DIGITS[usize::from(byte & 15)].into());
    }
    text
}

/// The 16 bytes that 32 hex digits spell, if they do.
pub fn unhex(text: &str) -> Option<[u8; 16]> {
    let text = text.as_bytes();
    if text.len() != 32 {
        return None;
    }
    let digit = |c: u8| (c as char).to_digit(16).map(|d| d as u8);
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips() {
        let id = digest_128(&[b"a", b"b"]);
        assert_eq!(unhex(&hex(&id)), Some(id));
        assert_eq!(unhex("zz"), None);
        assert_ne!(digest_128(&[b"ab", b""]), id, "parts are delimited");
    }

    #[test]
    fn keys_separate_users_and_checks() -> Result<()> {
        let (a, b) = (UserKey::new(&[1; 32])?, UserKey::new(&[2; 32])?);
        assert_ne!(a.check(), b.check());
        assert_ne!(a.user_id(b"u"), b.user_id(b"u"));
        assert_eq!(UserKey::new(b"short").map_err(|e| e.exit_code()).err(), Some(2));
        Ok(())
    }

    #[test]
    fn splits_and_buckets_are_balanced_and_independent() -> Result<()> {
        let key = UserKey::new(&[7; 32])?;
        let mut counts = [[0u32; 3]; 4];
        for i in 0..40_000u32 {
            let id = key.user_id(&i.to_le_bytes());
            let split = ["train", "valid", "test"].iter().position(|s| *s == split(&id));
            counts[bucket(&id, 4) as usize][split.unwrap_or(0)] += 1;
        }
        for row in counts {
            for (got, expected) in row.iter().zip([8_000.0, 1_000.0, 1_000.0_f64]) {
                assert!((f64::from(*got) - expected).abs() < 5.0 * expected.sqrt(), "{counts:?}");
            }
        }
        Ok(())
    }
}
