//! A window with names: tables of the profile from those of the window.

use super::names::{Names, Site};
use crate::aggregate::{Frame, Window};
use crate::kubernetes::{Named, PodNames};
use crate::profile::{Function, Line, Location, Mapping, Process, Profile, Sample, Service, Thread};
use crate::telemetry::lose;
use std::collections::HashMap;
use std::sync::Arc;

/// Names everything in a closed window, processes by their pods as far as those are known now.
pub fn symbolize(window: &Window, names: &mut Names, pods: &PodNames) -> Profile {
    let (functions, locations) = locations(window, names);
    names.end_window();
    let process = |process: &crate::aggregate::WindowProcess| Process {
        pid: process.key.tgid,
        start_ns: process.key.start_ns,
        name: Arc::clone(&process.identity.name),
    };
    let thread = |thread: &crate::aggregate::WindowThread| Thread {
        process: thread.process,
        tid: thread.tid,
        name: Arc::clone(&thread.name),
    };
    Profile {
        start_unix_ns: window.start_unix_ns,
        duration_ns: window.duration_ns,
        period_ns: window.period_ns,
        mappings: window
            .executables
            .iter()
            .map(|executable| Mapping { path: Arc::clone(&executable.path), build_id: executable.build_id() })
            .collect(),
        functions,
        locations,
        stacks: window.stacks.iter().map(|stack| stack.iter().copied().collect()).collect(),
        processes: window.processes.iter().map(process).collect(),
        threads: window.threads.iter().map(thread).collect(),
        services: services(window, pods),
    }
}

/// One location per frame of the window, in its order, and the functions they name.
fn locations(window: &Window, names: &mut Names) -> (Vec<Function>, Vec<Location>) {
    let mut by_executable: Vec<Vec<(usize, u64)>> = vec![Vec::new(); window.executables.len()];
    for (index, frame) in window.frames.iter().enumerate() {
        by_executable[frame.executable as usize].push((index, frame.address));
    }
    let mut functions = Functions::default();
    let mut locations: Vec<Option<Location>> = vec![None; window.frames.len()];
    for (executable, frames) in window.executables.iter().zip(&by_executable) {
        let addresses: Vec<u64> = frames.iter().map(|(_, address)| *address).collect();
        for (sites, (index, _)) in names.find(executable, &addresses).into_iter().zip(frames) {
            locations[*index] = Some(location(&window.frames[*index], &sites, &mut functions));
        }
    }
    (functions.list, locations.into_iter().flatten().collect())
}

fn location(frame: &Frame, sites: &[Site], functions: &mut Functions) -> Location {
    let line = |site: &Site| Line { function: functions.index(site), line: site.line };
    Location {
        mapping: frame.executable,
        address: frame.address.max(1),
        kind: frame.kind,
        lines: sites.iter().map(line).collect(),
    }
}

#[derive(Default)]
struct Functions {
    list: Vec<Function>,
    index: HashMap<(Arc<str>, Arc<str>), u32>,
}

impl Functions {
    /// Functions of one symbol name and one source file are one, whatever executable they are in.
    fn index(&mut self, site: &Site) -> u32 {
        let key = (Arc::clone(&site.system_name), Arc::clone(&site.file));
        *self.index.entry(key).or_insert_with(|| {
            self.list.push(Function {
                name: Arc::clone(&site.name),
                system_name: Arc::clone(&site.system_name),
                file: Arc::clone(&site.file),
            });
            self.list.len() as u32 - 1
        })
    }
}

/// Samples by service and labels.
fn services(window: &Window, pods: &PodNames) -> Vec<Service> {
    let named: Vec<Named> = window.processes.iter().map(|process| pods.of(&process.identity)).collect();
    let mut services: Vec<Service> = Vec::new();
    let mut index: HashMap<&Named, usize> = HashMap::new();
    for (&(stack, thread), &count) in &window.counts {
        if lose::one("symbolize") {
            continue;
        }
        let named = &named[window.threads[thread as usize].process as usize];
        let at = *index.entry(named).or_insert_with(|| {
            services.push(Service { name: Arc::clone(&named.name), labels: named.labels.clone(), samples: Vec::new() });
            services.len() - 1
        });
        services[at].samples.push(Sample { stack, thread, count });
    }
    services.sort_by(|a, b| (&a.name, &a.labels).cmp(&(&b.name, &b.labels)));
    services.iter_mut().for_each(|service| service.samples.sort_by_key(|sample| (sample.stack, sample.thread)));
    services
}
