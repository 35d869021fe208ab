//! Files of settings: TOML over defaults, each value within its bounds.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;

use crate::{limits, os};

/// Reason why a configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("{}: {source}", .path.display())]
    Io {
        /// Path of the file.
        path: PathBuf,
        /// Error from the system.
        source: io::Error,
    },
    /// It is not TOML, or has an unknown key.
    #[error("{}: {text}", .path.display())]
    Syntax {
        /// Path of the file.
        path: PathBuf,
        /// Place and error, in one line.
        text: String,
    },
    /// A value that is not allowed.
    #[error("{}: {key} = {value}: {why}", .path.display())]
    Value {
        /// Path of the file.
        path: PathBuf,
        /// Key with its table.
        key: &'static str,
        /// Value in the file.
        value: String,
        /// Values that are allowed.
        why: String,
    },
}

/// A value that is not allowed: its key, itself as it is written, and what would be allowed.
#[derive(Debug)]
pub struct Wrong {
    pub(super) key: &'static str,
    pub(super) value: String,
    pub(super) why: String,
}

/// Settings over defaults, as a TOML file has them.
pub trait TomlFile: Default + DeserializeOwned {
    /// Checks that each value is within its bounds.
    ///
    /// # Errors
    /// Returns the first value that is not.
    fn check(&self) -> Result<(), Wrong>;

    /// Reads the file that was named, else the usual one if it exists, else takes the defaults. A
    /// file that was named has to exist.
    ///
    /// # Errors
    /// As [`TomlFile::parse`], and if the file can't be read.
    fn load(named: Option<&Path>, fall_back: &Path) -> Result<Self, ConfigError> {
        match read(named, fall_back)? {
            Some(text) => Self::parse(&text, named.unwrap_or(fall_back)),
            None => Ok(Self::default()),
        }
    }

    /// Takes settings from a text; `path` is named in errors.
    ///
    /// # Errors
    /// If the text is not TOML, has an unknown key, or a value out of its bounds.
    fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let settings: Self = toml::from_str(text).map_err(|e| ConfigError::Syntax {
            path: path.to_owned(),
            text: in_one_line(&e, text),
        })?;
        let wrong = |Wrong { key, value, why }| ConfigError::Value {
            path: path.to_owned(),
            key,
            value,
            why,
        };
        settings.check().map_err(wrong)?;
        Ok(settings)
    }
}

/// Returns place and error, in one line for any output.
fn in_one_line(e: &toml::de::Error, text: &str) -> String {
    let at = e.span().map_or(0, |span| span.start).min(text.len());
    let (number, line) =
        text[..text.ceil_char_boundary(at)].split('\n').enumerate().last().unwrap_or_default();
    let whole = text.lines().nth(number).unwrap_or_default().trim();
    let whole = &whole[..whole.floor_char_boundary(limits::ECHO_BYTES_MAX)];
    let why = e.message().trim_end().replace('\n', "; ");
    format!("line {}, column {}: {whole}: {why}", number + 1, line.chars().count() + 1)
}

/// The text of the file that was named, else of the usual one; none if that does not exist.
fn read(named: Option<&Path>, fall_back: &Path) -> Result<Option<String>, ConfigError> {
    let path = named.unwrap_or(fall_back);
    let failed = |source| ConfigError::Io { path: path.to_owned(), source };
    let file = match os::open_to_read(path) {
        Ok(file) => file,
        // Accounts of services have HOME=/dev/null, below which no file can exist.
        Err(e)
            if named.is_none()
                && matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(None);
        }
        Err(e) => return Err(failed(e)),
    };
    let mut text = String::new();
    let read = file.take(limits::CONFIG_BYTES_MAX + 1).read_to_string(&mut text);
    let bytes = read.map_err(failed)?;
    if bytes as u64 > limits::CONFIG_BYTES_MAX {
        let text = format!("the file has more than {} bytes", limits::CONFIG_BYTES_MAX);
        return Err(ConfigError::Syntax { path: path.to_owned(), text });
    }
    Ok(Some(text))
}
