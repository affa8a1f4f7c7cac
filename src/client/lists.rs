//! Lists from which an object that this version cannot parse is left out. One object that a user of any namespace has
//! written would otherwise prevent the answer about all others.

use std::fmt::Debug;

use kube::api::{ListParams, Request};
use kube::{Api, Resource};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::output;

/// List of objects that are not parsed yet. Even the metadata of an object can have a time that cannot be parsed.
#[derive(Deserialize)]
struct UnparsedList {
    items: Vec<Value>,
}

/// Lists whose objects are parsed one by one.
pub(crate) trait ListEach<K> {
    /// Returns the objects that the API server lists. Each object that cannot be parsed is named on standard error.
    ///
    /// # Errors
    /// The API server refused the request or did not answer.
    async fn list_each(&self, params: &ListParams) -> kube::Result<Vec<K>>;
}

impl<K> ListEach<K> for Api<K>
where
    K: Clone + Debug + DeserializeOwned + Resource<DynamicType = ()>,
{
    async fn list_each(&self, params: &ListParams) -> kube::Result<Vec<K>> {
        let request = Request::new(self.resource_url()).list(params).map_err(kube::Error::BuildRequest)?;
        let list: UnparsedList = self.clone().into_client().request(request).await?;
        let parse = |object: Value| {
            let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
            let name = format!("{}/{}", text("namespace"), text("name"));
            let unreadable = |error| {
                output::error_line(format!(
                    "jobwright: {} {name} is left out: it cannot be read: {error}",
                    K::kind(&())
                ));
            };
            serde_json::from_value(object).map_err(unreadable).ok()
        };
        Ok(list.items.into_iter().filter_map(parse).collect())
    }
}
