//! The mapping file of `lodestone replay`: which column is what.
//!
//! TOML, or JSON of the same shape. Names of columns are those of the CSV header line; in NDJSON
//! they are dotted paths.
//!
//! ```toml
//! user  = "user_id"            # whose event it is
//! event = "event"              # its name; or for a file of one kind of event: event_name = "Purchase"
//! # message_id = "id"          # absent: made from the row's number and content
//! # delimiter = ";"            # of CSV cells; default ","
//!
//! [time]                       # absent: the time of arrival
//! column = "timestamp"
//! format = "datetime"          # rfc3339 · datetime (YYYY-MM-DD HH:MM:SS[.ffffff]) · epoch_s · epoch_ms
//! zone   = "Europe/Berlin"     # of datetime; default UTC
//!
//! [[property]]                 # as often as there are properties
//! name    = "session_no"       # default: the column
//! column  = "session_id"
//! type    = "integer"          # string · integer · float · boolean · dateTime (format and zone of [time]) · json
//! pattern = 'sess_0*(\d+)'     # optional: take the first group; a cell that does not match is absent
//! events  = ["purchase"]       # optional: only for these events, named as in the file
//!
//! [[context]]                  # the same for the event's context
//!
//! [[rename]]                   # event names
//! from = "page_view"
//! to   = "Page Viewed"
//! ```
//!
//! A cell that does not fit its type is sent as the text that it is: the server judges events, and
//! the report shows its verdicts. An empty cell is an absent property.

use super::frame::Track;
use super::rows::{Cell, Column, Row, Rows};
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use regex::Regex;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::HashMap;

