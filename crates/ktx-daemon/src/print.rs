//! What `ktx-daemon execute` writes to standard output.

use std::io::{self, Write};

use ktx_daemon::call::{Chunk, Stream};
use ktx_daemon::outcome::Outcome;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

/// Prints output as it comes, a line for each piece.
pub(crate) async fn chunks(mut chunks: mpsc::Receiver<Chunk>) -> io::Result<()> {
    let mut stdout = tokio::io::stdout();
    let mut tails = [Vec::new(), Vec::new()];
    while let Some(Chunk { stream, bytes }) = chunks.recv().await {
        let tail = &mut tails[stream as usize];
        tail.extend_from_slice(&bytes);
        let text = take_text(tail);
        if !text.is_empty() {
            stdout.write_all(line(stream, &text).as_bytes()).await?;
            stdout.flush().await?;
        }
    }
    for (stream, tail) in [Stream::Stdout, Stream::Stderr].into_iter().zip(tails) {
        if !tail.is_empty() {
            let text = String::from_utf8_lossy(&tail);
            stdout.write_all(line(stream, &text).as_bytes()).await?;
        }
    }
    stdout.flush().await
}

/// Prints the outcome; in a stream, as the last of its lines.
pub(crate) fn outcome(outcome: &Outcome, is_streamed: bool) -> io::Result<()> {
    let mut output = io::BufWriter::new(io::stdout().lock());
    if is_streamed {
        output.write_all(b"{\"outcome\":")?;
    }
    serde_json::to_writer(&mut output, outcome)?;
    output.write_all(if is_streamed { b"}\n" } else { b"\n" })?;
    output.flush()
}

fn line(stream: Stream, text: &str) -> String {
    let name = match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    };
    format!("{}\n", json!({ name: text }))
}

/// The text at the beginning of `bytes`, which keep a character that is not
/// whole yet. Bytes that are not UTF-8 become U+FFFD.
fn take_text(bytes: &mut Vec<u8>) -> String {
    // A character has at most four bytes, of which three can be here.
    let is_cut = |start: &usize| {
        std::str::from_utf8(&bytes[*start..])
            .is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    };
    let whole = (bytes.len().saturating_sub(3)..bytes.len())
        .find(is_cut)
        .unwrap_or(bytes.len());
    let text = String::from_utf8_lossy(&bytes[..whole]).into_owned();
    bytes.drain(..whole);
    text
}

#[cfg(test)]
mod tests {
    use super::take_text;

    #[test]
    fn keeps_a_character_that_is_not_whole_yet() {
        let mut bytes = "aé".as_bytes()[..2].to_vec();
        assert_eq!(take_text(&mut bytes), "a");
        bytes.push("é".as_bytes()[1]);
        assert_eq!(take_text(&mut bytes), "é");
        bytes.extend_from_slice(b"\xffb\xf0\x9f");
        assert_eq!(take_text(&mut bytes), "\u{fffd}b");
        assert_eq!(bytes, b"\xf0\x9f");
    }
}
