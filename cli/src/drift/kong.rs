//! What Kong runs without a database: every entity, with the defaults that its own schemas give.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::Compared;
use super::admin::Asking;
use super::compare::Comparison;
use crate::outcome::Failure;
use crate::yaml;

/// What Kong keeps of an entity and nobody writes.
const OWN: [&str; 4] = ["created_at", "updated_at", "ws_id", "id"];

/// Entities that stand inside others, and the field that refers to these.
const PARENTS: [(&str, &str); 7] = [
    ("services", "service"),
    ("routes", "route"),
    ("consumers", "consumer"),
    ("consumer_groups", "consumer_group"),
    ("upstreams", "upstream"),
    ("certificates", "certificate"),
    ("key_sets", "set"),
];
/// What may stand inside another.
const NESTED: [&str; 14] = [
    "routes",
    "plugins",
    "filter_chains",
    "targets",
    "snis",
    "keys",
    "acls",
    "keyauth_credentials",
    "keyauth_enc_credentials",
    "jwt_secrets",
    "basicauth_credentials",
    "hmacauth_credentials",
    "oauth2_credentials",
    "mtls_auth_credentials",
];

/// An entity.
#[derive(Clone, Debug)]
struct Entity {
    table: String,
    fields: Map<String, Value>,
}

pub fn compare(file: &Path, admin: &Asking) -> Result<Compared, Failure> {
    let documents = yaml::File::read(file)?
        .map_err(|e| Failure::of_file(file, format!("is no YAML: {}", e.why)))?;
    let mut wanted = Vec::new();
    for document in &documents.documents {
        if document.get("_format_version").is_none() {
            return Err(Failure::of_file(
                file,
                "is no declarative configuration of Kong: it has no _format_version",
            ));
        }
        collect(&document.to_json(), &mut wanted);
    }
    let mut running = Vec::new();
    collect(&exported(admin)?, &mut running);

    let mut schemas = Schemas {
        admin,
        known: BTreeMap::new(),
    };
    let mut notes = Vec::new();
    let ids = ids(&running);
    for entity in &mut wanted {
        expand_url(&mut entity.fields);
    }
    let (mut of_file, mut of_running) = (BTreeMap::new(), BTreeMap::new());
    for (entities, into) in [(wanted, &mut of_file), (running, &mut of_running)] {
        for mut entity in entities {
            let fields = schemas.of(&entity)?;
            fill(&mut entity.fields, &fields);
            refer_by_name(&mut entity, &ids);
            for name in OWN {
                entity.fields.remove(name);
            }
            let key = key_of(&entity);
            let table: &mut BTreeMap<String, Value> = into.entry(entity.table).or_default();
            let mut unique = key.clone();
            let mut count = 2_u32;
            while table.contains_key(&unique) {
                unique = format!("{key} ({count})");
                count = count.saturating_add(1);
            }
            table.insert(unique, without_nulls(Value::Object(entity.fields)));
        }
    }
    let tables: BTreeSet<String> = of_file.keys().chain(of_running.keys()).cloned().collect();
    // Kong is whole: what it lacks is not there.
    let mut comparison = Comparison::new(|_, value| is_nothing(value));
    let none = BTreeMap::new();
    for table in &tables {
        let one = of_file.get(table).unwrap_or(&none);
        let other = of_running.get(table).unwrap_or(&none);
        comparison.sets(table, one, other);
    }
    if comparison.redacted > 0 {
        notes.push(format!(
            "{} values are not shown by Kong",
            comparison.redacted
        ));
    }
    Ok(Compared {
        differences: comparison.differences,
        notes,
    })
}

/// What Kong says that it runs.
fn exported(admin: &Asking) -> Result<Value, Failure> {
    let (status, body) = admin.get("/config")?;
    let at = format!("{}/config", admin.client.target);
    match status {
        200 => {}
        401 | 403 => {
            return Err(Failure::new(format!(
                "{at}: status {status}: it wants a token, --header-file or --header-env"
            )));
        }
        400 | 404 | 405 => {
            return Err(Failure::new(format!(
                "{at}: status {status}: not Kong's admin port, or a Kong with a database, which has no /config"
            )));
        }
        _ => return Err(Failure::new(format!("{at}: status {status}"))),
    }
    let answer: Value = serde_json::from_slice(&body)
        .map_err(|e| Failure::new(format!("{at}: the answer is no JSON: {e}")))?;
    let text = answer
        .get("config")
        .and_then(Value::as_str)
        .ok_or_else(|| {
            Failure::new(format!(
                "{at}: the answer has no config: not Kong's admin port"
            ))
        })?;
    let documents = yaml::documents(text)
        .map_err(|e| Failure::new(format!("{at}: the configuration is no YAML: {}", e.why)))?;
    let document = documents.first().map(yaml::Node::to_json);
    document.ok_or_else(|| Failure::new(format!("{at}: Kong has no configuration")))
}