/// The mapping file as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapFile {
    user: String,
    event: Option<String>,
    event_name: Option<String>,
    message_id: Option<String>,
    delimiter: Option<char>,
    time: Option<TimeFile>,
    #[serde(default)]
    property: Vec<FieldFile>,
    #[serde(default)]
    context: Vec<FieldFile>,
    #[serde(default)]
    rename: Vec<RenameFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TimeFile {
    column: String,
    #[serde(default)]
    format: TimeFormat,
    zone: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum TimeFormat {
    #[default]
    Rfc3339,
    Datetime,
    EpochS,
    EpochMs,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
enum FieldType {
    String,
    Integer,
    Float,
    Boolean,
    DateTime,
    Json,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FieldFile {
    name: Option<String>,
    column: String,
    #[serde(rename = "type")]
    kind: Option<FieldType>,
    pattern: Option<String>,
    events: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RenameFile {
    from: String,
    to: String,
}

impl MapFile {
    /// Reads a mapping from its text: JSON if it begins with a brace, TOML otherwise.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim_start().starts_with('{') {
            return serde_json::from_str(text).map_err(|e| e.to_string());
        }
        let source = config::File::from_str(text, config::FileFormat::Toml);
        let read = config::Config::builder().add_source(source).build().map_err(|e| e.to_string())?;
        read.try_deserialize().map_err(|e| e.to_string())
    }

    /// The separator of CSV cells.
    #[must_use]
    pub fn delimiter(&self) -> u8 {
        self.delimiter.and_then(|c| u8::try_from(c).ok()).unwrap_or(b',')
    }
}

/// The mapping, bound to the columns of one file.
pub struct Mapper {
    user: Column,
    event: EventName,
    message_id: Option<Column>,
    time: Option<(Column, Clock)>,
    properties: Vec<Field>,
    context: Vec<Field>,
    rename: HashMap<String, String>,
}

enum EventName {
    Column(Column),
    Fixed(String),
}

struct Clock {
    format: TimeFormat,
    zone: TimeZone,
}

struct Field {
    name: String,
    column: Column,
    kind: Option<FieldType>,
    pattern: Option<Regex>,
    events: Option<Vec<String>>,
}

/// A row as an event.
#[derive(Debug, PartialEq)]
pub struct Mapped {
    /// Whose event it is.
    pub user: String,
    /// Event time in milliseconds since 1970, if the mapping has one.
    pub time_ms: Option<i64>,
    /// The message id.
    pub id: String,
    /// The item of a batch, as JSON.
    pub text: String,
}

impl Mapper {
    /// Binds a mapping to the columns of a file.
    ///
    /// # Errors
    /// All problems of the mapping, one a line.
    pub fn bind(map: MapFile, rows: &Rows) -> Result<Self, String> {
        let mut problems = Vec::new();
        let mut column = |what: String, name: &str| {
            rows.column(name).unwrap_or_else(|| {
                problems.push(format!("{what}: no column `{name}`; there are {}", rows.columns().join(", ")));
                Column::Index(0)
            })
        };
        let user = column("user".into(), &map.user);
        let event = match (&map.event, &map.event_name) {
            (Some(name), None) => Ok(EventName::Column(column("event".into(), name))),
            (None, Some(fixed)) => Ok(EventName::Fixed(fixed.clone())),
            _ => Err("give either event (a column) or event_name (a name for all rows)"),
        };
        let message_id = map.message_id.as_ref().map(|name| column("message_id".into(), name));
        let time = map.time.as_ref().map(|time| column("time".into(), &time.column));
        let mut bound = [Vec::new(), Vec::new()];
        for (list, files) in bound.iter_mut().zip([&map.property, &map.context]) {
            for file in files {
                let name = file.name.clone().unwrap_or_else(|| file.column.clone());
                list.push((column(format!("property {name}"), &file.column), name, file));
            }
        }
        let mut field = |(column, name, file): (Column, String, &FieldFile)| {
            let pattern = file.pattern.as_ref().and_then(|text| match Regex::new(text) {
                Ok(regex) if regex.captures_len() > 1 => Some(regex),
                Ok(_) => {
                    problems.push(format!("property {name}: pattern `{text}` has no group"));
                    None
                }
                Err(error) => {
                    problems.push(format!("property {name}: {error}"));
                    None
                }
            });
            Field { name, column, kind: file.kind, pattern, events: file.events.clone() }
        };
        let [properties, context] = bound.map(|list| list.into_iter().map(&mut field).collect());
        let zone = map.time.as_ref().and_then(|time| time.zone.as_deref()).unwrap_or("UTC");
        let zone = TimeZone::get(zone).map_err(|e| problems.push(format!("time.zone: {e}"))).unwrap_or(TimeZone::UTC);
        let format = map.time.as_ref().map(|time| time.format).unwrap_or_default();
        let event = event.map_err(|e| problems.push(e.to_owned())).unwrap_or(EventName::Fixed(String::new()));
        if !problems.is_empty() {
            return Err(problems.join("\n"));
        }
        let rename = map.rename.into_iter().map(|rename| (rename.from, rename.to)).collect();
        let time = time.map(|column| (column, Clock { format, zone }));
        Ok(Self { user, event, message_id, time, properties, context, rename })
    }

    /// Turns a row into an item of a batch. Without `with_time` the item carries no timestamp.
    ///
    /// # Errors
    /// Why the row is no event: no user, no event name, a time that cannot be read.
    pub fn map(&self, row: &Row, with_time: bool) -> Result<Mapped, String> {
        let user = row.get(&self.user).ok_or("no user")?.text().into_owned();
        let named = match &self.event {
            EventName::Column(column) => row.get(column).ok_or("no event name")?.text().into_owned(),
            EventName::Fixed(name) => name.clone(),
        };
        let time_ms = match &self.time {
            Some((column, clock)) => {
                let cell = row.get(column).ok_or("no time")?;
                Some(clock.read(&cell.text()).ok_or_else(|| format!("time `{}` cannot be read", cell.text()))?)
            }
            None => None,
        };
        let id = match self.message_id.as_ref().and_then(|column| row.get(column)) {
            Some(cell) => cell.text().into_owned(),
            None => format!("r{}-{}", row.number, row.digest()),
        };
        let object = |fields: &[Field]| {
            let mut object = Map::new();
            for field in fields.iter().filter(|f| f.events.as_ref().is_none_or(|only| only.contains(&named))) {
                if let Some(value) = field.read(row, self.time.as_ref().map(|(_, clock)| clock)) {
                    object.insert(field.name.clone(), value);
                }
            }
            serde_json::value::to_raw_value(&object).map_err(|e| e.to_string())
        };
        let properties: Box<RawValue> = object(&self.properties)?;
        let context = if self.context.is_empty() { None } else { Some(object(&self.context)?) };
        let stamp = time_ms.filter(|_| with_time).map(rfc3339);
        let event = self.rename.get(&named).unwrap_or(&named);
        let mut item = Track::new(&id, event);
        item.user_id = Some(&user);
        item.properties = Some(&properties);
        item.context = context.as_deref();
        item.timestamp = stamp.as_deref();
        let text = item.to_text();
        Ok(Mapped { user, time_ms, id, text })
    }
}

impl Clock {
    fn read(&self, text: &str) -> Option<i64> {
        match self.format {
            TimeFormat::Rfc3339 => Some(text.parse::<Timestamp>().ok()?.as_millisecond()),
            TimeFormat::Datetime => {
                let local: DateTime = text.parse().ok()?;
                Some(self.zone.to_timestamp(local).ok()?.as_millisecond())
            }
            // Milliseconds of any date that a timestamp can hold are exact in an f64.
            TimeFormat::EpochS => Some(within(text.parse::<f64>().ok()? * 1000.0)?),
            TimeFormat::EpochMs => Some(within(text.parse::<f64>().ok()?)?),
        }
    }
}

/// Whole milliseconds, if they are a time that can be written.
fn within(ms: f64) -> Option<i64> {
    let limit = Timestamp::MAX.as_millisecond() as f64;
    (ms.abs() <= limit).then(|| ms.round() as i64)
}

/// RFC 3339 in UTC with milliseconds.
fn rfc3339(ms: i64) -> String {
    let stamp = Timestamp::from_millisecond(ms).expect("only times that jiff has read or checked come here");
    stamp.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

impl Field {
    fn read(&self, row: &Row, clock: Option<&Clock>) -> Option<Value> {
        let cell = row.get(&self.column)?;
        let whole = cell.text();
        let text = match &self.pattern {
            Some(pattern) => pattern.captures(&whole)?.get(1)?.as_str(),
            None => &whole,
        };
        let as_is = || match (cell, &self.pattern) {
            (Cell::Json(value), None) => value.clone(),
            _ => Value::String(text.to_owned()),
        };
        let typed = match self.kind {
            None => None,
            Some(FieldType::String) => Some(Value::String(text.to_owned())),
            Some(FieldType::Integer) => text.trim().parse::<i64>().ok().map(Value::from),
            Some(FieldType::Float) => text.trim().parse::<f64>().ok().and_then(serde_json::Number::from_f64).map(Value::Number),
            Some(FieldType::Boolean) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" => Some(true.into()),
                "false" | "0" | "no" => Some(false.into()),
                _ => None,
            },
            Some(FieldType::DateTime) => clock.and_then(|clock| clock.read(text)).map(|ms| rfc3339(ms).into()),
            Some(FieldType::Json) => serde_json::from_str(text).ok(),
        };
        Some(typed.unwrap_or_else(as_is))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const MAP: &str = r#"
        user = "user_id"
        event = "event"
        [time]
        column = "at"
        format = "datetime"
        zone = "Europe/Berlin"
        [[property]]
        name = "sessionNo"
        column = "session"
        type = "integer"
        pattern = 'sess_0*(\d+)'
        [[property]]
        column = "price"
        type = "float"
        events = ["buy"]
        [[context]]
        column = "platform"
        [[rename]]
        from = "buy"
        to = "Purchase"
    "#;

    fn map_all(map: &str, content: &str) -> Result<Vec<Result<Mapped, String>>, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content.as_bytes()).unwrap();
        let map = MapFile::parse(map)?;
        let mut rows = Rows::open(file.path(), map.delimiter()).unwrap();
        let mapper = Mapper::bind(map, &rows)?;
        let mut mapped = Vec::new();
        while let Some(row) = rows.next_row().unwrap() {
            mapped.push(mapper.map(&row, true));
        }
        Ok(mapped)
    }

    #[test]
    fn columns_become_user_name_time_and_typed_properties() {
        let rows = "user_id,session,event,at,price,platform\n\
                    u1,sess_0042,view,2024-07-01 10:00:00,9.5,web\n\
                    u1,none,buy,2024-01-01 00:00:00.123456,19.90,web\n\
                    u1,sess_1,buy,2024-01-01 00:00:00,cheap,\n";
        let mapped: Vec<_> = map_all(MAP, rows).unwrap().into_iter().map(Result::unwrap).collect();
        let item = |index: usize| serde_json::from_str::<Value>(&mapped[index].text).unwrap();
        assert_eq!(item(0)["properties"], serde_json::json!({"sessionNo": 42}));
        assert_eq!(item(0)["timestamp"], "2024-07-01T08:00:00.000Z");
        assert_eq!(item(0)["context"], serde_json::json!({"platform": "web"}));
        assert_eq!((item(1)["event"].as_str(), item(1)["userId"].as_str()), (Some("Purchase"), Some("u1")));
        assert_eq!(item(1)["properties"], serde_json::json!({"price": 19.9}));
        assert_eq!(item(1)["timestamp"], "2023-12-31T23:00:00.123Z");
        // What does not fit its type goes as it is: the server judges it.
        assert_eq!(item(2)["properties"], serde_json::json!({"sessionNo": 1, "price": "cheap"}));
    }

    #[test]
    fn message_ids_are_the_same_on_every_run_and_differ_between_equal_rows() {
        let rows = "user_id,session,event,at,price,platform\nu,s,e,2024-01-01 00:00:00,,\nu,s,e,2024-01-01 00:00:00,,\n";
        let ids = || map_all(MAP, rows).unwrap().into_iter().map(|m| m.unwrap().id).collect::<Vec<_>>();
        assert_eq!(ids(), ids());
        assert_ne!(ids()[0], ids()[1]);
        let legal = |c: char| c.is_ascii_alphanumeric() || "_.:-".contains(c);
        assert!(ids().iter().all(|id| id.len() <= 100 && id.chars().all(legal)));
    }

    #[test]
    fn all_problems_of_a_mapping_come_at_once() {
        let map = r#"{"user":"who","event":"event","time":{"column":"when","zone":"Mars/X"},
            "property":[{"column":"event","pattern":"(a"},{"column":"event","pattern":"a"}]}"#;
        let problems = map_all(map, "event\nx\n").unwrap_err();
        for part in ["no column `who`", "no column `when`", "Mars/X", "unclosed group", "has no group"] {
            assert!(problems.contains(part), "{part} is missing in\n{problems}");
        }
        assert!(MapFile::parse("user = \"u\"\nevnt = \"x\"").unwrap_err().contains("evnt"));
    }

    #[test]
    fn ndjson_keeps_its_types_and_epochs_are_read() {
        let map = r#"{"user":"u","event_name":"E","time":{"column":"t","format":"epoch_s"},
            "property":[{"column":"p.n","name":"n"},{"column":"p.list","name":"list"},{"column":"p.s","name":"s","type":"integer"}]}"#;
        let rows = "{\"u\":7,\"t\":1700000000.25,\"p\":{\"n\":1.5,\"list\":[1],\"s\":\"8\"}}\n{\"u\":7,\"t\":\"soon\"}\n";
        let mapped = map_all(map, rows).unwrap();
        let first = mapped[0].as_ref().unwrap();
        assert_eq!((first.user.as_str(), first.time_ms), ("7", Some(1_700_000_000_250)));
        let item: Value = serde_json::from_str(&first.text).unwrap();
        assert_eq!(item["properties"], serde_json::json!({"n": 1.5, "list": [1], "s": 8}));
        assert!(mapped[1].as_ref().unwrap_err().contains("soon"));
    }
}
