//! Who calls. Every call carries a [`Principal`] from the first day; on loopback without auth all are one.

use tonic::metadata::MetadataMap;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    name: String,
}

impl Principal {
    /// The caller of a request. There are no credentials to check yet: the server listens on loopback, or was told in words
    /// to trust its network.
    pub fn of(_metadata: &MetadataMap) -> Self {
        Principal {
            name: "anonymous".to_owned(),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}