/// Every entity of a document, those in others as if they stood beside.
fn collect(document: &Value, into: &mut Vec<Entity>) {
    let Some(members) = document.as_object() else {
        return;
    };
    for (table, list) in members {
        if table.starts_with('_') {
            continue;
        }
        for item in list.as_array().into_iter().flatten() {
            if let Value::Object(fields) = item {
                add(table, fields.clone(), into);
            }
        }
    }
}

fn add(table: &str, mut fields: Map<String, Value>, into: &mut Vec<Entity>) {
    let owner = ["name", "username", "id", "custom_id"]
        .iter()
        .find_map(|field| fields.get(*field).filter(|it| it.is_string()).cloned());
    let foreign = PARENTS.iter().find(|(parent, _)| *parent == table);
    if let Some((_, field)) = foreign {
        for nested in NESTED {
            let objects = fields
                .get(nested)
                .and_then(Value::as_array)
                .is_some_and(|items| items.iter().all(Value::is_object));
            if !objects {
                continue;
            }
            let Some(Value::Array(items)) = fields.remove(nested) else {
                continue;
            };
            for item in items {
                if let Value::Object(mut inner) = item {
                    inner.insert((*field).to_owned(), owner.clone().unwrap_or_default());
                    add(nested, inner, into);
                }
            }
        }
    }
    into.push(Entity {
        table: table.to_owned(),
        fields,
    });
}

/// `url: http://orders:8080/v1` is short for four fields.
fn expand_url(fields: &mut Map<String, Value>) {
    let Some(Value::String(url)) = fields.remove("url") else {
        return;
    };
    let Some((scheme, rest)) = url.split_once("://") else {
        return;
    };
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at_checked(at).unwrap_or((rest, "")),
        None => (rest, ""),
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
            (host, port.parse::<u16>().ok())
        }
        _ => (authority, None),
    };
    let usual = if scheme == "https" { 443 } else { 80 };
    fields.insert("protocol".into(), scheme.into());
    fields.insert("host".into(), host.into());
    fields.insert("port".into(), port.unwrap_or(usual).into());
    if !path.is_empty() {
        fields.insert("path".into(), path.into());
    }
}

/// The name of what has an id.
fn ids(entities: &[Entity]) -> BTreeMap<String, String> {
    let of = |entity: &Entity| {
        let id = entity.fields.get("id")?.as_str()?.to_owned();
        let name = ["name", "username"]
            .iter()
            .find_map(|field| entity.fields.get(*field)?.as_str())?;
        // Two plugins may have one name, and nothing refers to them.
        (entity.table != "plugins").then(|| (id, name.to_owned()))
    };
    entities.iter().filter_map(of).collect()
}

/// References are names, whatever they were written as.
fn refer_by_name(entity: &mut Entity, ids: &BTreeMap<String, String>) {
    for (_, field) in PARENTS {
        let Some(reference) = entity.fields.get_mut(field) else {
            continue;
        };
        let text = match reference {
            Value::String(text) => Some(text.clone()),
            Value::Object(members) => ["name", "username", "id"]
                .iter()
                .find_map(|key| members.get(*key)?.as_str().map(str::to_owned)),
            _ => None,
        };
        if let Some(text) = text {
            *reference = ids.get(&text).cloned().unwrap_or(text).into();
        }
    }
}

/// By what an entity is known: its name, or to whom it belongs and what it is. Never by a secret.
fn key_of(entity: &Entity) -> String {
    let text = |field: &str| entity.fields.get(field).and_then(Value::as_str);
    let owners: Vec<&str> = PARENTS
        .iter()
        .filter_map(|(_, field)| text(field))
        .collect();
    let own = match entity.table.as_str() {
        "plugins" => {
            let name = text("name").unwrap_or_default();
            let instance = text("instance_name")
                .map(|it| format!("/{it}"))
                .unwrap_or_default();
            return match owners.is_empty() {
                true => format!("{name}{instance}"),
                false => format!("{name}{instance} of {}", owners.join(", ")),
            };
        }
        "targets" => text("target"),
        "acls" => text("group"),
        _ => ["name", "username", "custom_id", "prefix"]
            .iter()
            .find_map(|field| text(field)),
    };
    match own {
        Some(own) => own.to_owned(),
        None if owners.is_empty() => "(without a name)".to_owned(),
        None => format!("of {}", owners.join(", ")),
    }
}

/// The fields of Kong's schemas.
struct Schemas<'a> {
    admin: &'a Asking,
    known: BTreeMap<String, Value>,
}

