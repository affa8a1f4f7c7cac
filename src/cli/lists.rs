//! Lists from which an object that this version cannot parse is left out. One object that a user of any namespace has
//! written would otherwise prevent the answer about all others.

use std::fmt::Debug;

use kube::Api;
use kube::api::{DynamicObject, ListParams, ObjectList, Request};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::output;

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
        let list: ObjectList<DynamicObject> = self.clone().into_client().request(request).await?;
        let parse = |object: DynamicObject| {
            let name = format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any());
            let unreadable = |error| {
                output::error_line(format!(
                    "jobwright: {} {name} is left out: it cannot be read: {error}",
                    K::kind(&())
                ));
            };
            serde_json::to_value(object).and_then(serde_json::from_value).map_err(unreadable).ok()
        };
        Ok(list.items.into_iter().filter_map(parse).collect())
    }
}
