use super::*;

struct Fixed(KernelCounts);
impl KernelCounters for Fixed {
    fn read(&self) -> KernelCounts {
        self.0.clone()
    }
}

fn ledger() -> Arc<Ledger> {
    let ledger = Arc::new(Ledger::default());
    let counts = KernelCounts { entered: 12, outcomes: [10, 2, 0], submitted: vec![6, 4] };
    ledger.set_kernel(Box::new(Fixed(counts)));
    ledger
}

#[test]
fn balances_at_every_step() {
    let ledger = ledger();
    assert!(ledger.snapshot().balances());
    let mut pending = ledger.receive(&[(0, 6), (1, 3)], 9);
    let snapshot = ledger.snapshot();
    assert_eq!((snapshot.taken, snapshot.pending), (12, 10));
    assert!(snapshot.balances());
    pending.split(4).dropped(DropReason::Rejected);
    assert!(ledger.snapshot().balances());
    pending.exported();
    let snapshot = ledger.snapshot();
    assert_eq!((snapshot.exported, snapshot.pending, snapshot.dropped_total()), (5, 1, 6));
    assert!(snapshot.balances());
}

#[test]
fn a_sample_let_go_without_an_end_unbalances() {
    let ledger = ledger();
    let mut pending = ledger.receive(&[(0, 6), (1, 4)], 10);
    drop(pending.split(1));
    assert!(!ledger.snapshot().balances());
    pending.exported();
    assert!(!ledger.snapshot().balances());
}

#[test]
fn a_stage_that_holds_fewer_than_it_got_unbalances() {
    let ledger = ledger();
    let mut pending = ledger.receive(&[(0, 6), (1, 4)], 10);
    pending.recount(9);
    assert!(!ledger.snapshot().balances());
    pending.exported();
}

#[test]
fn goes_on_where_an_earlier_agent_was_killed() {
    let last = Snapshot {
        taken: 100,
        entered: 100,
        exported: 40,
        spooled: 30,
        pending: 20,
        dropped: vec![("ring_full".into(), 3), ("refused".into(), 5), ("of_another_release".into(), 2)],
    };
    assert!(last.balances());
    // Of the 20 pending ones a window of 12 came to disk; of the 30 on disk 4 are gone.
    let ledger = Arc::new(Ledger::default());
    let mut spooled = ledger.restore(&last, 12, 38);
    ledger.set_kernel(Box::new(Fixed(KernelCounts { entered: 12, outcomes: [10, 2, 0], submitted: vec![6, 4] })));
    let snapshot = ledger.snapshot();
    assert!(snapshot.balances(), "{snapshot}");
    let count = Snapshot::dropped_for;
    assert_eq!((snapshot.taken, snapshot.exported, snapshot.spooled, snapshot.pending), (112, 40, 38, 10));
    assert_eq!((count(&snapshot, "killed"), count(&snapshot, "spool_lost")), (8, 4));
    assert_eq!((count(&snapshot, "ring_full"), count(&snapshot, "refused")), (5, 5));
    assert_eq!(count(&snapshot, "of_another_release"), 2);
    spooled.split(8).exported();
    spooled.split(10).dropped(DropReason::TooOld);
    spooled.split(5).pending().dropped(DropReason::Refused);
    let snapshot = ledger.snapshot();
    assert!(snapshot.balances(), "{snapshot}");
    assert_eq!((snapshot.exported, snapshot.spooled), (48, 15));
}

#[test]
fn kernel_programs_that_ended_stay_counted() {
    let ledger = ledger();
    ledger.receive(&[(0, 6), (1, 4)], 10).exported();
    ledger.set_kernel(Box::new(Fixed(KernelCounts { entered: 3, outcomes: [2, 1, 0], submitted: vec![2, 0] })));
    let snapshot = ledger.snapshot();
    assert_eq!((snapshot.taken, snapshot.entered, snapshot.pending), (15, 15, 2));
    assert!(snapshot.balances(), "{snapshot}");
}
