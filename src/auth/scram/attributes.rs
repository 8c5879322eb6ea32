//! The syntax of SCRAM messages (RFC 5802 section 7), as PostgreSQL reads it.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

/// How a SCRAM message is malformed. The text is PostgreSQL's detail where it has one, without what
/// the peer sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// There is nothing in it.
    #[error("The message is empty.")]
    Empty,
    /// There is a zero byte in it.
    #[error("Message length does not match input length.")]
    EmbeddedZero,
    /// It is longer than such a message may be.
    #[error("The message is too long.")]
    TooLong,
    /// Another attribute, or nothing, where this one belongs.
    #[error("Expected attribute \"{0}\".")]
    AttributeExpected(char),
    /// No `=` after the name of an attribute.
    #[error("Expected character \"=\" for an attribute.")]
    EqualsExpected,
    /// The end where an attribute belongs.
    #[error("Attribute expected, but found end of string.")]
    EndOfString,
    /// An attribute whose name is no letter.
    #[error("Attribute expected, but found invalid character.")]
    AttributeName,
    /// No comma after the channel-binding flag.
    #[error("Comma expected.")]
    CommaExpected,
    /// A gs2-header that begins with none of `n`, `y`, `p`.
    #[error("Unexpected channel-binding flag.")]
    ChannelBindingFlag,
    /// SCRAM-SHA-256-PLUS with the flag `n` or `y`.
    #[error(
        "The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not include channel binding data."
    )]
    PlusWithoutBinding,
    /// SCRAM-SHA-256 with the flag `p`.
    #[error(
        "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes channel binding data."
    )]
    BindingWithoutPlus,
    /// Something other than an authorization identity or a comma in the gs2-header.
    #[error("Unexpected attribute in client-first-message.")]
    Gs2Header,
    /// A proof that is not 32 bytes of base64.
    #[error("Malformed proof in client-final-message.")]
    Proof,
    /// More after the proof.
    #[error("Garbage found at the end of client-final-message.")]
    GarbageAfterProof,
    /// A nonce with characters that can't be printed.
    #[error("Non-printable characters in the server's nonce.")]
    ServerNonce,
    /// A salt that is empty, too long, or not base64.
    #[error("Invalid salt.")]
    Salt,
    /// An iteration count that is no number from 1 to 2147483647.
    #[error("Invalid iteration count.")]
    Iterations,
    /// More after the iteration count.
    #[error("Garbage at end of server-first-message.")]
    GarbageAfterIterations,
    /// A ServerSignature that is not 32 bytes of base64.
    #[error("Invalid server signature.")]
    ServerSignature,
    /// More after the ServerSignature.
    #[error("Garbage at end of server-final-message.")]
    GarbageAfterSignature,
}

/// A message's attributes, taken off its front.
pub(super) struct Attributes<'a> {
    message: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    pub(super) const fn new(message: &'a [u8]) -> Self {
        Self {
            message,
            rest: message,
        }
    }

    /// What has not been taken yet.
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// What has been taken, without the comma at its end.
    pub(super) fn taken(&self) -> &'a [u8] {
        let length = self.message.len().saturating_sub(self.rest.len());
        let taken = self.message.get(..length).unwrap_or_default();
        taken.strip_suffix(b",").unwrap_or(taken)
    }

    /// Takes the attribute of this name, and the comma after it.
    pub(super) fn take(&mut self, name: u8) -> Result<&'a [u8], Malformed> {
        let Some(after_name) = self.rest.strip_prefix(&[name]) else {
            return Err(Malformed::AttributeExpected(char::from(name)));
        };
        self.take_value(after_name)
    }

    /// Takes the next attribute of any name, and the comma after it.
    pub(super) fn take_any(&mut self) -> Result<(u8, &'a [u8]), Malformed> {
        let Some((&name, after_name)) = self.rest.split_first() else {
            return Err(Malformed::EndOfString);
        };
        if !name.is_ascii_alphabetic() {
            return Err(Malformed::AttributeName);
        }
        Ok((name, self.take_value(after_name)?))
    }

    fn take_value(&mut self, after_name: &'a [u8]) -> Result<&'a [u8], Malformed> {
        let Some(value_and_rest) = after_name.strip_prefix(b"=") else {
            return Err(Malformed::EqualsExpected);
        };
        let mut parts = value_and_rest.splitn(2, |byte| *byte == b',');
        let value = parts.next().unwrap_or_default();
        self.rest = parts.next().unwrap_or_default();
        Ok(value)
    }
}

/// Lets only a message through that has something in it, no zero byte, and at most `max` bytes.
pub(super) fn bounded(message: &[u8], max: usize) -> Result<&[u8], Malformed> {
    if message.is_empty() {
        Err(Malformed::Empty)
    } else if message.len() > max {
        Err(Malformed::TooLong)
    } else if message.contains(&0) {
        Err(Malformed::EmbeddedZero)
    } else {
        Ok(message)
    }
}

/// Whether it is all `printable` of RFC 5802 section 7: ASCII that can be seen, but no comma.
pub(super) fn is_printable(nonce: &[u8]) -> bool {
    nonce
        .iter()
        .all(|byte| byte.is_ascii_graphic() && *byte != b',')
}
