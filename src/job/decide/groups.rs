//! Gang scheduling: the Workload and the PodGroup of a Job come before its first status and its pods.

use std::sync::Arc;

use jiff::Timestamp;

use super::outcome::Outcome;
use super::{DecisionInput, Step};
use crate::job::gang::plan::{self, Plan};
use crate::runtime::events::EventText;

/// What the group of a Job allows now.
pub(super) struct GroupPlan {
    plan: Plan,
    /// Whether the planned write was refused, and waits for the end of its back-off.
    is_backed_off: bool,
}

impl GroupPlan {
    /// Plans the next write for the group of a Job. A Job that ends or is being deleted needs none.
    pub(super) fn new(input: &DecisionInput<'_>, outcome: Option<&Outcome>, now: Timestamp) -> Self {
        let plan = match outcome {
            None if !input.job.deleting => plan::plan(input.job, input.pods, input.groups),
            _ => Plan::Ungrouped,
        };
        let is_backed_off = match &plan {
            Plan::Write(write) => input.refusals.is_backed_off(write.kind(), None, now),
            _ => false,
        };
        Self { plan, is_backed_off }
    }

    /// Returns the step that comes before all others, if there is one. The status shows that a Job has started, and a Job
    /// that has started gets no Workload and no PodGroup.
    pub(super) fn step(&self, input: &DecisionInput<'_>) -> Option<Step> {
        match &self.plan {
            Plan::Write(write) if !self.is_backed_off => Some(Step::WriteGroup(write.clone())),
            // Nothing else is due for a Job that has never started.
            Plan::Write(_) if plan::is_new(input.job, input.pods) => Some(Step::None),
            Plan::ReadParent => Some(Step::ReadParentWorkload),
            _ => None,
        }
    }

    /// Returns whether new pods have to wait.
    pub(super) fn delays_pods(&self) -> bool {
        self.is_backed_off || matches!(self.plan, Plan::Unusable(_))
    }

    /// Returns the name of the PodGroup of new pods.
    pub(super) fn name(&self) -> Option<Arc<str>> {
        match &self.plan {
            Plan::Grouped(name) => Some(name.clone()),
            _ => None,
        }
    }

    /// Returns the event with the reason why the Job gets no new pods, if its Workload is unusable.
    pub(super) fn refusal(&self) -> Option<EventText> {
        match &self.plan {
            Plan::Unusable(problem) => Some(EventText::warning("InvalidWorkload", problem.clone())),
            _ => None,
        }
    }
}
