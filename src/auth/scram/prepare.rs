//! Passwords as PostgreSQL prepares them: SASLprep (RFC 4013) where it can be done, else as they are.

use stringprep::tables;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

/// The bytes that a password's keys are derived from.
///
/// PostgreSQL takes a password that is not UTF-8, or that SASLprep prohibits, as it is. What is
/// prohibited it decides, other than RFC 3454 says, before normalization and not after it;
/// so do we, or the keys would not be the server's.
pub(super) fn prepare(password: &[u8]) -> Zeroizing<Vec<u8>> {
    let prepared = std::str::from_utf8(password).ok().and_then(saslprep);
    prepared.unwrap_or_else(|| Zeroizing::new(password.to_vec()))
}

/// None if the password is prohibited.
fn saslprep(password: &str) -> Option<Zeroizing<Vec<u8>>> {
    if password.is_ascii() {
        return Some(Zeroizing::new(password.as_bytes().to_vec()));
    }
    let mapped: Zeroizing<Vec<char>> = Zeroizing::new(password.chars().filter_map(map).collect());
    let is_allowed = !mapped.is_empty()
        && !mapped.iter().copied().any(is_prohibited)
        && !is_prohibited_bidirectional(&mapped);
    is_allowed.then(|| {
        let normalized: Zeroizing<String> = Zeroizing::new(mapped.iter().copied().nfkc().collect());
        Zeroizing::new(normalized.as_bytes().to_vec())
    })
}

/// RFC 4013 section 2.1.
fn map(character: char) -> Option<char> {
    if tables::non_ascii_space_character(character) {
        Some(' ')
    } else {
        (!tables::commonly_mapped_to_nothing(character)).then_some(character)
    }
}

/// RFC 4013 sections 2.3 and 2.5.
fn is_prohibited(character: char) -> bool {
    tables::non_ascii_space_character(character)
        || tables::ascii_control_character(character)
        || tables::non_ascii_control_character(character)
        || tables::private_use(character)
        || tables::non_character_code_point(character)
        || tables::inappropriate_for_plain_text(character)
        || tables::inappropriate_for_canonical_representation(character)
        || tables::change_display_properties_or_deprecated(character)
        || tables::tagging_character(character)
        || tables::unassigned_code_point(character)
}

/// RFC 3454 section 6: text from right to left must be nothing else, and begin and end with it.
fn is_prohibited_bidirectional(text: &[char]) -> bool {
    let is_right_to_left = |character: &char| tables::bidi_r_or_al(*character);
    let ends_are =
        text.first().is_some_and(is_right_to_left) && text.last().is_some_and(is_right_to_left);
    text.iter().any(is_right_to_left)
        && (!ends_are || text.iter().any(|character| tables::bidi_l(*character)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(password: &str) -> String {
        String::from_utf8(prepare(password.as_bytes()).to_vec()).unwrap()
    }

    #[test]
    fn a_password_is_prepared_by_the_examples_of_rfc_4013() {
        assert_eq!(prepared("I\u{ad}X"), "IX");
        assert_eq!(prepared("user"), "user");
        assert_eq!(prepared("USER"), "USER");
        assert_eq!(prepared("\u{aa}"), "a");
        assert_eq!(prepared("\u{2168}"), "IX");
        assert_eq!(prepared("a\u{3000}b"), "a b");
    }

    #[test]
    fn a_prohibited_password_is_taken_as_it_is() {
        for password in [
            "\u{7}",
            "\u{627}1",
            "a\u{2168}\u{7}",
            "a\u{627}\u{ad}",
            "\u{2168}\u{fffd}",
            "\u{e000}",
        ] {
            assert_eq!(
                prepared(password),
                password,
                "{}",
                password.escape_unicode()
            );
        }
    }

    #[test]
    fn a_password_of_which_nothing_is_left_is_taken_as_it_is() {
        assert_eq!(prepared("\u{ad}\u{200d}"), "\u{ad}\u{200d}");
    }

    #[test]
    fn what_is_prohibited_is_decided_before_normalization_as_postgresql_does() {
        // Both would be harmless after normalization: U+0340 is in table C.8, U+1F130 was not
        // assigned in Unicode 3.2.
        assert_eq!(prepared("\u{2168}\u{340}"), "\u{2168}\u{340}");
        assert_eq!(prepared("\u{2168}\u{1f130}"), "\u{2168}\u{1f130}");
    }

    #[test]
    fn a_password_that_is_not_utf_8_is_taken_as_it_is() {
        for password in [&b"caf\xe9"[..], b"\xc3", b"\xed\xa0\x80", b"\xff\xfe"] {
            assert_eq!(*prepare(password), password);
        }
    }

    #[test]
    fn what_reads_from_right_to_left_is_table_d_1_of_rfc_3454() {
        const D_1: [(u32, u32); 34] = [
            (0x05be, 0x05be),
            (0x05c0, 0x05c0),
            (0x05c3, 0x05c3),
            (0x05d0, 0x05ea),
            (0x05f0, 0x05f4),
            (0x061b, 0x061b),
            (0x061f, 0x061f),
            (0x0621, 0x063a),
            (0x0640, 0x064a),
            (0x066d, 0x066f),
            (0x0671, 0x06d5),
            (0x06dd, 0x06dd),
            (0x06e5, 0x06e6),
            (0x06fa, 0x06fe),
            (0x0700, 0x070d),
            (0x0710, 0x0710),
            (0x0712, 0x072c),
            (0x0780, 0x07a5),
            (0x07b1, 0x07b1),
            (0x200f, 0x200f),
            (0xfb1d, 0xfb1d),
            (0xfb1f, 0xfb28),
            (0xfb2a, 0xfb36),
            (0xfb38, 0xfb3c),
            (0xfb3e, 0xfb3e),
            (0xfb40, 0xfb41),
            (0xfb43, 0xfb44),
            (0xfb46, 0xfbb1),
            (0xfbd3, 0xfd3d),
            (0xfd50, 0xfd8f),
            (0xfd92, 0xfdc7),
            (0xfdf0, 0xfdfc),
            (0xfe70, 0xfe74),
            (0xfe76, 0xfefc),
        ];
        let allowed = (0..=0x10_ffff)
            .filter_map(char::from_u32)
            .filter(|c| !is_prohibited(*c));
        let differ: Vec<char> = allowed
            .filter(|c| {
                let listed = D_1
                    .iter()
                    .any(|(from, to)| (*from..=*to).contains(&u32::from(*c)));
                listed != tables::bidi_r_or_al(*c)
            })
            .collect();
        assert_eq!(differ, []);
    }
}
