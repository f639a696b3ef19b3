//! Users: keyed ids, buckets and splits. Each is a hash for a purpose of its own, so they are independent.

use std::io::Read;
use std::path::PathBuf;

use crate::{Error, Result};

/// Where the key of user ids comes from. Never from an argument: others could read it.
#[derive(Debug, Clone, Default)]
pub struct KeySource {
    /// A file with the secret.
    pub file: Option<PathBuf>,
    /// Where there is no other, the public key for simulated and public data.
    pub insecure_dev_key: bool,
}

impl KeySource {
    /// The key from the file, else from `QUERENT_USER_KEY`, else (only when allowed) the public development key.
    pub fn find(&self) -> Result<UserKey> {
        if let Some(path) = &self.file {
            let failed = |e| Error::io(path.display(), e);
            // A pipe or a device would hang or fill memory.
            if !std::fs::metadata(path).map_err(failed)?.is_file() {
                let hint = "make one with `openssl rand -hex 32`";
                return Err(Error::setting("--user-key-file", "a regular file", path.display(), hint));
            }
            let mut secret = Vec::new();
            let file = std::fs::File::open(path).map_err(failed)?;
            file.take(LONGEST_KEY).read_to_end(&mut secret).map_err(failed)?;
            return UserKey::new(secret.trim_ascii());
        }
        match std::env::var_os(KEY_VARIABLE) {
            Some(secret) => UserKey::new(secret.as_encoded_bytes().trim_ascii()),
            None if self.insecure_dev_key => Ok(UserKey::derived(b"querent development key, public")),
            None => Err(Error::setting(
                KEY_VARIABLE,
                "a secret that keys the user ids",
                "nothing",
                "set it, or give --user-key-file, or for trying out --insecure-dev-key",
            )),
        }
    }
}

/// 32 bytes that turn a platform's user ids into ours. Printing it shows its check value only.
#[derive(Clone)]
pub struct UserKey([u8; 32]);

/// The environment variable that holds the key.
pub const KEY_VARIABLE: &str = "QUERENT_USER_KEY";
const LONGEST_KEY: u64 = 4096;

/// Bytes of a message that is hashed at once: most ids and texts of users are no longer.
const SHORT: usize = 256;
/// Parts of a message, at most.
const MAX_PARTS: usize = 8;

impl std::fmt::Debug for UserKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UserKey(check {})", self.check())
    }
}

impl UserKey {
    /// A key from a secret of at least 32 hex digits or 22 base64 characters, which is 128 bits. What people think up themselves has
    /// fewer, and the check value in every manifest would let it be guessed.
    pub fn new(secret: &[u8]) -> Result<Self> {
        let hex = secret.iter().all(u8::is_ascii_hexdigit);
        let base64 = secret.iter().all(|c| c.is_ascii_alphanumeric() || b"+/-_=".contains(c));
        let distinct = secret.iter().collect::<std::collections::BTreeSet<_>>().len();
        let long = secret.len() >= if hex { 32 } else { 22 } && distinct >= 8;
        // A word and a year is base64 too; random letters mix cases and digits.
        let mixed = hex
            || (secret.iter().any(u8::is_ascii_lowercase)
                && secret.iter().any(u8::is_ascii_uppercase)
                && secret.iter().any(u8::is_ascii_digit));
        if !(long && base64 && mixed) {
            return Err(Error::setting(
                KEY_VARIABLE,
                "a random secret of at least 128 bits, as 32 hex digits or more, or as base64",
                format!("{} bytes that are none", secret.len()),
                "make one with `openssl rand -hex 32` and keep it: other keys give other user ids",
            ));
        }
        Ok(Self::derived(secret))
    }

    fn derived(secret: &[u8]) -> Self {
        UserKey(blake3::derive_key("querent 2026 user ids", secret))
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
        let parts = [purpose, &[0]].into_iter().chain(parts.iter().copied());
        hash(parts, |short| blake3::keyed_hash(&self.0, short), || blake3::Hasher::new_keyed(&self.0))
    }
}

