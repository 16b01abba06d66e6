//! The layers of the configuration.

use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::options::Config;
use super::validate;

/// Every option with its default, as a file that can be copied.
pub const DEFAULTS: &str = include_str!("default.toml");
/// What environment variables that set an option begin with.
const PREFIX: &str = "LODESTONE__";

/// All that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} problem(s) with the configuration", self.0.len())?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for Problems {}

/// One value that a layer sets.
struct Setting {
    /// `server.listen`.
    path: Vec<String>,
    value: Value,
    /// Where it comes from, for messages.
    source: String,
}

impl Config {
    /// Reads the defaults, the file and the environment of this process.
    ///
    /// # Errors
    /// [`Problems`], all at once: unknown keys, values of the wrong type, values out of range.
    pub fn load(path: Option<&Path>) -> Result<Self, Problems> {
        let file = match path {
            None => None,
            Some(path) => {
                let name = path.display().to_string();
                let text = std::fs::read_to_string(path).map_err(|error| Problems(vec![format!("{name}: {error}")]))?;
                Some((name, text))
            }
        };
        let file = file.as_ref().map(|(name, text)| (name.as_str(), text.as_str()));
        Self::layered(file, std::env::vars())
    }

    /// The defaults, `file` (its name and text) and `env` on top of each other.
    ///
    /// # Errors
    /// [`Problems`].
    pub fn layered(file: Option<(&str, &str)>, env: impl Iterator<Item = (String, String)>) -> Result<Self, Problems> {
        let defaults = toml(DEFAULTS).map_err(|error| Problems(vec![format!("defaults: {error}")]))?;
        let mut problems = Vec::new();
        let mut settings = Vec::new();
        if let Some((name, text)) = file {
            match toml(text) {
                Ok(table) => flatten(&table, &mut Vec::new(), name, &mut settings),
                Err(error) => problems.push(format!("{name}: {error}")),
            }
        }
        settings.extend(env.filter_map(|(name, value)| from_env(&name, &value, &defaults)));
        let mut merged = defaults.clone();
        for setting in settings {
            if let Err(problem) = apply(&defaults, &mut merged, &setting) {
                problems.push(format!("{}: {problem}", setting.source));
            }
        }
        match Self::deserialize(Value::Object(merged)) {
            Ok(config) => {
                validate::check(&config, &mut problems);
                if problems.is_empty() {
                    return Ok(config);
                }
            }
            Err(error) => problems.push(error.to_string()),
        }
        Err(Problems(problems))
    }
}

fn toml(text: &str) -> Result<Map<String, Value>, config::ConfigError> {
    let file = config::File::from_str(text, config::FileFormat::Toml);
    config::Config::builder().add_source(file).build()?.try_deserialize()
}

fn flatten(table: &Map<String, Value>, path: &mut Vec<String>, source: &str, out: &mut Vec<Setting>) {
    for (key, value) in table {
        path.push(key.clone());
        match value {
            Value::Object(inner) if !inner.is_empty() => flatten(inner, path, source, out),
            value => out.push(Setting { path: path.clone(), value: value.clone(), source: source.to_owned() }),
        }
        path.pop();
    }
}

/// The environment has text only: it becomes what the default of that option is.
fn from_env(name: &str, text: &str, defaults: &Map<String, Value>) -> Option<Setting> {
    let path: Vec<String> = name.strip_prefix(PREFIX)?.split("__").map(str::to_ascii_lowercase).collect();
    let value = match find(defaults, &path) {
        Some(Value::Bool(_)) => text.parse().ok().map(Value::Bool),
        Some(Value::Number(_)) => text.parse::<u64>().ok().map(Value::from),
        _ => None,
    };
    Some(Setting { path, value: value.unwrap_or_else(|| Value::from(text)), source: name.to_owned() })
}

fn find<'a>(table: &'a Map<String, Value>, path: &[String]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    let value = table.get(first)?;
    if rest.is_empty() { Some(value) } else { find(value.as_object()?, rest) }
}

