//! What is kept of a stream for the record of the attempt: its head and its tail, within a cap.

use std::collections::VecDeque;

/// One output stream as the record of the attempt keeps it.
///
/// Within the cap it is the whole stream. Of a longer one, [`text`](Self::text) has the first half of the cap and the
/// last half, and between them a line that says how many bytes were dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captured {
    /// The text, invalid UTF-8 replaced by U+FFFD. The marker line comes on top of the cap.
    pub text: String,
    /// How many bytes were dropped in the middle.
    pub dropped_bytes: u64,
}

/// Collects a stream into a [`Captured`], never holding more than the cap.
#[derive(Debug)]
pub(super) struct Capture {
    head: String,
    head_room: usize,
    tail: VecDeque<u8>,
    tail_cap: usize,
    dropped_bytes: u64,
}

impl Capture {
    pub(super) fn new(cap: usize) -> Self {
        let tail_cap = cap / 2;
        Self {
            head: String::new(),
            head_room: cap - tail_cap,
            tail: VecDeque::new(),
            tail_cap,
            dropped_bytes: 0,
        }
    }

    pub(super) fn push(&mut self, text: &str) {
        let split = text.floor_char_boundary(self.head_room.min(text.len()));
        self.head.push_str(&text[..split]);
        // What doesn't fit into the head ends it, or the rest would no longer be in order.
        self.head_room = if split < text.len() {
            0
        } else {
            self.head_room - split
        };
        self.push_tail(&text.as_bytes()[split..]);
    }

    fn push_tail(&mut self, bytes: &[u8]) {
        let keep = bytes.len().min(self.tail_cap);
        let make_room = (self.tail.len() + keep).saturating_sub(self.tail_cap);
        self.tail.drain(..make_room);
        self.tail.extend(&bytes[bytes.len() - keep..]);
        self.dropped_bytes += (make_room + bytes.len() - keep) as u64;
    }

    pub(super) fn finish(mut self) -> Captured {
        // Dropping may have cut a character in two.
        while self.tail.front().is_some_and(|byte| byte & 0xC0 == 0x80) {
            self.tail.pop_front();
            self.dropped_bytes += 1;
        }
        let mut text = self.head;
        if self.dropped_bytes > 0 {
            let break_before = if text.is_empty() || text.ends_with('\n') {
                ""
            } else {
                "\n"
            };
            text.push_str(&format!(
                "{break_before}[... {} bytes dropped ...]\n",
                self.dropped_bytes
            ));
        }
        text.push_str(&String::from_utf8_lossy(self.tail.make_contiguous()));
        Captured {
            text,
            dropped_bytes: self.dropped_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(cap: usize, parts: &[&str]) -> Captured {
        let mut capture = Capture::new(cap);
        parts.iter().for_each(|part| capture.push(part));
        capture.finish()
    }

    #[test]
    fn within_the_cap_everything_is_kept() {
        assert_eq!(captured(6, &["ab", "cd", "ef"]).text, "abcdef");
        assert_eq!(
            captured(6, &["abcdef"]),
            Captured {
                text: "abcdef".into(),
                dropped_bytes: 0
            }
        );
    }

    #[test]
    fn beyond_the_cap_head_and_tail_are_kept() {
        let expected = Captured {
            text: "abc\n[... 4 bytes dropped ...]\nhij".into(),
            dropped_bytes: 4,
        };
        assert_eq!(captured(6, &["abcdefghij"]), expected);
        assert_eq!(captured(6, &["ab", "cdefgh", "i", "j"]), expected);
        assert_eq!(captured(0, &["ab\n", "c"]).text, "[... 4 bytes dropped ...]\n");
    }

    #[test]
    fn characters_stay_whole() {
        let kept = captured(6, &["äöü", "äöü"]);
        assert_eq!(kept.text, "ä\n[... 8 bytes dropped ...]\nü");
    }
}
