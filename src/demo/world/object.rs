//! The bytes of a blob: in memory, in a file, or made while they are sent, so that nobody holds a large one.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::domain::digest::Digest;

/// What is kept in memory of a blob that is pushed.
const IN_MEMORY: usize = 1024 * 1024;

/// How much is read at once.
const CHUNK: u64 = 256 * 1024;

/// The bytes of a blob.
#[derive(Debug, Clone)]
pub(super) enum Object {
    Memory(Bytes),
    /// In a file without a name.
    File(Arc<File>, u64),
    /// This block again and again, up to a length.
    Repeated(Bytes, u64),
}

impl Object {
    /// A layer of this size that nobody has to hold, and its digest.
    pub fn repeated(seed: &str, size: u64) -> (Self, Digest) {
        let mut block = vec![0; 1024 * 1024];
        let mut random = fastrand::Rng::with_seed(
            seed.bytes().fold(7, |sum: u64, byte| sum.wrapping_mul(31) + u64::from(byte)),
        );
        random.fill(&mut block);
        let object = Self::Repeated(block.into(), size);
        let (mut hash, mut at) = (Sha256::new(), 0);
        while let Ok(chunk) = object.read(at)
            && !chunk.is_empty()
        {
            hash.update(&chunk);
            at += u64::try_from(chunk.len()).unwrap_or_default();
        }
        (object, Digest::Sha256(hash.finalize().into()))
    }

    /// Its size.
    pub fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => u64::try_from(bytes.len()).unwrap_or_default(),
            Self::File(_, length) | Self::Repeated(_, length) => *length,
        }
    }

    /// Some bytes from this place on; none at the end.
    pub fn read(&self, at: u64) -> io::Result<Bytes> {
        let left = self.len().saturating_sub(at).min(CHUNK);
        let wanted = usize::try_from(left).unwrap_or_default();
        match self {
            Self::Memory(bytes) => {
                let at = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                Ok(bytes.slice(at..))
            }
            Self::File(file, _) => {
                let mut chunk = vec![0; wanted];
                file.read_exact_at(&mut chunk, at)?;
                Ok(chunk.into())
            }
            Self::Repeated(block, _) => {
                let length = u64::try_from(block.len()).unwrap_or(1).max(1);
                let begin = usize::try_from(at % length).unwrap_or_default();
                Ok(block.slice(begin..block.len().min(begin + wanted)))
            }
        }
    }
}

/// A blob that arrives: hashed, and spilled to a file where it is large.
#[derive(Debug)]
pub(super) struct Spool {
    memory: Vec<u8>,
    file: Option<File>,
    hash: Sha256,
    length: u64,
}

impl Spool {
    pub fn new() -> Self {
        Self { memory: Vec::new(), file: None, hash: Sha256::new(), length: 0 }
    }

    pub fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.length += u64::try_from(bytes.len()).unwrap_or_default();
        if self.file.is_none() && self.memory.len() + bytes.len() <= IN_MEMORY {
            self.memory.extend_from_slice(bytes);
            return Ok(());
        }
        if self.file.is_none() {
            let mut file = tempfile::tempfile()?;
            file.write_all(&std::mem::take(&mut self.memory))?;
            self.file = Some(file);
        }
        self.file.as_mut().map_or(Ok(()), |file| file.write_all(bytes))
    }

    /// What has arrived, and its digest.
    pub fn finish(self) -> (Object, Digest) {
        let object = match self.file {
            Some(file) => Object::File(Arc::new(file), self.length),
            None => Object::Memory(self.memory.into()),
        };
        (object, Digest::Sha256(self.hash.finalize().into()))
    }
}
