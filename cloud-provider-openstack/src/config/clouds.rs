//! `clouds.yaml`, with `secure.yaml` over it and `clouds-public.yaml` under it.

use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value};

use super::Surroundings;

/// The environment variable that names the file; `clouds-file` of the cloud config stands in its place.
const FILE: &str = "OS_CLIENT_CONFIG_FILE";
/// The environment variable that names the entry.
const CLOUD: &str = "OS_CLOUD";

/// One entry of `clouds.yaml`, as much of it as is used.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// Who we are.
    pub auth: Option<Auth>,
    /// The region.
    #[serde(deserialize_with = "text")]
    pub region_name: String,
    /// The older name of `interface`; it comes first.
    #[serde(deserialize_with = "text")]
    pub endpoint_type: String,
    /// Which endpoints are used.
    #[serde(deserialize_with = "text")]
    pub interface: String,
    /// A file of certificate authorities.
    #[serde(deserialize_with = "text")]
    pub cacert: String,
    /// The file of a client certificate.
    #[serde(deserialize_with = "text")]
    pub cert: String,
    /// The file of its key.
    #[serde(deserialize_with = "text")]
    pub key: String,
    /// Whether certificates of servers are checked.
    pub verify: Option<bool>,
    /// `<service>_endpoint_override` and whatever else there is.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// The section `auth` of an entry.
#[derive(Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are OpenStack's own names")]
pub struct Auth {
    #[serde(deserialize_with = "text")]
    pub auth_url: String,
    #[serde(deserialize_with = "text")]
    pub user_id: String,
    #[serde(deserialize_with = "text")]
    pub username: String,
    #[serde(deserialize_with = "text")]
    pub password: String,
    #[serde(deserialize_with = "text")]
    pub project_id: String,
    #[serde(deserialize_with = "text")]
    pub project_name: String,
    #[serde(deserialize_with = "text")]
    pub domain_id: String,
    #[serde(deserialize_with = "text")]
    pub domain_name: String,
    #[serde(deserialize_with = "text")]
    pub project_domain_id: String,
    #[serde(deserialize_with = "text")]
    pub project_domain_name: String,
    #[serde(deserialize_with = "text")]
    pub user_domain_id: String,
    #[serde(deserialize_with = "text")]
    pub user_domain_name: String,
    #[serde(deserialize_with = "text")]
    pub token: String,
    #[serde(deserialize_with = "text")]
    pub application_credential_id: String,
    #[serde(deserialize_with = "text")]
    pub application_credential_name: String,
    #[serde(deserialize_with = "text")]
    pub application_credential_secret: String,
}

/// Scalars are texts, however YAML reads them: a password may look like a number.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Array(_) | Value::Object(_) => Err(de::Error::custom("a text is expected, not a list or a map")),
    }
}

/// The entry that `cloud`, else `OS_CLOUD` names, else the only one. `file` comes before the environment.
///
/// # Errors
///
/// In words, with the file and what to do.
pub fn entry(cloud: &str, file: &str, surroundings: &Surroundings) -> Result<Entry, String> {
    let path = find(file, surroundings)?;
    let clouds = read(&path)?;
    let mut clouds =
        section(clouds, "clouds").ok_or_else(|| format!("{}: there is no map \"clouds\" in it", path.display()))?;
    let named = match cloud {
        "" => surroundings.variable(CLOUD).unwrap_or_default(),
        cloud => cloud.to_owned(),
    };
    let name = match named.as_str() {
        "" if clouds.len() == 1 => clouds.keys().next().cloned().unwrap_or_default(),
        "" => {
            let names: Vec<&str> = clouds.keys().map(String::as_str).collect();
            return Err(format!(
                "{}: it has the entries {}; choose one with `cloud` in [Global]",
                path.display(),
                names.join(", ")
            ));
        }
        named => named.to_owned(),
    };
    let mut entry =
        clouds.remove(&name).ok_or_else(|| format!("{}: there is no cloud {name:?} in it", path.display()))?;
    if let Some(public) = public(&entry, surroundings)? {
        let over = std::mem::replace(&mut entry, public);
        merge(&mut entry, over);
    }
    // Only for an entry that was named, as upstream has it.
    if !named.is_empty()
        && let Some(secure) = beside("secure", surroundings)
        && let Some(over) = section(read(&secure)?, "clouds").and_then(|mut clouds| clouds.remove(&name))
    {
        merge(&mut entry, over);
    }
    // The message may repeat a value.
    let entry = serde_json::from_value::<Entry>(entry);
    let entry = entry.map_err(|_| {
        format!("{}: cloud {name:?}: a field is of the wrong kind; all are texts but verify", path.display())
    })?;
    if entry.auth.is_none() {
        return Err(format!("{}: cloud {name:?} has no section \"auth\"", path.display()));
    }
    Ok(entry)
}

