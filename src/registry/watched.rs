//! Files that may change while we run: mounted Secrets and ConfigMaps, CA bundles, token files of sidecars.
//!
//! They are polled by content: the kubelet swaps a symlink, and a file watch misses the second swap. They are read when
//! somebody needs them and the last read is [`INTERVAL`] old, never on an async thread.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use sha2::{Digest as _, Sha256};

/// How long the content of a read is used.
pub(super) const INTERVAL: Duration = Duration::from_secs(2);

/// No credential and no CA bundle is larger. A wrong path, as to a log file, must not fill the memory.
const FILE_LIMIT: u64 = 1024 * 1024;

/// A file that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}")]
pub struct FileError {
    /// Which file.
    pub path: PathBuf,
    /// Why not.
    #[source]
    pub source: std::io::Error,
}

type Content = Result<Vec<Vec<u8>>, FileError>;

/// The parsed content of a set of files, parsed again when it changes.
pub(super) struct Watched<T> {
    inner: Arc<Inner<T>>,
}

struct Inner<T> {
    paths: Vec<PathBuf>,
    parse: Box<dyn Fn(Content) -> T + Send + Sync>,
    held: ArcSwap<Held<T>>,
    /// When the files were last read. Locked only to read or set it.
    last_read: Mutex<Instant>,
    /// Held while the files are read, so that two readers never give two contents the same version.
    reading: Mutex<()>,
}

/// A parsed content and its version.
pub(super) struct Held<T> {
    /// The number of this content: it grows with each change.
    pub version: u64,
    /// The parsed content.
    pub value: T,
    fingerprint: [u8; 32],
}

impl<T: Send + Sync + 'static> Watched<T> {
    /// Reads the files for the first time: this blocks.
    pub fn new(paths: Vec<PathBuf>, parse: impl Fn(Content) -> T + Send + Sync + 'static) -> Self {
        let content = read_all(&paths);
        let fingerprint = fingerprint(&content);
        let held = ArcSwap::from_pointee(Held { version: 0, value: parse(content), fingerprint });
        let (last_read, reading) = (Mutex::new(Instant::now()), Mutex::new(()));
        Self { inner: Arc::new(Inner { paths, parse: Box::new(parse), held, last_read, reading }) }
    }

    /// The content at the last read.
    pub fn held(&self) -> Arc<Held<T>> {
        self.inner.held.load_full()
    }

    /// The version of the content at the last read. Cheap.
    pub fn version(&self) -> u64 {
        self.inner.held.load().version
    }

    /// The content, at most [`INTERVAL`] old. One caller reads the files, the others do not wait for it.
    pub async fn current(&self) -> Arc<Held<T>> {
        if self.inner.due() { self.refreshed().await } else { self.held() }
    }

    /// The content now.
    pub async fn refreshed(&self) -> Arc<Held<T>> {
        if !self.inner.paths.is_empty() {
            let inner = self.inner.clone();
            // It fails only if the runtime shuts down or `parse` panicked: then the old content stays.
            let _read = tokio::task::spawn_blocking(move || inner.read()).await;
        }
        self.held()
    }
}

impl<T> Inner<T> {
    fn due(&self) -> bool {
        let Ok(mut last_read) = self.last_read.lock() else { return true };
        let due = last_read.elapsed() >= INTERVAL;
        if due {
            *last_read = Instant::now();
        }
        due
    }

    fn read(&self) {
        let _reading = self.reading.lock();
        let mut content = read_all(&self.paths);
        let held = self.held.load_full();
        if fingerprint(&content) == held.fingerprint {
            return;
        }
        // If the files were swapped between two reads, user name and password would not belong together.
        for _ in 0..3 {
            let again = read_all(&self.paths);
            let same = fingerprint(&again) == fingerprint(&content);
            content = again;
            if same {
                break;
            }
        }
        let fingerprint = fingerprint(&content);
        let version = held.version.wrapping_add(1);
        self.held.store(Arc::new(Held { version, value: (self.parse)(content), fingerprint }));
    }
}

fn read_all(paths: &[PathBuf]) -> Content {
    paths.iter().map(|path| read(path).map_err(|source| FileError { path: path.clone(), source })).collect()
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    std::fs::File::open(path)?.take(FILE_LIMIT + 1).read_to_end(&mut content)?;
    if u64::try_from(content.len()).is_ok_and(|length| length > FILE_LIMIT) {
        return Err(std::io::Error::other("larger than 1 MiB"));
    }
    Ok(content)
}

/// A hash, so that no second copy of a secret is kept.
fn fingerprint(content: &Content) -> [u8; 32] {
    let mut hash = Sha256::new();
    match content {
        Ok(files) => {
            for file in files {
                hash.update(file.len().to_be_bytes());
                hash.update(file);
            }
        }
        Err(error) => hash.update(format!("{error}: {}", error.source)),
    }
    hash.finalize().into()
}
