//! Protobuf messages of Jobs and Pods, reduced to the fields that [`super::wire`] has. The decoder skips all other fields.
//!
//! The messages become the types of [`super::wire`], as if the object had arrived in JSON: texts and numbers that JSON
//! omits when they are empty or 0 become `None`. Texts are declared as bytes, for the reason that
//! [`crate::runtime::codec::metadata`] gives. Field numbers are from
//! [`batch/v1/generated.proto`](https://github.com/kubernetes/api/blob/master/batch/v1/generated.proto),
//! [`core/v1/generated.proto`](https://github.com/kubernetes/api/blob/master/core/v1/generated.proto) and
//! [`scheduling/v1alpha3/generated.proto`](https://github.com/kubernetes/api/blob/master/scheduling/v1alpha3/generated.proto).

pub mod job;
pub mod pod;
mod scheduling;
pub mod template;
