//! The pages that people see.

use std::sync::Arc;

use axum::Router;

use crate::server::Shared;

/// Everything that is not under `/v1`.
pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
}