fn set(table: &mut Map<String, Value>, path: &[String], value: &Value) {
    let Some((first, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        table.insert(first.clone(), value.clone());
    } else if let Some(Value::Object(inner)) = table.get_mut(first) {
        set(inner, rest, value);
    }
}

/// Checks one value by itself, on top of nothing but defaults, and then sets it.
fn apply(defaults: &Map<String, Value>, merged: &mut Map<String, Value>, setting: &Setting) -> Result<(), String> {
    let name = setting.path.join(".");
    match find(defaults, &setting.path) {
        None => return Err(format!("unknown option {name}")),
        Some(Value::Object(_)) => return Err(format!("{name} is a section, not an option")),
        Some(_) => {}
    }
    let mut alone = defaults.clone();
    set(&mut alone, &setting.path, &setting.value);
    Config::deserialize(Value::Object(alone)).map_err(|error| format!("{name}: {error}"))?;
    set(merged, &setting.path, &setting.value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn load(file: &str, env: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Config::layered(Some(("file", file)), env).map_err(|problems| problems.0)
    }

    #[test]
    fn the_defaults_are_valid_and_as_specified() {
        let config = load("", &[]).unwrap();
        assert_eq!(config.server.socket.settings().credit, 200);
        assert_eq!(config.server.socket.frame_bytes_max, crate::wire::limits::FRAME_BYTES);
        assert_eq!(config.server.socket.hello_timeout, Duration::from_secs(5));
        assert_eq!(config.server.socket.resume_ttl, Duration::from_secs(120));
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let file = "[server]\nlisten = \"127.0.0.1:1\"\nshop = true\n[server.socket]\ncredit = 5\n";
        let config = load(
            file,
            &[
                ("LODESTONE__SERVER__SOCKET__CREDIT", "7"),
                ("LODESTONE__SERVER__LISTEN", "127.0.0.1:2"),
                ("LODESTONE_OTHER", "x"),
                ("PATH", "/"),
            ],
        )
        .unwrap();
        assert_eq!(config.server.socket.credit, 7);
        assert_eq!(config.server.listen.port(), 2);
        assert!(config.server.shop);
    }

    #[test]
    fn all_problems_are_reported_together() {
        let file = "[server]\nlisten = \"nowhere\"\nshop = 3\nport = 80\n[server.socket]\nping_interval = 25\n[extra]\na = 1\n[journal]\nsync = \"often\"\n";
        let problems =
            load(file, &[("LODESTONE__LOG__LEVLE", "info"), ("LODESTONE__SERVER__CONNECTIONS_MAX", "many")]).unwrap_err();
        let all = problems.join("\n");
        for part in [
            "server.listen",
            "server.shop",
            "unknown option server.port",
            "server.socket.ping_interval",
            "unknown option extra.a",
            "journal.sync",
            "LODESTONE__LOG__LEVLE: unknown option log.levle",
            "server.connections_max",
        ] {
            assert!(all.contains(part), "{part} is missing in\n{all}");
        }
        assert_eq!(problems.len(), 8, "{all}");
    }

    #[test]
    fn values_out_of_range_are_refused() {
        let problems = load("[server.socket]\ncredit = 0\nhello_timeout = \"0s\"\n[log]\nlevel = \"a=b=c\"\n", &[]).unwrap_err();
        assert_eq!(problems.len(), 3, "{problems:?}");
    }

    #[test]
    fn lists_are_lists_in_files_and_text_in_the_environment() {
        let config = load("[hooks]\nallow = [\"10.0.0.0/8\", \"hooks.internal\"]\n", &[]).unwrap();
        assert_eq!(config.hooks.allow, ["10.0.0.0/8", "hooks.internal"]);
        let config = load("", &[("LODESTONE__HOOKS__ALLOW", "127.0.0.1/32, hooks.internal")]).unwrap();
        assert_eq!(config.hooks.allow, ["127.0.0.1/32", "hooks.internal"]);
        let problems = load("[hooks]\nallow = [\"10.0.0.0/99\"]\ntimeout = \"31s\"\n", &[]).unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
    }

    #[test]
    fn a_file_that_is_not_toml_is_named() {
        let problems = load("[server\n", &[]).unwrap_err();
        assert!(problems[0].starts_with("file: "), "{problems:?}");
    }
}
