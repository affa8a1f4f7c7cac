//! Reads the objects that the arguments of a command select, with every field that the API server sends.

use k8s_openapi::api::batch::v1::Job;
use kube::Api;
use kube::api::{ApiResource, DynamicObject};

use super::cluster::{ClusterContext, ClusterReadError};
use super::explain::collect::Scope;
use super::names::{Kind, ObjectName, Selection, SelectorArguments};
use crate::client::lists::ListEach;

/// Returns the description of a kind that requests need.
pub(crate) fn resource(kind: Kind) -> ApiResource {
    let version = match kind {
        Kind::Job | Kind::CronJob => "v1",
        Kind::JobSchedule | Kind::JobLimit => "v1beta1",
    };
    let gvk = kube::api::GroupVersionKind::gvk(kind.group(), version, kind.kind());
    ApiResource::from_gvk_with_plural(&gvk, kind.plural())
}

/// Returns the API for the objects of one kind in a scope.
pub(crate) fn api(context: &ClusterContext, kind: Kind, scope: &Scope) -> Api<DynamicObject> {
    let resource = resource(kind);
    match scope {
        Scope::All => Api::all_with(context.client.clone(), &resource),
        Scope::Namespace(namespace) => Api::namespaced_with(context.client.clone(), namespace, &resource),
    }
}

/// Returns the namespaces that the flags select.
pub(crate) fn scope(context: &ClusterContext, selectors: &SelectorArguments) -> Scope {
    if selectors.all_namespaces { Scope::All } else { Scope::Namespace(context.namespace.clone()) }
}

/// Reads one object.
///
/// # Errors
/// The object cannot be read.
pub(crate) async fn get(context: &ClusterContext, name: &ObjectName) -> Result<DynamicObject, ClusterReadError> {
    let scope = Scope::Namespace(context.namespace.clone());
    let found = api(context, name.kind, &scope).get(&name.name).await;
    found.map_err(context.unreadable(&name.to_string()))
}

/// Reads the selected objects with their kinds: those that are named, or those that the selectors match.
///
/// # Errors
/// An object or a list cannot be read.
pub(crate) async fn objects(
    context: &ClusterContext,
    selection: &Selection,
    selectors: &SelectorArguments,
) -> Result<Vec<(Kind, DynamicObject)>, ClusterReadError> {
    let mut found = Vec::new();
    match selection {
        Selection::Named(names) => {
            for name in names {
                found.push((name.kind, get(context, name).await?));
            }
        }
        Selection::Matching(kinds) => {
            let scope = scope(context, selectors);
            for kind in kinds {
                let list = api(context, *kind, &scope).list(&selectors.list_params()).await;
                let list = list.map_err(context.unreadable_in(kind.plural(), scope == Scope::All))?;
                found.extend(list.items.into_iter().map(|object| (*kind, object)));
            }
        }
    }
    Ok(found)
}

/// Reads the selected Jobs: those that are named, or those that the selectors match.
///
/// # Errors
/// A Job or the list cannot be read.
pub(crate) async fn jobs(
    context: &ClusterContext,
    selection: &Selection,
    selectors: &SelectorArguments,
) -> Result<Vec<Job>, ClusterReadError> {
    match selection {
        Selection::Named(names) => {
            let mut jobs = Vec::new();
            for name in names {
                let found = context.api::<Job>().get(&name.name).await;
                jobs.push(found.map_err(context.unreadable(&name.to_string()))?);
            }
            Ok(jobs)
        }
        Selection::Matching(_) => {
            let all = selectors.all_namespaces;
            let list = context.api_in::<Job>(all).list_each(&selectors.list_params()).await;
            list.map_err(context.unreadable_in("jobs", all))
        }
    }
}
