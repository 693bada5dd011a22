//! The way of output from the command's pipes to the log: decoded, cut into chunks, and never faster than the log.

use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::capture::Capture;
use crate::attempt::LogStream;

/// The largest chunk in bytes; a longer line is split.
pub const MAX_CHUNK_BYTES: usize = 16 * 1024;
/// How long the beginning of a line waits for its end before it is shown without it, as for a prompt.
const LINE_PATIENCE: Duration = Duration::from_millis(200);

/// Where output goes as it comes.
#[async_trait]
pub trait OutputSink: Send + Sync {
    /// Takes one or more whole lines, or a part of a line, at most [`MAX_CHUNK_BYTES`] of text.
    ///
    /// **Contract**: chunks of one stream come in order, one at a time; the command is slowed to the pace of this
    /// call, since nothing further is read from the stream until it returns. **Cancellation**: dropped at the end of
    /// the attempt if it doesn't return.
    async fn write(&self, stream: LogStream, text: &str);
}

/// Carries a stream from `pipe` to `sink` and `capture` until its end.
pub(super) async fn pump(
    mut pipe: impl AsyncRead + Unpin,
    stream: LogStream,
    sink: &dyn OutputSink,
    capture: &mut Capture,
) {
    let mut buffer = vec![0; MAX_CHUNK_BYTES];
    let mut decoder = Decoder::default();
    let mut text = String::new();
    loop {
        let read = if text.is_empty() {
            pipe.read(&mut buffer).await
        } else if let Ok(read) = timeout(LINE_PATIENCE, pipe.read(&mut buffer)).await {
            read
        } else {
            sink.write(stream, &std::mem::take(&mut text)).await;
            continue;
        };
        // An error of a pipe is its end: nothing more will come.
        let length = read.unwrap_or(0);
        let known = text.len();
        if length == 0 {
            decoder.finish(&mut text);
        } else {
            decoder.decode(&buffer[..length], &mut text);
        }
        capture.push(&text[known..]);
        while let Some(end) = chunk_end(&text, length == 0) {
            sink.write(stream, &text[..end]).await;
            text.drain(..end);
        }
        if length == 0 {
            return;
        }
    }
}

/// Where the next chunk ends: after the last line that fits, or at the size limit; with `flush` at the end of `text`.
fn chunk_end(text: &str, at_end: bool) -> Option<usize> {
    let window = &text[..text.floor_char_boundary(MAX_CHUNK_BYTES.min(text.len()))];
    let whole = window.len() == text.len();
    match window.rfind('\n') {
        _ if window.is_empty() => None,
        _ if at_end && whole => Some(text.len()),
        Some(newline) => Some(newline + 1),
        None if whole && text.len() < MAX_CHUNK_BYTES => None,
        None => Some(window.len()),
    }
}

/// Decodes UTF-8 that comes in pieces. What isn't UTF-8 becomes U+FFFD.
#[derive(Debug, Default)]
struct Decoder {
    /// The beginning of a character whose end hasn't come yet.
    rest: Vec<u8>,
}

impl Decoder {
    fn decode(&mut self, bytes: &[u8], text: &mut String) {
        self.rest.extend_from_slice(bytes);
        let mut input = &self.rest[..];
        loop {
            let error = match std::str::from_utf8(input) {
                Ok(valid) => {
                    text.push_str(valid);
                    return self.rest.clear();
                }
                Err(error) => error,
            };
            let (valid, invalid) = input.split_at(error.valid_up_to());
            text.push_str(std::str::from_utf8(valid).unwrap_or_default());
            let Some(length) = error.error_len() else {
                self.rest = invalid.to_vec();
                return;
            };
            text.push(char::REPLACEMENT_CHARACTER);
            input = &invalid[length..];
        }
    }

    fn finish(&mut self, text: &mut String) {
        if !self.rest.is_empty() {
            self.rest.clear();
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    #[derive(Default)]
    struct Chunks(Mutex<Vec<String>>);

    #[async_trait]
    impl OutputSink for Chunks {
        async fn write(&self, _: LogStream, text: &str) {
            self.0.lock().push(text.to_owned());
        }
    }

    async fn pumped(input: &[u8]) -> (Vec<String>, String) {
        let (chunks, mut capture) = (Chunks::default(), Capture::new(1 << 20));
        pump(input, LogStream::Stdout, &chunks, &mut capture).await;
        (chunks.0.into_inner(), capture.finish().text)
    }

    #[tokio::test]
    async fn chunks_end_at_lines() {
        let (chunks, kept) = pumped(b"one\ntwo\nthr").await;
        assert_eq!(
            (chunks, kept.as_str()),
            (vec!["one\ntwo\n".into(), "thr".into()], "one\ntwo\nthr")
        );
        assert!(pumped(b"").await.0.is_empty());
    }

    #[tokio::test]
    async fn a_long_line_is_split_between_characters() {
        let line = "ä".repeat(MAX_CHUNK_BYTES);
        let (chunks, kept) = pumped(format!("x{line}\n").as_bytes()).await;
        assert!(chunks.iter().all(|chunk| chunk.len() <= MAX_CHUNK_BYTES));
        assert_eq!(chunks.concat(), kept);
        assert_eq!(kept, format!("x{line}\n"));
    }

    #[tokio::test]
    async fn invalid_bytes_are_replaced_and_split_characters_are_joined() {
        assert_eq!(
            pumped(b"a\xFFb\xE2\x82\n\xE2").await.1,
            "a\u{FFFD}b\u{FFFD}\n\u{FFFD}"
        );
        let (mut decoder, mut text) = (Decoder::default(), String::new());
        for byte in "€ä".as_bytes() {
            decoder.decode(std::slice::from_ref(byte), &mut text);
        }
        decoder.finish(&mut text);
        assert_eq!(text, "€ä");
    }

    #[tokio::test(start_paused = true)]
    async fn the_beginning_of_a_line_is_shown_when_its_end_is_late() {
        let (mut writer, reader) = tokio::io::duplex(64);
        let (chunks, mut capture) = (Chunks::default(), Capture::new(64));
        let write = async {
            tokio::io::AsyncWriteExt::write_all(&mut writer, b"Password: ")
                .await
                .unwrap();
            tokio::time::sleep(2 * LINE_PATIENCE).await;
            drop(writer);
        };
        tokio::join!(write, pump(reader, LogStream::Stdout, &chunks, &mut capture));
        assert_eq!(chunks.0.into_inner(), ["Password: "]);
    }
}