/// The profile of an entry: of that name, or a host that a vendor publishes; upstream knows only `clouds-public.yaml`.
fn public(entry: &Value, surroundings: &Surroundings) -> Result<Option<Value>, String> {
    let name = ["profile", "cloud"].iter().find_map(|key| entry.get(key)?.as_str()).filter(|name| !name.is_empty());
    let (Some(name), Some(path)) = (name, beside("clouds-public", surroundings)) else { return Ok(None) };
    Ok(section(read(&path)?, "public-clouds").and_then(|mut clouds| clouds.remove(name)))
}

fn find(file: &str, surroundings: &Surroundings) -> Result<PathBuf, String> {
    let given = match file {
        "" => surroundings.variable(FILE).map(PathBuf::from),
        file => Some(PathBuf::from(file)),
    };
    if let Some(path) = given.as_ref().filter(|path| path.is_file()) {
        return Ok(path.clone());
    }
    beside("clouds", surroundings).ok_or_else(|| match given {
        Some(path) => format!("clouds-file {}: there is no such file", path.display()),
        None => "there is no clouds.yaml; name it with `clouds-file` in [Global]".to_owned(),
    })
}

fn beside(name: &str, surroundings: &Surroundings) -> Option<PathBuf> {
    ["yaml", "yml"].iter().find_map(|extension| {
        let paths = surroundings.directories().iter().map(|directory| directory.join(format!("{name}.{extension}")));
        paths.into_iter().find(|path| path.is_file())
    })
}

fn read(path: &Path) -> Result<Value, String> {
    let text = fs::read_to_string(path).map_err(|error| match error.kind() {
        ErrorKind::InvalidData => format!("{}: it is not UTF-8", path.display()),
        _ => format!("read {}: {error}", path.display()),
    })?;
    // The message may show the line, and the line may hold a secret.
    serde_saphyr::from_str(&text).map_err(|error| match error.location() {
        Some(at) => format!("{}: line {}: it is not YAML", path.display(), at.line()),
        None => format!("{}: it is not YAML", path.display()),
    })
}

fn section(mut document: Value, name: &str) -> Option<Map<String, Value>> {
    match document.get_mut(name).map(Value::take) {
        Some(Value::Object(entries)) => Some(entries),
        _ => None,
    }
}

/// Puts `over` over `value`: maps key by key, anything else whole.
fn merge(value: &mut Value, over: Value) {
    match (value, over) {
        (Value::Object(fields), Value::Object(over)) => {
            for (key, over) in over {
                merge(fields.entry(key).or_insert(Value::Null), over);
            }
        }
        (_, Value::Null) => {}
        (value, over) => *value = over,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn maps_are_merged_key_by_key() {
        let mut value = json!({"auth": {"username": "a", "password": "b"}, "regions": [1], "x": 1});
        merge(&mut value, json!({"auth": {"password": "c"}, "regions": [2], "x": null, "y": 2}));
        assert_eq!(value, json!({"auth": {"username": "a", "password": "c"}, "regions": [2], "x": 1, "y": 2}));
    }
}
