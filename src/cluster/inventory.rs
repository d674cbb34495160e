//! The ConfigMaps that keep the inventory: parts of one text of bytes. What it means is no matter of this room.
//!
//! ```text
//! <release>-inventory-0   data: {write: 4f…, parts: 3, sha256: 9a…}   binaryData: {part: …}
//! <release>-inventory-1   data: {write: 4f…}                          binaryData: {part: …}
//! ```
//!
//! Part 0 is the head, and is written last. A write carries an id, and each part is written in place of the version that was
//! read before. So of two writers one is refused, and parts of two writes are found out: by their ids, and by the hash of the
//! whole. One part is enough for some ten thousand images; then a write is atomic.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::secret::manager;
use super::{Changes, Cluster, ClusterError, Written, call, write};

/// How many ConfigMaps the chart renders.
pub const MOST_PARTS: usize = 8;

/// The bytes of a part. A ConfigMap holds at most 1 MiB: <https://kubernetes.io/docs/concepts/configuration/configmap/>.
const PART: usize = 900 << 10;

/// The most bytes that fit.
pub const MOST_BYTES: usize = MOST_PARTS * PART;

const BYTES: &str = "part";
const WRITE: &str = "write";
const PARTS: &str = "parts";
const HASH: &str = "sha256";

/// The ConfigMaps of one release.
#[derive(Debug, Clone)]
pub struct Parts {
    api: Api<ConfigMap>,
    release: String,
}

/// What the ConfigMaps hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// Nothing was ever written.
    Nothing,
    /// The write that is known.
    Known,
    /// A whole, and the id of its write.
    Whole(Box<str>, Vec<u8>),
    /// Parts that do not belong together, as in the middle of a write; and what does not fit.
    Torn(&'static str),
}

/// One ConfigMap as it was read.
struct Part {
    version: String,
    data: BTreeMap<String, String>,
    bytes: Vec<u8>,
}

impl Cluster {
    /// The ConfigMaps `<release>-inventory-0` and so on.
    pub fn inventory(&self, namespace: &str, release: &str) -> Parts {
        Parts { api: Api::namespaced(self.client.clone(), namespace), release: release.to_owned() }
    }
}

impl Parts {
    fn name(&self, part: usize) -> String {
        format!("{}-inventory-{part}", self.release)
    }

    /// Reads them all, unless they are of the write that is known.
    ///
    /// # Errors
    /// If the API server cannot be asked, or one of them does not exist.
    pub async fn read(&self, known: Option<&str>) -> Result<Kept, ClusterError> {
        let head = self.part(0).await?;
        let (Some(id), Some(hash)) = (head.data.get(WRITE), head.data.get(HASH)) else {
            return Ok(Kept::Nothing);
        };
        if known == Some(id) {
            return Ok(Kept::Known);
        }
        let parts = head.data.get(PARTS).and_then(|parts| parts.parse::<usize>().ok());
        let Some(parts) = parts.filter(|parts| (1..=MOST_PARTS).contains(parts)) else {
            return Ok(Kept::Torn("the first part names no number of parts that there could be"));
        };
        let mut whole = head.bytes;
        for number in 1..parts {
            let part = self.part(number).await?;
            if part.data.get(WRITE) != Some(id) {
                return Ok(Kept::Torn("its parts are of different writes"));
            }
            whole.extend(part.bytes);
        }
        if sha256(&whole) != *hash {
            return Ok(Kept::Torn("its hash is another than it says"));
        }
        Ok(Kept::Whole(id.as_str().into(), whole))
    }

    /// Writes this in place of what is there, as the write of this id. What is there may be that of another writer; nothing is
    /// written over what comes while we write.
    ///
    /// # Errors
    /// If the API server cannot be asked or refuses it, or one of them does not exist.
    pub async fn write(&self, id: &str, whole: &[u8]) -> Result<Written, ClusterError> {
        let mut chunks: Vec<&[u8]> = whole.chunks(PART).collect();
        if chunks.is_empty() {
            chunks.push(&[]);
        }
        let mut versions = Vec::new();
        for number in 0..chunks.len() {
            versions.push(self.part(number).await?.version);
        }
        let hash = sha256(whole);
        // The head comes last: until then it does not fit the others, and nobody uses them.
        for (number, (chunk, version)) in chunks.iter().zip(&versions).enumerate().rev() {
            let mut data = json!({WRITE: id});
            if number == 0 {
                data = json!({WRITE: id, PARTS: chunks.len().to_string(), HASH: hash});
            }
            let name = self.name(number);
            let bytes = ByteString(chunk.to_vec());
            let merge = Patch::Merge(json!({
                "metadata": {"resourceVersion": version}, "data": data, "binaryData": {BYTES: bytes},
            }));
            let what = || format!("write ConfigMap `{name}`");
            if write(what, self.api.patch(&name, &manager(), &merge)).await? == Written::Outdated {
                return Ok(Written::Outdated);
            }
        }
        Ok(Written::Done)
    }

    /// A watch that tells when another write has ended.
    pub fn changes(&self) -> Changes<ConfigMap> {
        let namespace = self.api.namespace().unwrap_or_default();
        Changes { api: Api::namespaced(self.api.clone().into_client(), namespace), name: self.name(0) }
    }

    async fn part(&self, number: usize) -> Result<Part, ClusterError> {
        let name = self.name(number);
        let found = call(|| format!("read ConfigMap `{name}`"), self.api.get_opt(&name)).await?;
        let found = found.ok_or_else(|| ClusterError::Missing { what: format!("ConfigMap `{name}`") })?;
        let bytes = found.binary_data.and_then(|mut data| data.remove(BYTES));
        Ok(Part {
            version: found.metadata.resource_version.unwrap_or_default(),
            data: found.data.unwrap_or_default(),
            bytes: bytes.map(|ByteString(bytes)| bytes).unwrap_or_default(),
        })
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