/// BLAKE3 over parts, one after the other. What is short is hashed at once, which takes half the time.
fn hash<'a>(
    parts: impl Iterator<Item = &'a [u8]> + Clone,
    at_once: impl FnOnce(&[u8]) -> blake3::Hash,
    by_part: impl FnOnce() -> blake3::Hasher,
) -> blake3::Hash {
    let (mut short, mut length) = ([0; SHORT], 0);
    for part in parts.clone() {
        let Some(room) = short.get_mut(length..length + part.len()) else {
            let mut hasher = by_part();
            parts.for_each(|part| {
                hasher.update(part);
            });
            return hasher.finalize();
        };
        room.copy_from_slice(part);
        length += part.len();
    }
    at_once(&short[..length])
}

fn first_16(hash: &blake3::Hash) -> [u8; 16] {
    let mut id = [0; 16];
    id.copy_from_slice(&hash.as_bytes()[..16]);
    id
}

/// 128 bits of BLAKE3 over length-prefixed parts.
pub fn digest_128(parts: &[&[u8]]) -> [u8; 16] {
    let mut lengths = [[0; 8]; MAX_PARTS];
    assert!(parts.len() <= MAX_PARTS, "nothing has so many parts");
    lengths.iter_mut().zip(parts).for_each(|(length, part)| *length = (part.len() as u64).to_le_bytes());
    let parts = lengths.iter().zip(parts).flat_map(|(length, part)| [length.as_slice(), part]);
    first_16(&hash(parts, blake3::hash, blake3::Hasher::new))
}

/// A seed of its own for every purpose and number: 64 bits of BLAKE3 over `seed`, `purpose` and `number`, each with its length. Every
/// random stream of the project begins here.
pub fn stream(seed: u64, purpose: &str, number: impl AsRef<[u8]>) -> u64 {
    let digest = digest_128(&[&seed.to_le_bytes(), purpose.as_bytes(), number.as_ref()]);
    let mut low = [0; 8];
    low.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(low)
}

/// A hash of a user's id for one purpose, uniform over `u64`.
pub fn user_hash(user_id: &[u8; 16], purpose: &str) -> u64 {
    let hash = hash([purpose.as_bytes(), &[0], user_id].into_iter(), blake3::hash, blake3::Hasher::new);
    let mut low = [0; 8];
    low.copy_from_slice(&hash.as_bytes()[..8]);
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
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        DIGITS[usize::from(*byte)].iter().for_each(|digit| text.push((*digit).into()));
    }
    text
}

/// The 32 hex digits of an id, as ASCII.
pub fn hex_id(id: &[u8; 16]) -> [u8; 32] {
    let mut text = [0; 32];
    text.chunks_exact_mut(2).zip(id).for_each(|(pair, byte)| pair.copy_from_slice(&DIGITS[usize::from(*byte)]));
    text
}

/// The two hex digits of every byte.
const DIGITS: [[u8; 2]; 256] = {
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [b"0123456789abcdef"[byte >> 4], b"0123456789abcdef"[byte & 15]];
        byte += 1;
    }
    pairs
};

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
        assert_eq!(hex_id(&id), hex(&id).as_bytes());
        assert_eq!(unhex("zz"), None);
        assert_ne!(digest_128(&[b"ab", b""]), id, "parts are delimited");
    }

    #[test]
    fn keys_separate_users_and_checks() -> Result<()> {
        let (a, b) = (UserKey::derived(&[1; 32]), UserKey::derived(&[2; 32]));
        assert_ne!(a.check(), b.check());
        assert_ne!(a.user_id(b"u"), b.user_id(b"u"));
        for weak in [
            "short",
            "newsplatform2025",
            "NewsPlatform2025Secret!",
            "a sentence that people think up 2025",
            &"0".repeat(64),
        ] {
            assert_eq!(UserKey::new(weak.as_bytes()).map_err(|e| e.exit_code()).err(), Some(2), "{weak}");
        }
        assert!(UserKey::new(b"9f86d081884c7d659a2feaa0c55ad015").is_ok());
        assert!(UserKey::new(b"n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=").is_ok());
        Ok(())
    }

    #[test]
    fn splits_and_buckets_are_balanced_and_independent() -> Result<()> {
        let key = UserKey::derived(&[7; 32]);
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
