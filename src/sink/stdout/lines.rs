//! Writes lines into a writer that can fail in the middle of a line. Blocking.

use std::io::{self, IoSlice, Write};

use bytes::Bytes;

/// How many lines go into one vectored write: each takes two slices, and Linux takes 1024 (`IOV_MAX`).
const LINES: usize = 512;

/// Writes lines without copying them, and remembers the half line that a failure leaves behind.
#[derive(Debug)]
pub(super) struct Lines<W> {
    writer: W,
    half: Option<Half>,
}

/// A line that is partly written.
#[derive(Debug)]
struct Half {
    body: Bytes,
    /// How much of the body and its line break.
    written: usize,
}

impl<W: Write> Lines<W> {
    pub(super) fn new(writer: W) -> Self {
        Lines { writer, half: None }
    }

    /// Writes each body with a line break, and flushes. Returns how many lines are completely written, and the error if
    /// not all are.
    ///
    /// Finishes the half line of an earlier failure first, so that the reader never sees two halves in one line. If
    /// that line is the first of `bodies`, as after a retry, this counts as its delivery.
    ///
    /// Calls `may_start` before each write to the far side, because one batch can take many writes. A process that was
    /// paused in the middle of a batch must not continue when its lease is over.
    pub(super) fn write(&mut self, bodies: &[Bytes], may_start: &dyn Fn() -> bool) -> (usize, io::Result<()>) {
        let mut done = 0;
        if let Some(half) = &mut self.half {
            if let Err(error) = half.finish(&mut self.writer, may_start) {
                return (0, Err(error));
            }
            // `half` has kept the bytes until now, so that the same place in memory means the same bytes.
            done = usize::from(bodies.first().is_some_and(|body| is_same(body, &half.body)));
            self.half = None;
        }
        while done < bodies.len() {
            let chunk = &bodies[done..bodies.len().min(done + LINES)];
            let (lines, result) = self.write_chunk(chunk, may_start);
            done += lines;
            if result.is_err() {
                return (done, result);
            }
        }
        match self.writer.flush() {
            Ok(()) => (done, Ok(())),
            // We do not know which lines are lost in the writer's own buffer.
            Err(error) => (0, Err(error)),
        }
    }

    #[cfg(test)]
    pub(super) fn is_half_out(&self, body: &Bytes) -> bool {
        self.half.as_ref().is_some_and(|half| is_same(body, &half.body))
    }

    #[cfg(test)]
    pub(super) fn into_writer(self) -> W {
        self.writer
    }

    fn write_chunk(&mut self, bodies: &[Bytes], may_start: &dyn Fn() -> bool) -> (usize, io::Result<()>) {
        let mut slices: Vec<_> = bodies.iter().flat_map(|body| [IoSlice::new(body), IoSlice::new(b"\n")]).collect();
        let (mut written, result) = write_all(&mut self.writer, &mut slices, may_start);
        if result.is_ok() {
            return (bodies.len(), result);
        }
        for (number, body) in bodies.iter().enumerate() {
            if written <= body.len() {
                self.half = (written > 0).then(|| Half { body: body.clone(), written });
                return (number, result);
            }
            written -= body.len() + 1;
        }
        (bodies.len(), result)
    }
}

impl Half {
    fn finish(&mut self, writer: &mut impl Write, may_start: &dyn Fn() -> bool) -> io::Result<()> {
        let mut slices = [IoSlice::new(&self.body[self.written..]), IoSlice::new(b"\n")];
        let (written, result) = write_all(writer, &mut slices, may_start);
        self.written += written;
        result
    }
}

fn is_same(one: &Bytes, other: &Bytes) -> bool {
    one.as_ptr() == other.as_ptr() && one.len() == other.len()
}

/// Like `Write::write_all_vectored`, but also returns how many bytes are written if it fails.
fn write_all(
    writer: &mut impl Write,
    mut slices: &mut [IoSlice<'_>],
    may_start: &dyn Fn() -> bool,
) -> (usize, io::Result<()>) {
    let mut written = 0;
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        if !may_start() {
            return (written, Err(io::Error::other("the lease ran out in the midst of a batch")));
        }
        match writer.write_vectored(slices) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => {
                written += count;
                IoSlice::advance_slices(&mut slices, count);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}
