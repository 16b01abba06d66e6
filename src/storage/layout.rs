//! The format version of a data folder as a whole, in its file `FORMAT`.
//!
//! It covers what lies in the folder and how the parts relate; journal and stored values carry versions of
//! their own. The file is text, one line: `lodestone data folder, format 3`.

use crate::journal::{Disk, RealDisk};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The format that this program writes, and the newest one that it reads.
pub const VERSION: u32 = 3;

/// Name of the file.
pub const NAME: &str = "FORMAT";

const PREFIX: &str = "lodestone data folder, format ";

/// Why a folder is not used.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// Written by a newer program.
    #[error("data folder {} has format {found}, this program reads formats up to {VERSION}; run the newer program", dir.display())]
    Newer {
        /// The folder.
        dir: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Written before the first release.
    #[error("data folder {} has format {found} of a development version, which is not read any more; start with an empty folder", dir.display())]
    Older {
        /// The folder.
        dir: PathBuf,
        /// Its format.
        found: u32,
    },
    /// There is data, but nothing that says in which format.
    #[error("data folder {} has data but no readable {NAME} file: {reason}", dir.display())]
    Unreadable {
        /// The folder.
        dir: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The disk refused.
    #[error("cannot read or write {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl LayoutError {
    /// The exit code of a process that ends because of this.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Newer { .. } | Self::Older { .. } | Self::Unreadable { .. } => crate::journal::EXIT_DATA,
            Self::Io { .. } => crate::journal::EXIT_IO,
        }
    }
}

/// Checks that this program can read `dir`, and marks a folder without data as its own. The caller holds
/// the folder's lock.
///
/// # Errors
/// [`LayoutError`]; nothing was changed then.
pub fn check(dir: &Path) -> Result<(), LayoutError> {
    let path = dir.join(NAME);
    let failed = |source| LayoutError::Io { path: path.clone(), source };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            if ["journal", "store"].iter().any(|part| dir.join(part).exists()) {
                return Err(LayoutError::Unreadable { dir: dir.to_owned(), reason: "it is missing".to_owned() });
            }
            return create(dir, &path).map_err(failed);
        }
        Err(e) if e.kind() == io::ErrorKind::InvalidData => String::new(),
        Err(e) => return Err(failed(e)),
    };
    let version = text.strip_prefix(PREFIX).and_then(|rest| rest.trim_end().parse::<u32>().ok());
    match version {
        Some(VERSION) => Ok(()),
        Some(found @ 1..VERSION) => Err(LayoutError::Older { dir: dir.to_owned(), found }),
        Some(found) if found > VERSION => Err(LayoutError::Newer { dir: dir.to_owned(), found }),
        _ => {
            let start: String = text.chars().take(40).collect();
            Err(LayoutError::Unreadable { dir: dir.to_owned(), reason: format!("it begins with {start:?}") })
        }
    }
}

/// Written beside and renamed, so that it is there as a whole or not at all.
fn create(dir: &Path, path: &Path) -> io::Result<()> {
    let beside = dir.join(format!("{NAME}.new"));
    let mut file = File::create(&beside)?;
    writeln!(file, "{PREFIX}{VERSION}")?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(dir)?.sync_all()?;
    // And the folder's own name.
    RealDisk.create_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_folder_is_marked_and_accepted_again() {
        let folder = tempfile::tempdir().unwrap();
        check(folder.path()).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join(NAME)).unwrap(), "lodestone data folder, format 3\n");
        check(folder.path()).unwrap();
    }

    // Bad input of the issue: a data folder of a newer version.
    #[test]
    fn a_newer_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let newer = VERSION + 1;
        fs::write(folder.path().join(NAME), format!("lodestone data folder, format {newer}\n")).unwrap();
        let error = check(folder.path()).unwrap_err();
        assert!(matches!(error, LayoutError::Newer { found, .. } if found == newer));
        assert_eq!(error.exit_code(), 65);
        assert!(error.to_string().contains(&format!("format {newer}")), "{error}");
        fs::write(folder.path().join(NAME), "lodestone data folder, format 1\n").unwrap();
        let error = check(folder.path()).unwrap_err();
        assert!(matches!(error, LayoutError::Older { found: 1, .. }));
        assert_eq!(error.exit_code(), 65);
    }

    #[test]
    fn data_without_a_readable_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("journal")).unwrap();
        assert!(matches!(check(folder.path()), Err(LayoutError::Unreadable { .. })));
        for text in [&b""[..], b"lodestone data folder, format 0\n", b"lodestone", b"\xff\xfe"] {
            fs::write(folder.path().join(NAME), text).unwrap();
            assert!(matches!(check(folder.path()), Err(LayoutError::Unreadable { .. })), "{text:?}");
        }
    }
}
