//! Blocks that several threads make, given out in order; and where a decoder takes its bytes from.

use std::{
    io::{self, Read},
    sync::Arc,
    thread::JoinHandle,
};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::{
    error::{Error, Result},
    store::ObjectReader,
};

/// Bytes of one read where there are no frames to go by.
pub(super) const BLOCK_BYTES: usize = 1 << 20;

/// A place in the order of blocks, for a block that is still being made.
pub(super) type Place = Receiver<Result<Vec<u8>>>;

/// How many bytes passed by, and their hash.
pub(super) struct Sum {
    pub(super) bytes: u64,
    pub(super) hash: blake3::Hash,
}

/// Bytes passing by, counted and hashed.
#[derive(Default)]
pub(super) struct SumInProgress {
    pub(super) bytes: u64,
    hash: blake3::Hasher,
}

impl SumInProgress {
    pub(super) fn add(&mut self, part: &[u8]) {
        self.bytes += part.len() as u64;
        self.hash.update(part);
    }

    pub(super) fn done(&self) -> Sum {
        Sum { bytes: self.bytes, hash: self.hash.finalize() }
    }
}

/// The receiving end of some threads: one that fetches stored bytes and sums them up, and those that make blocks of
/// them. Dropped, it waits until they are gone.
pub(super) struct Ordered {
    order: Option<Receiver<Place>>,
    fetcher: Option<JoinHandle<Result<Sum>>>,
    fetched: Option<Sum>,
    threads: Vec<JoinHandle<()>>,
    /// Blocks that were given out and can be filled again.
    spent: Sender<Vec<u8>>,
    block: Vec<u8>,
    taken: usize,
}

impl Ordered {
    pub(super) fn new(
        order: Receiver<Place>,
        fetcher: JoinHandle<Result<Sum>>,
        threads: Vec<JoinHandle<()>>,
        spent: Sender<Vec<u8>>,
    ) -> Self {
        Self {
            order: Some(order),
            fetcher: Some(fetcher),
            fetched: None,
            threads,
            spent,
            block: Vec::new(),
            taken: 0,
        }
    }

    /// The next block; `None` at the end, when all stored bytes were fetched.
    pub(super) fn next_block(&mut self) -> Result<Option<&[u8]>> {
        let Some(place) = self.order.as_ref().and_then(|order| order.recv().ok()) else {
            self.end()?;
            return Ok(None);
        };
        let block = place.recv().map_err(|_| Error::failed("a decoding thread stopped"))??;
        let _ = self.spent.try_send(std::mem::replace(&mut self.block, block));
        self.taken = 0;
        Ok(Some(&self.block))
    }

    /// Whether all of the last block was read.
    pub(super) fn is_used_up(&self) -> bool {
        self.taken == self.block.len()
    }

    /// What was fetched; to be called at the end.
    pub(super) fn finish(mut self) -> Result<Sum> {
        self.end()?;
        self.fetched.take().ok_or_else(|| Error::failed("the stored bytes were not read"))
    }

    /// Waits for the fetching thread, which ended the order, and says why if that was too early.
    fn end(&mut self) -> Result<()> {
        match self.fetcher.take().map(JoinHandle::join) {
            Some(Ok(sum)) => self.fetched = Some(sum?),
            Some(Err(_)) => return Err(Error::failed("the reading thread panicked")),
            None => {}
        }
        Ok(())
    }
}

impl Read for Ordered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.is_used_up() {
            if self.next_block()?.is_none() {
                return Ok(0);
            }
        }
        let count = buffer.len().min(self.block.len() - self.taken);
        buffer[..count].copy_from_slice(&self.block[self.taken..self.taken + count]);
        self.taken += count;
        Ok(count)
    }
}

impl Drop for Ordered {
    fn drop(&mut self) {
        // The threads end at their next send, as nobody receives any more.
        self.order = None;
        if let Some(fetcher) = self.fetcher.take() {
            let _ = fetcher.join();
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// The bytes below a payload's compression, in order: as they are stored, or as they come out of the encryption.
pub(super) enum Source {
    Stored { object: Arc<dyn ObjectReader>, sum: Box<SumInProgress> },
    Unsealed(Ordered),
}

impl Source {
    pub(super) fn stored(object: Arc<dyn ObjectReader>) -> Self {
        Self::Stored { object, sum: Box::default() }
    }

    /// Reads what is left, the seek table or anything somebody appended, and gives the sum of all that is stored.
    pub(super) fn finish(mut self) -> Result<Sum> {
        let mut rest = vec![0u8; BLOCK_BYTES];
        loop {
            match self.read(&mut rest) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => return Err(undecodable(error)),
            }
        }
        match self {
            Self::Stored { sum, .. } => Ok(sum.done()),
            Self::Unsealed(blocks) => blocks.finish(),
        }
    }

    pub(super) fn read_fully(&mut self, buffer: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            match self.next(&mut buffer[done..])? {
                0 => return Err(Error::corrupt("it ended while being read")),
                more => done += more,
            }
        }
        Ok(())
    }

    fn next(&mut self, buffer: &mut [u8]) -> Result<usize> {
        match self {
            Self::Stored { object, sum } => {
                let count = object.read_at(sum.bytes, buffer)?;
                sum.add(&buffer[..count]);
                Ok(count)
            }
            Self::Unsealed(blocks) => blocks.read(buffer).map_err(undecodable),
        }
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(self.next(buffer)?)
    }
}

/// An error that came up from the store keeps its kind; everything else is the decoder's complaint about the bytes.
pub(super) fn undecodable(error: io::Error) -> Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(own) => own.duplicate(),
        None => Error::corrupt(format!("it does not decode: {error}")),
    }
}

/// Fills all of `buffer` from `offset` on.
pub(super) fn read_exactly(object: &dyn ObjectReader, offset: u64, buffer: &mut [u8]) -> Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        match object.read_at(offset + done as u64, &mut buffer[done..])? {
            0 => return Err(Error::corrupt("it ended while being read")),
            more => done += more,
        }
    }
    Ok(())
}

/// Gives a block its place in the order; false when nobody receives any more.
pub(super) fn tell(order: &Sender<Place>, block: Result<Vec<u8>>) -> bool {
    let (done, place) = bounded(1);
    done.send(block).is_ok() && order.send(place).is_ok()
}