impl Schemas<'_> {
    /// The fields of an entity.
    ///
    /// # Errors
    /// When Kong does not tell.
    fn of(&mut self, entity: &Entity) -> Result<Vec<Value>, Failure> {
        let mut fields = Vec::new();
        let name = entity.fields.get("name").and_then(Value::as_str);
        if let ("plugins", Some(name)) = (entity.table.as_str(), name) {
            let plain = name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
            if plain {
                fields.extend(self.fields(&format!("plugins/{name}"))?);
            }
        }
        let generic = self.fields(&entity.table)?;
        for field in generic {
            let (Some(name), _) = (name_of_field(&field), ()) else {
                continue;
            };
            if !fields.iter().any(|own| name_of_field(own) == Some(name)) {
                fields.push(field);
            }
        }
        Ok(fields)
    }

    fn fields(&mut self, of: &str) -> Result<Vec<Value>, Failure> {
        if !self.known.contains_key(of) {
            let (status, body) = self.admin.get(&format!("/schemas/{of}"))?;
            let schema = match status {
                200 => serde_json::from_slice(&body)
                    .map_err(|e| Failure::new(format!("the schema of {of} is no JSON: {e}")))?,
                // A kind of entity that this Kong does not have: then it runs none, and that is a difference.
                404 => json!({}),
                _ => {
                    return Err(Failure::new(format!(
                        "Kong's schema of {of}: status {status}"
                    )));
                }
            };
            self.known.insert(of.to_owned(), schema);
        }
        let schema = self.known.get(of);
        let fields = schema
            .and_then(|it| it.get("fields"))
            .and_then(Value::as_array);
        Ok(fields.cloned().unwrap_or_default())
    }
}

fn name_of_field(field: &Value) -> Option<&String> {
    field.as_object()?.keys().next()
}

/// Fills in what is not written, as Kong does, and puts what has no order into one.
fn fill(members: &mut Map<String, Value>, fields: &[Value]) {
    for field in fields {
        let Some((name, schema)) = field.as_object().and_then(|it| it.iter().next()) else {
            continue;
        };
        let of_type = schema
            .get("type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let absent = members.get(name).is_none_or(Value::is_null);
        if absent {
            if let Some(default) = schema.get("default").filter(|it| !it.is_null()) {
                members.insert(name.clone(), default.clone());
            } else if of_type == "record" && is_true(schema, "required") {
                members.insert(name.clone(), json!({}));
            } else {
                continue;
            }
        }
        if let Some(value) = members.get_mut(name) {
            fill_value(value, schema);
        }
    }
}

fn fill_value(value: &mut Value, schema: &Value) {
    let of_type = schema
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let fields = schema.get("fields").and_then(Value::as_array);
    match (of_type, value) {
        ("record", Value::Object(members)) => {
            fill(members, fields.map(Vec::as_slice).unwrap_or_default());
        }
        // An empty object is an empty list in what Kong shows.
        ("record", value @ Value::Array(_)) => {
            let mut members = Map::new();
            fill(&mut members, fields.map(Vec::as_slice).unwrap_or_default());
            *value = members.into();
        }
        ("array" | "set", Value::Array(items)) => {
            if let Some(elements) = schema.get("elements") {
                items.iter_mut().for_each(|item| fill_value(item, elements));
            }
            if of_type == "set" {
                items.sort_by_key(ToString::to_string);
                items.dedup();
            }
        }
        ("map", Value::Object(members)) => {
            if let Some(values) = schema.get("values") {
                members
                    .values_mut()
                    .for_each(|member| fill_value(member, values));
            }
        }
        _ => {}
    }
}

fn is_true(schema: &Value, field: &str) -> bool {
    schema.get(field).and_then(Value::as_bool) == Some(true)
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .filter(|(_, member)| !member.is_null())
            .map(|(name, member)| (name, without_nulls(member)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_entities_belong_to_what_they_stand_in() {
        let document = json!({
            "_format_version": "3.0",
            "services": [{"name": "a", "url": "https://a/x", "routes": [{"name": "r", "plugins": [{"name": "cors"}]}]}],
        });
        let mut entities = Vec::new();
        collect(&document, &mut entities);
        let keys: Vec<String> = entities
            .iter()
            .map(|it| format!("{} {}", it.table, key_of(it)))
            .collect();
        assert_eq!(keys, ["plugins cors of r", "routes r", "services a"]);
        let mut service = entities.pop().unwrap().fields;
        expand_url(&mut service);
        assert_eq!(
            Value::Object(service),
            json!({"name": "a", "protocol": "https", "host": "a", "port": 443, "path": "/x"})
        );
    }

    #[test]
    fn defaults_are_those_of_the_schema() {
        let fields = [
            json!({"retries": {"type": "integer", "default": 5}}),
            json!({"tags": {"type": "set", "elements": {"type": "string"}}}),
            json!({"config": {"type": "record", "required": true, "fields": [{"on": {"type": "boolean", "default": false}}]}}),
            json!({"path": {"type": "string"}}),
        ];
        let mut written = json!({"tags": ["b", "a"]});
        fill(written.as_object_mut().unwrap(), &fields);
        assert_eq!(
            written,
            json!({"retries": 5, "tags": ["a", "b"], "config": {"on": false}})
        );
    }
}
