//! Rows of a recorded file: CSV with a header line, or NDJSON; either may be gzipped.
//!
//! What a file is is told by its content, never by its name: two magic bytes for gzip, a leading
//! `{` for NDJSON. Everything is streamed, so a file may be larger than memory.

use super::Error;
use flate2::bufread::MultiGzDecoder;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The longest NDJSON line that is read; an event of the protocol is far shorter.
const LINE_BYTES_MAX: u64 = 1024 * 1024;

/// Where a column is.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// Position in a CSV row.
    Index(usize),
    /// Keys from the outermost object of an NDJSON row inwards.
    Path(Vec<String>),
}

/// The content of one cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell<'a> {
    /// Text of a CSV cell.
    Text(&'a str),
    /// A value of an NDJSON row.
    Json(&'a serde_json::Value),
}

impl<'a> Cell<'a> {
    /// The cell as text: numbers and booleans in their shortest form.
    #[must_use]
    pub fn text(self) -> Cow<'a, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Json(serde_json::Value::String(text)) => Cow::Borrowed(text),
            Self::Json(other) => Cow::Owned(other.to_string()),
        }
    }
}

/// One row.
pub struct Row {
    /// Number of the row, counted from 1, without the header line.
    pub number: u64,
    cells: Cells,
}

enum Cells {
    Csv(csv::StringRecord),
    Json { line: String, value: serde_json::Value },
}

impl Row {
    /// The cell of a column; an empty CSV cell and a JSON null are absent.
    #[must_use]
    pub fn get<'a>(&'a self, column: &Column) -> Option<Cell<'a>> {
        match (&self.cells, column) {
            (Cells::Csv(record), Column::Index(index)) => record.get(*index).filter(|c| !c.is_empty()).map(Cell::Text),
            (Cells::Json { value, .. }, Column::Path(path)) => {
                let found = path.iter().try_fold(value, |value, key| value.get(key))?;
                (!found.is_null()).then_some(Cell::Json(found))
            }
            _ => None,
        }
    }

    /// Sixteen hex digits that stand for the content of the row.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        match &self.cells {
            Cells::Json { line, .. } => hash.update(line.as_bytes()),
            Cells::Csv(record) => {
                for cell in record {
                    hash.update(cell.as_bytes());
                    // The unit separator keeps `ab,c` and `a,bc` apart.
                    hash.update([0x1f]);
                }
            }
        }
        let digest = hash.finalize();
        digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// An open file.
pub struct Rows {
    path: String,
    number: u64,
    bytes_total: u64,
    bytes_read: Arc<AtomicU64>,
    kind: Kind,
}

enum Kind {
    Csv { reader: Box<csv::Reader<Box<dyn BufRead + Send>>>, header: HashMap<String, usize> },
    Json(Box<dyn BufRead + Send>),
}

/// Counts the bytes taken from the disk, for the progress bar.
struct Counting(File, Arc<AtomicU64>);

impl Read for Counting {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let read = self.0.read(buf)?;
        self.1.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl Rows {
    /// Opens a file. `delimiter` separates the cells of a CSV file.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read, [`Error::Content`] if its header line cannot.
    pub fn open(path: &Path, delimiter: u8) -> Result<Self, Error> {
        let name = path.display().to_string();
        let failed = |source| Error::File { path: name.clone(), source };
        let file = File::open(path).map_err(failed)?;
        let bytes_total = file.metadata().map_err(failed)?.len();
        let bytes_read = Arc::new(AtomicU64::new(0));
        let mut plain = BufReader::with_capacity(64 * 1024, Counting(file, Arc::clone(&bytes_read)));
        let gzip = plain.fill_buf().map_err(failed)?.starts_with(&[0x1f, 0x8b]);
        let mut input: Box<dyn BufRead + Send> =
            if gzip { Box::new(BufReader::new(MultiGzDecoder::new(plain))) } else { Box::new(plain) };
        let first = input.fill_buf().map_err(failed)?.iter().find(|byte| !byte.is_ascii_whitespace()).copied();
        let kind = if first == Some(b'{') {
            Kind::Json(input)
        } else {
            let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(input);
            let header = reader.headers().map_err(|e| Error::Content { path: name.clone(), problems: e.to_string() })?;
            let header = header.iter().enumerate().map(|(i, c)| (c.trim_start_matches('\u{feff}').to_owned(), i)).collect();
            Kind::Csv { reader: Box::new(reader), header }
        };
        Ok(Self { path: name, number: 0, bytes_total, bytes_read, kind })
    }

    /// Where a named column is, or nothing if the header line lacks it. In NDJSON the name is a
    /// dotted path and every path is possible.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<Column> {
        match &self.kind {
            Kind::Csv { header, .. } => header.get(name).copied().map(Column::Index),
            Kind::Json(_) => Some(Column::Path(name.split('.').map(str::to_owned).collect())),
        }
    }

