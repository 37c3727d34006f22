//! Log lines: structured events on standard error.

use crate::config::{ConfigError, LogFormat};
use std::io;
use tracing_subscriber::EnvFilter;

/// Starts logging for the whole process.
///
/// # Errors
/// A filter that does not parse.
///
/// # Panics
/// If called twice in one process.
pub fn init(filter: &str, format: LogFormat) -> Result<(), ConfigError> {
    let refuse = |error: tracing_subscriber::filter::ParseError| ConfigError::LogFilter {
        filter: filter.to_owned(),
        reason: error.to_string(),
    };
    let filter = EnvFilter::builder().parse(filter).map_err(refuse)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_target(true);
    // A line that cannot be written (a full disk) is lost; complaining about it on the same stream would panic.
    let builder = builder.log_internal_errors(false);
    match format {
        LogFormat::Text => builder.with_ansi(false).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
