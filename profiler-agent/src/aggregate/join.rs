//! Services with the same name and labels as one.

use crate::profile::{Sample, Service};
use std::collections::HashMap;
use std::sync::Arc;

/// What tells a series from others.
pub(crate) type Series = (Arc<str>, Vec<(Arc<str>, Arc<str>)>);

/// Each name and set of labels once, in the order of their first appearance; counts of the same stack and thread are
/// added.
#[must_use]
pub fn join_equal(services: Vec<Service>) -> Vec<Service> {
    let mut places = HashMap::<Series, usize>::with_capacity(services.len());
    let mut joined: Vec<Service> = Vec::with_capacity(services.len());
    let mut grown = Vec::new();
    for service in services {
        let next = joined.len();
        let place = *places.entry((Arc::clone(&service.name), service.labels.clone())).or_insert(next);
        match joined.get_mut(place) {
            Some(first) => {
                first.samples.extend(service.samples);
                grown.push(place);
            }
            None => joined.push(service),
        }
    }
    grown.sort_unstable();
    grown.dedup();
    grown.into_iter().for_each(|place| add_equal(&mut joined[place].samples));
    joined
}

fn add_equal(samples: &mut Vec<Sample>) {
    samples.sort_by_key(|sample| (sample.stack, sample.thread));
    samples.dedup_by(|later, first| {
        let equal = (later.stack, later.thread) == (first.stack, first.thread);
        if equal {
            first.count = first.count.saturating_add(later.count);
        }
        equal
    });
}
