//! Pools: the articles that a method's lists were chosen from. Methods that chose from different ones cannot be compared: the one with
//! fewer articles, or with those that users see, has it easier.

use std::collections::BTreeMap;

use dataset::{Dataset, Manifest, Result, Store};
use serde_json::Value;

/// What `retrieve` declares of the pool that it fetched from, by method; null where nobody says, as for imported lists.
pub(crate) type Pools = BTreeMap<String, Value>;

/// What readers are shown of whom a method of a pool has no list: datasets by pool.
pub(crate) fn fallbacks(store: &Store) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for name in store.folders()?.into_iter().filter(|name| name.starts_with("fallback.")) {
        if let Some(manifest) = Dataset::new(store, &name).current()? {
            found.insert(pool_of(&manifest).to_string(), name);
        }
    }
    Ok(found)
}

/// The pool that lists were retrieved from, if their job said.
pub(crate) fn pool_of(lists: &Manifest) -> Value {
    lists.lineage.values.get("pool").cloned().unwrap_or(Value::Null)
}

/// Whether two methods are known to have chosen from different pools.
pub(crate) fn apart(pools: &Pools, a: &str, b: &str) -> bool {
    match (pools.get(a), pools.get(b)) {
        (Some(a), Some(b)) => !a.is_null() && !b.is_null() && a != b,
        _ => false,
    }
}

/// What a reader should know of the methods' pools: which are not compared, and of which nobody says what they chose from.
pub(crate) fn remark(pools: &Pools) -> Option<String> {
    let mut methods_of: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (method, pool) in pools.iter().filter(|(_, pool)| !pool.is_null()) {
        methods_of.entry(pool.to_string()).or_default().push(method);
    }
    if methods_of.len() < 2 {
        return None;
    }
    let mut groups: Vec<String> = methods_of.into_values().map(|methods| methods.join(", ")).collect();
    groups.sort();
    let mut remark = format!("retrieved from different pools, so not compared with each other: {}", groups.join(" | "));
    let unknown: Vec<&str> =
        pools.iter().filter(|(_, pool)| pool.is_null()).map(|(method, _)| method.as_str()).collect();
    if !unknown.is_empty() {
        remark.push_str(&format!("; compared with all, because their pools are not known: {}", unknown.join(", ")));
    }
    Some(remark)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn methods_of_different_pools_are_told_apart() {
        let mut pools: Pools =
            [("a", json!("x")), ("b", json!("y")), ("c", json!("x"))].map(|(m, p)| (m.into(), p)).into();
        assert!(apart(&pools, "a", "b") && !apart(&pools, "a", "c"));
        assert_eq!(
            remark(&pools).unwrap(),
            "retrieved from different pools, so not compared with each other: a, c | b"
        );
        pools.insert("mine".into(), Value::Null);
        assert!(!apart(&pools, "mine", "a") && !apart(&pools, "mine", "b"));
        assert!(remark(&pools).unwrap().ends_with("; compared with all, because their pools are not known: mine"));
        pools.remove("b");
        assert_eq!(remark(&pools), None);
    }
}
