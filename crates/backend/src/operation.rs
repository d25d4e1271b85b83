//! The operations of a backend, as a word: for meters, logs and planned faults.

/// One of the operations of [`Backend`](crate::Backend).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// [`Backend::put`](crate::Backend::put)
    Put,
    /// [`Backend::get`](crate::Backend::get)
    Get,
    /// [`Backend::head`](crate::Backend::head)
    Head,
    /// [`Backend::delete`](crate::Backend::delete)
    Delete,
    /// [`Backend::delete_many`](crate::Backend::delete_many)
    DeleteMany,
    /// [`Backend::list`](crate::Backend::list)
    List,
    /// [`Backend::copy`](crate::Backend::copy)
    Copy,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Put, Self::Get, Self::Head, Self::Delete, Self::DeleteMany, Self::List, Self::Copy];

    /// The operation as a metric label, a log field and in errors.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::Head => "head",
            Self::Delete => "delete",
            Self::DeleteMany => "delete_many",
            Self::List => "list",
            Self::Copy => "copy",
        }
    }
}
