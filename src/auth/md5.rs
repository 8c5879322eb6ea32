//! The answer to AuthenticationMD5Password, for backends that still ask for it.

use md5::{Digest, Md5};
use zeroize::Zeroizing;

/// What PasswordMessage says to AuthenticationMD5Password:
/// `md5` and the hex of `md5(hex(md5(password user)) salt)` (PostgreSQL docs, "Message Flow").
///
/// MD5 proves little: whoever reads the answer can guess passwords fast, and the inner hash alone is
/// enough to log in. Use it inside verified TLS or over a Unix-domain socket only.
#[must_use]
pub fn response(user: &[u8], password: &[u8], salt: [u8; 4]) -> Zeroizing<String> {
    let inner = hex_of_md5(password, user);
    let outer = hex_of_md5(inner.as_bytes(), &salt);
    Zeroizing::new(format!("md5{}", *outer))
}

fn hex_of_md5(secret: &[u8], salt: &[u8]) -> Zeroizing<String> {
    let hash = Md5::new()
        .chain_update(secret)
        .chain_update(salt)
        .finalize();
    // Room for all of it, so that no part of it is left behind by a reallocation.
    let mut hex = Zeroizing::new(String::with_capacity(2 * hash.len()));
    for byte in hash {
        for nibble in [byte >> 4, byte & 0xf] {
            hex.extend(char::from_digit(u32::from(nibble), 16));
        }
    }
    hex
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_answer_is_postgresql_s() {
        assert_eq!(
            *response(b"alice", b"secret", [1, 2, 3, 4]),
            "md598a0412b9c31436fc53776e863350083"
        );
    }

    proptest! {
        #[test]
        fn another_client_gives_the_same_answer(
            user in proptest::collection::vec(any::<u8>(), 0..40),
            password in proptest::collection::vec(any::<u8>(), 0..40),
            salt: [u8; 4],
        ) {
            let theirs = postgres_protocol::authentication::md5_hash(&user, &password, salt);
            prop_assert_eq!(&*response(&user, &password, salt), &theirs);
        }
    }
}
