//! A connection, direct or through something else.

use std::io::{Read, Write};

/// What can be read and written, by one thread at a time.
pub(super) trait Stream: Read + Write + Send + Sync {}

impl<T: Read + Write + Send + Sync> Stream for T {}
