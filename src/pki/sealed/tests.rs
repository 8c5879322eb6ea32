use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::*;

const SECRET: &[u8] = b"-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n";

fn ring(first_bytes: &[u8]) -> KeyRing {
    let keys: Vec<_> = first_bytes
        .iter()
        .map(|byte| STANDARD.encode([*byte; KEY]))
        .collect();
    KeyRing::parse(&keys.join("\n"), "a test").unwrap()
}

struct Kept(tempfile::TempDir);

impl Kept {
    fn new(contents: &[u8]) -> Self {
        let kept = Self(tempfile::tempdir().unwrap());
        fs::write(kept.path(), contents).unwrap();
        fs::set_permissions(kept.path(), fs::Permissions::from_mode(0o600)).unwrap();
        kept
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("ca.key")
    }

    fn read(&self, ring: Option<&KeyRing>) -> Result<(Vec<u8>, bool), String> {
        let private = read(&self.path(), ring).map_err(|error| error.to_string())?;
        Ok((private.contents.to_vec(), private.is_as_wanted))
    }
}

#[test]
fn what_one_key_seals_every_ring_with_that_key_opens() {
    let sealed = ring(&[1]).seal(SECRET).unwrap();
    assert!(!sealed.contains("secret"));
    let kept = Kept::new(sealed.as_bytes());
    assert_eq!(kept.read(Some(&ring(&[1]))), Ok((SECRET.to_vec(), true)));
    // The key-encryption key has been rotated: it still opens, and is to be sealed anew.
    assert_eq!(
        kept.read(Some(&ring(&[2, 1]))),
        Ok((SECRET.to_vec(), false))
    );
}

#[test]
fn a_plain_key_is_read_and_is_as_wanted_only_without_a_key_to_seal_by() {
    let kept = Kept::new(SECRET);
    assert_eq!(kept.read(None), Ok((SECRET.to_vec(), true)));
    assert_eq!(kept.read(Some(&ring(&[1]))), Ok((SECRET.to_vec(), false)));
}

#[test]
fn without_the_key_that_sealed_it_the_error_names_both_ways_to_give_it() {
    let kept = Kept::new(ring(&[1]).seal(SECRET).unwrap().as_bytes());
    let id = ring(&[1]).sealing_id();
    for other in [None, Some(ring(&[2, 3]))] {
        let error = kept.read(other.as_ref()).unwrap_err();
        for word in [
            "encryption_key_file",
            "PORTCULLIS_KEY_ENCRYPTION_KEY",
            "ca.key",
            &id,
        ] {
            assert!(error.contains(word), "{error}");
        }
    }
}

#[test]
fn two_seals_of_the_same_have_nothing_in_common_but_the_head() {
    let bytes = |text: &str| Envelope::read(text.as_bytes()).unwrap().bytes;
    let ring = ring(&[1]);
    let (one, two) = (ring.seal(SECRET).unwrap(), ring.seal(SECRET).unwrap());
    let (one, two) = (bytes(&one), bytes(&two));
    assert_eq!(one[..HEAD], two[..HEAD]);
    assert_ne!(one[HEAD..HEAD + WRAPPED], two[HEAD..HEAD + WRAPPED]);
    assert_ne!(one[HEAD + WRAPPED..], two[HEAD + WRAPPED..]);
    assert_eq!(one.len(), HEAD + WRAPPED + NONCE_LEN + SECRET.len() + TAG);
}

#[test]
fn a_seal_with_any_byte_changed_or_missing_is_refused() {
    let ring = ring(&[1]);
    let sealed = ring.seal(SECRET).unwrap();
    let whole = Envelope::read(sealed.as_bytes()).unwrap().bytes;
    let mut damaged: Vec<Vec<u8>> = (0..whole.len())
        .map(|at| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            bytes
        })
        .collect();
    damaged.extend((0..whole.len()).map(|length| whole[..length].to_vec()));
    assert!(damaged.len() > 200);
    for bytes in damaged {
        Kept::new(pem_block(LABEL, &bytes).as_bytes())
            .read(Some(&ring))
            .unwrap_err();
    }
    for text in [BEGIN.to_owned(), format!("{BEGIN}\n!!\n{END}\n")] {
        Kept::new(text.as_bytes()).read(Some(&ring)).unwrap_err();
    }
}

#[test]
fn t34_keys_are_base64_or_hexadecimal_and_a_bad_one_is_not_quoted() {
    let base64 = STANDARD.encode([7; KEY]);
    let hex = "07".repeat(KEY);
    let id = |text: &str| KeyRing::parse(text, "a test").unwrap().sealing_id();
    assert_eq!(id(&base64), id(&hex));
    let two = format!("# since spring\n{hex} # in force\n\n{}\n", "08".repeat(KEY));
    assert_eq!(id(&two), id(&hex));
    for bad in [
        "",
        "# none",
        "geheim",
        &hex[2..],
        &format!("{hex}00"),
        &base64[4..],
    ] {
        let error = KeyRing::parse(bad, "the place").unwrap_err().to_string();
        assert!(error.contains("the place"), "{error}");
        assert!(
            !error.contains("geheim") && !error.contains("0707"),
            "{error}"
        );
    }
    let shown = format!("{:?}", KeyRing::parse(&hex, "a test").unwrap());
    assert!(!shown.contains("0707"), "{shown}");
}

#[test]
fn a_file_of_keys_that_others_can_read_is_refused() {
    let kept = Kept::new("07".repeat(KEY).as_bytes());
    KeyRing::read(&kept.path()).unwrap();
    fs::set_permissions(kept.path(), fs::Permissions::from_mode(0o644)).unwrap();
    let error = KeyRing::read(&kept.path()).unwrap_err().to_string();
    assert!(error.contains("chmod 600"), "{error}");
}
