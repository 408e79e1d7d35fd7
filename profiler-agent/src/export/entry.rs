//! A part on its way, with its samples in the ledger.

use crate::canary::Receipt;
use crate::keeper::Spool;
use crate::otlp::Part;
use crate::spool::{NewPart, PartId, StoredPart};
use crate::telemetry::ledger::{DropReason, Pending, Spooled};
use crate::telemetry::lose;
use crate::telemetry::metrics::{Metric, Metrics};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Instant;

/// Where a part is.
#[derive(Debug)]
enum Place {
    /// Nowhere else. Let go without an end, its samples are dropped{shutdown}.
    Memory(NewPart, Pending),
    /// In the spool, where it stays when let go.
    Disk(Spool, PartId, Spooled),
}

/// A part that waits for an endpoint or is on its way.
#[derive(Debug)]
pub(super) struct Entry {
    place: Option<Place>,
    /// Encoded bytes.
    pub(super) bytes: usize,
    /// Samples.
    pub(super) samples: u64,
    /// When its samples were taken; the server looks at that.
    pub(super) start_unix_ns: u64,
    /// Not to be sent before.
    pub(super) not_before: Option<Instant>,
    /// When it came.
    pub(super) born: Instant,
    /// Tries that were answered.
    pub(super) answers: u32,
    /// One of now: no try of it has failed, and it has not waited for long.
    pub(super) live: bool,
    /// There is no further try.
    pub(super) last: bool,
    /// A server may just be taking it.
    sending: Option<Arc<Metrics>>,
    /// Tells the canary.
    receipt: Option<Receipt>,
}

/// A part as the spool and the wire have it.
pub(super) fn encoded(part: &Part) -> NewPart {
    use prost::Message;
    let (start_unix_ns, end_unix_ns) = part.span_unix_ns();
    NewPart { body: part.request.encode_to_vec().into(), samples: part.samples, start_unix_ns, end_unix_ns }
}

impl Entry {
    fn new(place: Place, bytes: usize, samples: u64, start_unix_ns: u64, receipt: Option<Receipt>) -> Self {
        Self {
            place: Some(place),
            bytes,
            samples,
            start_unix_ns,
            not_before: None,
            born: Instant::now(),
            answers: 0,
            live: true,
            last: false,
            sending: None,
            receipt,
        }
    }

    /// A part in memory; counts what it really holds.
    pub(super) fn in_memory(part: NewPart, mut pending: Pending, receipt: Option<Receipt>) -> Self {
        pending.recount(part.samples);
        let (bytes, samples, start_unix_ns) = (part.body.len(), part.samples, part.start_unix_ns);
        Self::new(Place::Memory(part, pending), bytes, samples, start_unix_ns, receipt)
    }

    /// The same as live, or as one left behind.
    pub(super) fn with_live(mut self, live: bool) -> Self {
        self.live = live;
        self
    }

    /// What is in memory, for the spool.
    pub(super) fn into_memory(mut self) -> Option<(NewPart, Pending, Option<Receipt>)> {
        let (part, pending) = match self.place.take_if(|place| matches!(place, Place::Memory(..)))? {
            Place::Memory(part, pending) => (part, pending),
            Place::Disk(..) => return None,
        };
        Some((part, pending, self.receipt.take()))
    }

    /// A part in the spool.
    pub(super) fn on_disk(spool: &Spool, part: &StoredPart, spooled: Spooled, receipt: Option<Receipt>) -> Self {
        let place = Place::Disk(spool.clone(), part.id, spooled);
        Self::new(place, part.bytes as usize, part.samples, part.start_unix_ns, receipt)
    }

    /// Its place in the spool.
    pub(super) fn disk_id(&self) -> Option<PartId> {
        match &self.place {
            Some(Place::Disk(_, id, _)) => Some(*id),
            _ => None,
        }
    }

    /// The encoded request; none while the disk hangs; why it is gone, if it is.
    pub(super) async fn body(&mut self) -> Result<Option<Bytes>, DropReason> {
        match &self.place {
            Some(Place::Memory(part, _)) => Ok(Some(part.body.clone())),
            Some(Place::Disk(spool, id, _)) => {
                let (spool, id) = (spool.clone(), *id);
                spool.claim(id).await
            }
            None => Err(DropReason::SpoolLost),
        }
    }

    /// From now on a server may have it: let go without a word of that server, it is counted as ambiguous.
    pub(super) fn sending(&mut self, metrics: &Arc<Metrics>) {
        self.sending = Some(Arc::clone(metrics));
    }

    /// The server's word is there.
    pub(super) fn answered(&mut self) {
        self.sending = None;
    }

    /// Goes back to those that wait.
    pub(super) fn release(&mut self) {
        self.sending = None;
        if let Some(Place::Disk(spool, id, _)) = &self.place {
            spool.release(*id);
        }
    }

    pub(super) fn exported(mut self) {
        self.sending = None;
        match self.place.take() {
            Some(Place::Memory(_, mut pending)) => {
                if lose::one("export") {
                    pending.recount(pending.count() - 1);
                }
                pending.exported();
            }
            Some(Place::Disk(spool, id, spooled)) => spool.exported(id, spooled),
            None => {}
        }
        self.receipt.take().into_iter().for_each(Receipt::accepted);
    }

    pub(super) fn dropped(mut self, reason: DropReason) {
        self.sending = None;
        match self.place.take() {
            Some(Place::Memory(_, pending)) => pending.dropped(reason),
            Some(Place::Disk(spool, id, spooled)) => spool.dropped(id, spooled, reason),
            None => {}
        }
    }

    /// The same samples as two parts of the same age, in memory.
    pub(super) async fn split(mut self, halves: [Part; 2]) -> Vec<Self> {
        let pending = match self.place.take() {
            Some(Place::Memory(_, pending)) => Some(pending),
            Some(Place::Disk(spool, id, spooled)) => spool.withdraw(id, spooled).await,
            None => None,
        };
        let Some(mut pending) = pending else { return Vec::new() };
        let [first, second] = halves;
        let first_pending = pending.split(first.samples);
        let receipt = self.receipt.take();
        let half = |part: Part, pending, receipt| {
            let mut entry = Self::in_memory(encoded(&part), pending, receipt);
            entry.born = self.born;
            entry.last = self.last;
            entry
        };
        vec![half(first, first_pending, receipt.clone()), half(second, pending, receipt)]
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let place = self.place.take();
        // What is on disk is counted by the next agent, which finds it under way.
        if let (Some(metrics), Some(Place::Memory(..))) = (&self.sending, &place) {
            metrics.add(Metric::ExportAmbiguous, "", self.samples);
        }
        match place {
            Some(Place::Memory(_, pending)) => pending.dropped(DropReason::Shutdown),
            Some(Place::Disk(spool, id, _)) if self.sending.is_none() => spool.release(id),
            _ => {}
        }
    }
}
