//! Files that may change under us: mounted Secrets and ConfigMaps, CA bundles, token files of sidecars.
//!
//! Polled by content, because the kubelet swaps a symlink and file watches go blind at the second swap. The
//! files are read when somebody asks and the last look is [`INTERVAL`] old, never on an async thread.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use sha2::{Digest as _, Sha256};

/// How long a look at the files serves.
pub(super) const INTERVAL: Duration = Duration::from_secs(2);

/// No credential and no CA bundle is larger; a mistaken path to a log file must not fill the memory.
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

/// What a set of files says, read again when their content changes.
pub(super) struct Watched<T> {
    inner: Arc<Inner<T>>,
}

struct Inner<T> {
    paths: Vec<PathBuf>,
    parse: Box<dyn Fn(Content) -> T + Send + Sync>,
    held: ArcSwap<Held<T>>,
    /// When the files were last looked at; held for the length of an assignment only.
    looked: Mutex<Instant>,
    /// Held while looking, so that two looks never give one version to two contents.
    looking: Mutex<()>,
}

/// A parsed content, and which one it is.
pub(super) struct Held<T> {
    /// Counts the contents seen.
    pub version: u64,
    /// What the content says.
    pub value: T,
    fingerprint: [u8; 32],
}

impl<T: Send + Sync + 'static> Watched<T> {
    /// Reads the files for the first time: this blocks.
    pub fn new(paths: Vec<PathBuf>, parse: impl Fn(Content) -> T + Send + Sync + 'static) -> Self {
        let content = read_all(&paths);
        let fingerprint = fingerprint(&content);
        let held = ArcSwap::from_pointee(Held { version: 0, value: parse(content), fingerprint });
        let (looked, looking) = (Mutex::new(Instant::now()), Mutex::new(()));
        Self { inner: Arc::new(Inner { paths, parse: Box::new(parse), held, looked, looking }) }
    }

    /// What the files said at the last look.
    pub fn held(&self) -> Arc<Held<T>> {
        self.inner.held.load_full()
    }

    /// Which content that was; it costs next to nothing.
    pub fn version(&self) -> u64 {
        self.inner.held.load().version
    }

    /// What the files say, or said at most [`INTERVAL`] ago. One caller looks; the others are not kept waiting.
    pub async fn current(&self) -> Arc<Held<T>> {
        if self.inner.due() { self.refreshed().await } else { self.held() }
    }

    /// What the files say now.
    pub async fn refreshed(&self) -> Arc<Held<T>> {
        if !self.inner.paths.is_empty() {
            let inner = self.inner.clone();
            // It fails only where the runtime shuts down or `parse` panicked: what we hold then stands.
            let _looked = tokio::task::spawn_blocking(move || inner.look()).await;
        }
        self.held()
    }
}

impl<T> Inner<T> {
    fn due(&self) -> bool {
        let Ok(mut looked) = self.looked.lock() else { return true };
        let due = looked.elapsed() >= INTERVAL;
        if due {
            *looked = Instant::now();
        }
        due
    }

    fn look(&self) {
        let _looking = self.looking.lock();
        let mut content = read_all(&self.paths);
        let held = self.held.load_full();
        if fingerprint(&content) == held.fingerprint {
            return;
        }
        // A swap between two of the files would give the user name of one and the password of the other.
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

/// Names a content without keeping it: it may be a secret.
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
