//! Real pipes and sockets, a device that is always full, and a writer that fails where it is told to.

use std::{
    fs::File,
    io::{BufRead, BufReader, IoSlice, Read},
    os::unix::net::UnixStream,
    sync::{Arc, Mutex},
    time::Duration,
};

use proptest::prelude::*;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    dead_letter::DeadLetters,
    delivery::{self, Policy, testing::Book},
};

const SOON: Duration = Duration::from_secs(120);

fn records(book: &Book, bodies: &[String]) -> Vec<Record> {
    bodies.iter().map(|body| book.record("k", body.clone())).collect()
}

fn delivered(outcomes: &[Outcome]) -> usize {
    outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Delivered)).count()
}

#[tokio::test]
async fn records_come_out_of_a_pipe_line_by_line() {
    let (reader, writer) = io::pipe().expect("a pipe");
    let sink = Stdout::new(writer).expect("a thread");
    // More lines than one vectored write takes, and one longer than the pipe's buffer.
    let mut bodies: Vec<_> = (0..1500).map(|number| format!("{{\"n\":{number}}}")).collect();
    bodies.push("x".repeat(3 << 20));
    bodies.push(String::new());
    let read = thread::spawn(move || BufReader::new(reader).lines().collect::<Result<Vec<_>, _>>());
    let outcomes = sink.send(&records(&Book::new(), &bodies)).await.expect("open");
    assert_eq!(delivered(&outcomes), bodies.len());
    drop(sink);
    assert_eq!(read.join().expect("no panic").expect("text"), bodies);
}

#[tokio::test]
async fn a_closed_pipe_closes_the_sink() {
    let (reader, writer) = io::pipe().expect("a pipe");
    let sink = Stdout::new(writer).expect("a thread");
    drop(reader);
    let book = Book::new();
    let closed = sink.send(&book.records(&["a"])).await.expect_err("nobody reads");
    assert!(closed.to_string().contains("Broken pipe"), "{closed}");
    assert!(sink.send(&book.records(&["a"])).await.is_err());
}

#[tokio::test]
async fn a_full_disk_is_tried_again() {
    let full = File::options().write(true).open("/dev/full").expect("a device of Linux");
    let sink = Stdout::new(full).expect("a thread");
    let outcomes = sink.send(&Book::new().records(&["a", "b"])).await.expect("not closed");
    for outcome in &outcomes {
        assert!(matches!(outcome, Outcome::Retry { reason, .. } if reason.contains("No space left")), "{outcome:?}");
    }
    assert_eq!(outcomes.len(), 2);
}

#[tokio::test]
async fn a_half_line_is_finished_before_the_next_one() {
    let (mut reader, writer) = UnixStream::pair().expect("a socket");
    writer.set_nonblocking(true).expect("a socket");
    let sink = Stdout::new(writer).expect("a thread");
    let bodies = ["first".to_owned(), "x".repeat(4 << 20), "last".to_owned()];
    let mut batch = records(&Book::new(), &bodies);
    let outcomes = sink.send(&batch).await.expect("open");
    assert_eq!(delivered(&outcomes), 1, "the socket's buffer holds no 4 MiB");
    batch.remove(0);
    let read = thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).map(|_| text)
    });
    // Answers as soon as the buffer is full again; the reader makes room meanwhile.
    let all = async {
        while !batch.is_empty() {
            let outcomes = sink.send(&batch).await.expect("open");
            batch.drain(..delivered(&outcomes));
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, all).await.expect("it gets through");
    drop(sink);
    let text = read.join().expect("no panic").expect("text");
    assert!(text.lines().eq(bodies.iter().map(String::as_str)), "{} bytes", text.len());
}

#[test]
fn a_reader_that_stands_still_does_not_stop_the_end() {
    let (reader, writer) = io::pipe().expect("a pipe");
    let book = Book::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async {
        let sink = Box::new(Stdout::new(writer).expect("a thread"));
        let cancel = CancellationToken::new();
        let (handle, task) =
            delivery::spawn(sink, Policy::default(), DeadLetters::default(), Arc::new(()), cancel.clone());
        handle.submit(vec![book.record("a", "x".repeat(1 << 20))]).await.expect("it runs");
        assert!(timeout(Duration::from_millis(50), handle.drain()).await.is_err(), "the pipe holds no MiB");
        cancel.cancel();
        assert!(timeout(SOON, task).await.expect("at once").expect("no panic").is_ok());
    });
    // Would hang here if the write held one of the runtime's own threads.
    drop(runtime);
    assert_eq!(book.acknowledged(), 0);
    let line = BufReader::new(reader).lines().next().expect("the write goes on").expect("text");
    assert_eq!(line.len(), 1 << 20);
}

