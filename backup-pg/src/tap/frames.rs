//! Messages of PostgreSQL's protocol, told apart as their bytes pass by.

/// A message's kind and the length of it that follows.
const HEADER_BYTES: usize = 5;

/// What the server begins a COPY of rows to the client with.
pub(super) const COPY_OUT: u8 = b'H';
/// Some of its rows, one by PostgreSQL's own habit.
pub(super) const COPY_DATA: u8 = b'd';
/// Its end.
pub(super) const COPY_DONE: u8 = b'c';
/// Its failure, as of any statement.
pub(super) const ERROR: u8 = b'E';

/// Where in a stream of messages the next byte belongs.
#[derive(Debug, Default)]
pub(super) struct Frames {
    header: [u8; HEADER_BYTES],
    /// How much of the header has come.
    known: usize,
    /// How much of the message has not come.
    left: usize,
}

/// Some of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part<'b> {
    pub(super) kind: u8,
    /// The header, with the first part.
    pub(super) header: Option<[u8; HEADER_BYTES]>,
    pub(super) body: &'b [u8],
    pub(super) is_last: bool,
}

/// A length that no message has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoMessage;

impl Frames {
    /// The next part in `bytes`, which it leaves; `None` when more must come first.
    #[inline]
    pub(super) fn next<'b>(&mut self, bytes: &mut &'b [u8]) -> Result<Option<Part<'b>>, NoMessage> {
        let mut header = None;
        if self.known < HEADER_BYTES {
            let (now, later) = bytes.split_at(bytes.len().min(HEADER_BYTES - self.known));
            self.header[self.known..self.known + now.len()].copy_from_slice(now);
            self.known += now.len();
            *bytes = later;
            if self.known < HEADER_BYTES {
                return Ok(None);
            }
            let [_, length @ ..] = self.header;
            // The length counts itself.
            self.left = (u32::from_be_bytes(length) as usize).checked_sub(4).ok_or(NoMessage)?;
            header = Some(self.header);
        } else if bytes.is_empty() {
            return Ok(None);
        }
        let (body, later) = bytes.split_at(bytes.len().min(self.left));
        *bytes = later;
        self.left -= body.len();
        let is_last = self.left == 0;
        if is_last {
            self.known = 0;
        }
        Ok(Some(Part { kind: self.header[0], header, body, is_last }))
    }
}

/// The header of a message with so long a body.
pub(super) fn header(kind: u8, body: usize) -> [u8; HEADER_BYTES] {
    let length = u32::try_from(body + 4).unwrap_or(u32::MAX).to_be_bytes();
    [kind, length[0], length[1], length[2], length[3]]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn messages_are_the_same_however_their_bytes_are_cut(
            messages in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)), 0..20),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let stream: Vec<u8> =
                messages.iter().flat_map(|(kind, body)| [&header(*kind, body.len())[..], body].concat()).collect();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            at.extend([0, stream.len()]);
            at.sort_unstable();
            let (mut frames, mut found, mut raw) = (Frames::default(), Vec::new(), Vec::new());
            for piece in at.windows(2) {
                let mut bytes = &stream[piece[0]..piece[1]];
                while let Some(part) = frames.next(&mut bytes).unwrap() {
                    if let Some(header) = part.header {
                        found.push((part.kind, Vec::new(), false));
                        raw.extend_from_slice(&header);
                    }
                    raw.extend_from_slice(part.body);
                    let last = found.last_mut().unwrap();
                    last.1.extend_from_slice(part.body);
                    last.2 |= part.is_last;
                }
                prop_assert!(bytes.is_empty());
            }
            prop_assert_eq!(raw, stream);
            let expected: Vec<_> = messages.into_iter().map(|(kind, body)| (kind, body, true)).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_length_that_does_not_count_itself_is_refused() {
        assert_eq!(Frames::default().next(&mut &b"D\0\0\0\x03"[..]), Err(NoMessage));
    }
}
