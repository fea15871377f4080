//! stub
pub(crate) struct Filter;
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub(crate) struct FilterError;
impl Filter {
    pub(crate) fn compile(e: &str) -> Result<Self, FilterError> {
        if e == ".[" { Err(FilterError) } else { Ok(Self) }
    }
    pub(crate) fn apply(
        &self,
        r: &serde_json::Value,
    ) -> Result<Vec<serde_json::Value>, FilterError> {
        Ok(vec![r.clone()])
    }
}