/// Remembers where in memory its longest slice was.
struct Watcher(Arc<Mutex<(usize, usize)>>);

impl Write for Watcher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut longest = self.0.lock().expect("no panic");
        *longest = (*longest).max((bytes.len(), bytes.as_ptr().addr()));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_large_body_is_not_copied() {
    let longest = Arc::<Mutex<(usize, usize)>>::default();
    let sink = Stdout::new(Watcher(Arc::clone(&longest))).expect("a thread");
    let record = Book::new().record("a", vec![b'x'; 64 << 20]);
    let place = (record.body.len(), record.body.as_ptr().addr());
    assert_eq!(delivered(&sink.send(&[record]).await.expect("open")), 1);
    assert_eq!(*longest.lock().expect("no panic"), place);
}

/// Takes as many bytes a call as it is told; `None` is a failure.
#[derive(Debug)]
struct Fickle {
    steps: std::vec::IntoIter<Option<usize>>,
    out: Vec<u8>,
}

impl Write for Fickle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let room = self.steps.next().unwrap_or(Some(usize::MAX));
        let room = room.ok_or(io::ErrorKind::StorageFull)?;
        let bytes = slices.iter().flat_map(|slice| slice.iter()).copied();
        let before = self.out.len();
        self.out.extend(bytes.take(room));
        Ok(self.out.len() - before)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

proptest! {
    #[test]
    fn every_line_comes_out_once_and_whole(
        bodies in prop::collection::vec("[a-z]{0,6}", 0..30),
        // Zero bytes taken is a failure, too.
        steps in prop::collection::vec(prop::option::weighted(0.7, 0_usize..20), 0..60),
        dropped in any::<bool>(),
    ) {
        let bodies: Vec<Bytes> = bodies.into_iter().map(Bytes::from).collect();
        let mut lines = Lines::new(Fickle { steps: steps.into_iter(), out: Vec::new() });
        let mut remaining = &bodies[..];
        let mut expected: Vec<&[u8]> = Vec::new();
        loop {
            let (written, result) = lines.write(remaining, &|| true);
            expected.extend(remaining[..written].iter().map(|body| &body[..]));
            remaining = &remaining[written..];
            if result.is_ok() {
                prop_assert!(remaining.is_empty());
                break;
            }
            // A record whose lease is lost is never sent again, but its line is still finished.
            if dropped && let Some((first, rest)) = remaining.split_first() {
                if lines.is_half_out(first) {
                    expected.push(first);
                }
                remaining = rest;
            }
        }
        let out: Vec<u8> = expected.iter().flat_map(|line| [*line, b"\n"]).flatten().copied().collect();
        prop_assert_eq!(String::from_utf8(lines.into_writer().out), String::from_utf8(out));
    }
}

#[tokio::test]
async fn a_full_disk_closes_one_that_an_error_closes_and_a_slow_reader_does_not() {
    let failure = Failure::default();
    let full = File::options().write(true).open("/dev/full").expect("a device of Linux");
    let sink = Stdout::new(full).expect("a thread").closed_by(Arc::clone(&failure));
    let Closed(reason) = sink.send(&Book::new().records(&["a"])).await.expect_err("it is full");
    assert_eq!(reason, "No space left on device (os error 28)");
    assert_eq!(failure.get(), Some(&reason));

    let failure = Failure::default();
    let (_reader, writer) = UnixStream::pair().expect("a socket");
    writer.set_nonblocking(true).expect("a socket can");
    let sink = Stdout::new(writer).expect("a thread").closed_by(Arc::clone(&failure));
    let outcomes = sink.send(&records(&Book::new(), &["x".repeat(8 << 20)])).await.expect("not closed");
    assert!(matches!(outcomes.as_slice(), [Outcome::Retry { .. }]), "{outcomes:?}");
    assert_eq!(failure.get(), None);
}
