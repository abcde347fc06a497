//! Reading in a thread of its own.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// How many pieces are on their way at once.
const PIECES: u64 = 4;

/// A piece of the stream: the bytes up to the number. An empty one is the end.
type Piece = (Vec<u8>, usize);

/// Reads from a thread that runs ahead by a few pieces.
pub(super) struct Ahead {
    full: Receiver<io::Result<Piece>>,
    empty: SyncSender<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
    end: usize,
    finished: bool,
    /// What the stream ended with, for whoever asks again.
    failed: Option<(io::ErrorKind, String)>,
}

impl Ahead {
    /// Starts the thread; `ahead_bytes` is shared out among the pieces. A reader that could not be made says so at the
    /// first read.
    pub(super) fn start(reader: io::Result<Box<dyn Read + Send>>, ahead_bytes: u64) -> Ahead {
        let piece_bytes = usize::try_from(ahead_bytes / PIECES).unwrap_or(usize::MAX).max(4 << 10);
        let (give_full, full) = sync_channel(PIECES as usize);
        let (empty, take_empty) = sync_channel(PIECES as usize);
        for _ in 0..PIECES {
            // The channel has room for all pieces and its other end is held here.
            let _ = empty.try_send(Vec::new());
        }
        // Not joined: it may wait for a pipe on which nothing comes. It ends when this value is gone.
        std::thread::spawn(move || {
            let mut reader = match reader {
                Ok(reader) => reader,
                Err(error) => return drop(give_full.send(Err(error))),
            };
            while let Ok(mut piece) = take_empty.recv() {
                piece.resize(piece_bytes, 0);
                let filled = fill(&mut *reader, &mut piece);
                let is_last = filled.as_ref().is_ok_and(|filled| *filled == 0) || filled.is_err();
                if give_full.send(filled.map(|filled| (piece, filled))).is_err() || is_last {
                    return;
                }
            }
        });
        Ahead { full, empty, piece: Vec::new(), at: 0, end: 0, finished: false, failed: None }
    }
}

/// Fills all of `piece` where the stream goes so far. An error throws away what came before it in the piece: nobody
/// may take the beginning for the whole.
fn fill(reader: &mut dyn Read, piece: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = piece.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

impl Read for Ahead {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        if target.is_empty() || self.finished {
            return Ok(0);
        }
        if let Some((kind, message)) = &self.failed {
            return Err(io::Error::new(*kind, message.as_str()));
        }
        if self.at == self.end {
            // A thread that died without a last word must not look like the end of the stream.
            let next = self.full.recv().unwrap_or_else(|_| Err(io::Error::other("the reading thread is gone")));
            let (piece, end) = next.inspect_err(|error| self.failed = Some((error.kind(), error.to_string())))?;
            self.finished = end == 0;
            let used = std::mem::replace(&mut self.piece, piece);
            (self.at, self.end) = (0, end);
            // Where the thread has ended already, nobody needs the piece.
            let _ = self.empty.try_send(used);
        }
        let mut source = self.piece.get(self.at..self.end).unwrap_or_default();
        let read = source.read(target)?;
        self.at += read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_dies_is_an_error_and_no_end() {
        struct Dies;
        impl Read for Dies {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                panic!("on purpose: the reader below must notice");
            }
        }
        let error = Ahead::start(Ok(Box::new(Dies)), 1 << 16).read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.to_string(), "the reading thread is gone");
    }

    #[test]
    fn an_error_comes_after_the_whole_pieces_before_it() {
        struct Fails(usize);
        impl Read for Fails {
            fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
                if self.0 == 0 {
                    return Err(io::Error::other("bad sector"));
                }
                let read = target.len().min(self.0);
                self.0 -= read;
                Ok(read)
            }
        }
        let mut ahead = Ahead::start(Ok(Box::new(Fails(40_000))), 1 << 16);
        let mut all = Vec::new();
        let error = ahead.read_to_end(&mut all).unwrap_err();
        assert_eq!((error.to_string().as_str(), all.len()), ("bad sector", 2 * (1 << 14)));
        // Who asks again hears the same, and not that a thread died.
        assert_eq!(ahead.read(&mut [0; 8]).unwrap_err().to_string(), "bad sector");
    }
}