    /// The columns of a CSV file, for messages.
    #[must_use]
    pub fn columns(&self) -> Vec<&str> {
        match &self.kind {
            Kind::Csv { header, .. } => {
                let mut names: Vec<_> = header.iter().collect();
                names.sort_by_key(|(_, index)| **index);
                names.into_iter().map(|(name, _)| name.as_str()).collect()
            }
            Kind::Json(_) => Vec::new(),
        }
    }

    /// Size of the file and a counter of what has been read of it, in bytes.
    #[must_use]
    pub fn progress(&self) -> (u64, Arc<AtomicU64>) {
        (self.bytes_total, Arc::clone(&self.bytes_read))
    }

    /// The next row, or nothing at the end.
    ///
    /// # Errors
    /// [`Error::Content`] with the row number if the file is broken there.
    pub fn next_row(&mut self) -> Result<Option<Row>, Error> {
        self.number += 1;
        let broken = |path: &str, number: u64, why: String| Error::Content {
            path: path.to_owned(),
            problems: format!("row {number}: {why}"),
        };
        match &mut self.kind {
            Kind::Csv { reader, .. } => {
                let mut record = csv::StringRecord::new();
                match reader.read_record(&mut record) {
                    Ok(true) => Ok(Some(Row { number: self.number, cells: Cells::Csv(record) })),
                    Ok(false) => Ok(None),
                    Err(error) => Err(broken(&self.path, self.number, error.to_string())),
                }
            }
            Kind::Json(input) => loop {
                let mut line = String::new();
                let read = input.take(LINE_BYTES_MAX).read_line(&mut line);
                match read.map_err(|e| broken(&self.path, self.number, e.to_string()))? {
                    0 => return Ok(None),
                    _ if line.trim().is_empty() => continue,
                    _ => {
                        let value = serde_json::from_str(&line).map_err(|e| broken(&self.path, self.number, e.to_string()))?;
                        return Ok(Some(Row { number: self.number, cells: Cells::Json { line, value } }));
                    }
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        file
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn all(rows: &mut Rows, column: &str) -> Vec<Option<String>> {
        let column = rows.column(column).unwrap();
        let mut found = Vec::new();
        while let Some(row) = rows.next_row().unwrap() {
            found.push(row.get(&column).map(|cell| cell.text().into_owned()));
        }
        found
    }

    #[test]
    fn csv_and_ndjson_are_told_apart_by_content_gzipped_or_not() {
        let csv = b"a,b\n1,\"x, y\"\n2,\n";
        let json = b"{\"a\":1,\"b\":{\"c\":\"x\"}}\n\n{\"a\":2,\"b\":null}\n";
        for content in [csv.to_vec(), gzip(csv)] {
            let mut rows = Rows::open(file(&content).path(), b',').unwrap();
            assert_eq!(rows.columns(), ["a", "b"]);
            assert!(rows.column("c").is_none());
            assert_eq!(all(&mut rows, "b"), [Some("x, y".into()), None]);
        }
        for content in [json.to_vec(), gzip(json)] {
            assert_eq!(all(&mut Rows::open(file(&content).path(), b',').unwrap(), "b.c"), [Some("x".into()), None]);
            assert_eq!(all(&mut Rows::open(file(&content).path(), b',').unwrap(), "a"), [Some("1".into()), Some("2".into())]);
        }
    }

    #[test]
    fn a_broken_row_is_named() {
        let file = file(b"{\"a\":1}\n{oops\n");
        let mut rows = Rows::open(file.path(), b',').unwrap();
        assert!(rows.next_row().unwrap().is_some());
        let Err(error) = rows.next_row() else { panic!("the second row is broken") };
        assert!(error.to_string().contains("row 2"), "{error}");
    }

    #[test]
    fn the_digest_depends_on_every_cell_and_on_their_borders() {
        let digest = |content: &[u8]| Rows::open(file(content).path(), b',').unwrap().next_row().unwrap().unwrap().digest();
        assert_eq!(digest(b"h,i\nab,c\n"), digest(b"j,k\nab,c\n"));
        assert_ne!(digest(b"h,i\nab,c\n"), digest(b"h,i\na,bc\n"));
    }
}
