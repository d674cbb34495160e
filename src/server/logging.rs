//! Logs: their format and their destination.

use std::io;

use thiserror::Error;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

/// The format of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line, with the fields of the event at its top level.
    #[default]
    Json,
    /// Text for people.
    Text,
}

/// Whether text has colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Colour {
    On,
    Off,
}

/// Why logging cannot be set up.
#[derive(Debug, Error)]
pub enum LoggingError {
    /// The filter cannot be parsed.
    #[error("the log filter `{filter}` cannot be parsed (example: `info,landfall=debug`): {why}")]
    Filter {
        /// The filter.
        filter: String,
        /// The cause. Not a `#[source]`, because its text includes the text of its own source.
        why: tracing_subscriber::filter::ParseError,
    },
    /// It is set up already.
    #[error("logging was started twice")]
    Twice {
        /// The cause.
        #[source]
        source: tracing_subscriber::util::TryInitError,
    },
}

/// Starts logging to standard error. `filter` has the syntax of `EnvFilter`: `info`, or `info,landfall=debug`. There is
/// colour at a terminal and not if `NO_COLOR` is set, unless `--color` says otherwise.
///
/// # Errors
/// If the filter cannot be parsed, or logging was started before.
pub fn init(format: LogFormat, filter: &str) -> Result<(), LoggingError> {
    let choice = anstream::AutoStream::choice(&io::stderr());
    let colour = if choice == anstream::ColorChoice::Never { Colour::Off } else { Colour::On };
    let layer = layer(format, filter, colour, io::stderr)?;
    tracing_subscriber::registry().with(layer).try_init().map_err(|source| LoggingError::Twice { source })
}

fn layer<W>(
    format: LogFormat,
    filter: &str,
    colour: Colour,
    writer: W,
) -> Result<impl Layer<Registry> + use<W>, LoggingError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter =
        EnvFilter::try_new(filter).map_err(|why| LoggingError::Filter { filter: filter.to_owned(), why })?;
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = match format {
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
        LogFormat::Text => lines.with_ansi(colour == Colour::On).boxed(),
    };
    Ok(lines.with_filter(filter))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(format: LogFormat, filter: &str, colour: Colour) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = tracing_subscriber::registry()
            .with(layer(format, filter, colour, move || writer.clone()).unwrap());
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(registry.name = "ams", "slow");
            tracing::debug!("not at info");
        });
        String::from_utf8(sink.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn json_lines_carry_their_fields_at_the_top() {
        let text = written(LogFormat::Json, "info", Colour::Off);
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["message"], "slow");
        assert_eq!(line["registry.name"], "ams");
    }

    #[test]
    fn text_has_colour_only_when_asked() {
        assert!(!written(LogFormat::Text, "info", Colour::Off).contains('\u{1b}'));
        assert!(written(LogFormat::Text, "info", Colour::On).contains('\u{1b}'));
    }

    #[test]
    fn the_filter_decides_what_is_written() {
        assert_eq!(written(LogFormat::Text, "debug", Colour::Off).lines().count(), 2);
        assert_eq!(written(LogFormat::Text, "error", Colour::Off), "");
        assert!(matches!(
            layer(LogFormat::Text, "info,landfall=loud", Colour::Off, io::sink),
            Err(LoggingError::Filter { .. })
        ));
    }
}
