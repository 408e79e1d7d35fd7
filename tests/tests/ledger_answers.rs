//! What a server may answer, each class really sent, and what becomes of the samples.

use profiler_tests::agent::Metrics;
use profiler_tests::ledger::Shipping;
use profiler_tests::stub::{Answer, Arrival, Code, Protocol, Status, busy_for, size_limit};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const AMBIGUOUS: &str = "profiler_export_ambiguous_total";

/// Pyroscope 1.x wraps its own errors like this.
fn wrapped(text: &str) -> Answer {
    Answer::Grpc(Status::unknown(format!("failed to make a GRPC request: {text}")))
}

fn grpc(code: Code, message: &str) -> Answer {
    Answer::Grpc(Status::new(code, message))
}

/// The first profiles get these answers, one each, at their first try; everything else is accepted.
fn first_tries(answers: Vec<Answer>) -> impl Fn(&Arrival) -> Answer + Send + Sync {
    move |arrival| match answers.get(arrival.part) {
        Some(answer) if arrival.attempt == 0 => answer.clone(),
        _ => Answer::Accept,
    }
}

/// Waits until so many profiles came and all but the last are settled.
fn all_sent(shipping: &Shipping, parts: usize) {
    let stub = &shipping.stub;
    shipping.agent.balances_until("every answer was given", PATIENCE, |_| {
        let arrivals = stub.arrivals();
        (0..=parts).all(|part| arrivals.iter().any(|arrival| arrival.part == part))
    });
}

/// Waits until each of the first profiles was accepted.
fn all_accepted(shipping: &Shipping, parts: usize) {
    let stub = &shipping.stub;
    shipping.agent.balances_until("every profile was taken in the end", PATIENCE, |_| {
        let arrivals = stub.arrivals();
        (0..parts).all(|part| arrivals.iter().any(|arrival| arrival.part == part && arrival.taken))
    });
}

fn permanent_ones_are_dropped_and_counted(protocol: Protocol, answers: Vec<Answer>) {
    let parts = answers.len();
    let shipping = Shipping::start(protocol, first_tries(answers.clone()));
    all_sent(&shipping, parts);
    let (last, stub) = shipping.ends_well();
    let mut refused = 0;
    for (part, answer) in answers.iter().enumerate() {
        let tries = stub.tries(part);
        assert_eq!(tries.len(), 1, "sent again after {answer:?}");
        refused += tries[0].samples;
    }
    assert!(refused > 0);
    assert_eq!((last.dropped_for("refused"), last.dropped), (refused, refused), "{}", last.stderr);
}

#[test]
fn what_grpc_refuses_for_good_is_dropped() {
    let answers = vec![
        grpc(Code::InvalidArgument, "missing profile metadata dictionary"),
        wrapped("failed: invalid_argument: profile with labels '{service_name=\"burn\"}' has 31 label names"),
        grpc(Code::Internal, "rpc error: status: 401 Unauthorized: no org id"),
        grpc(Code::Unauthenticated, "no org id"),
        grpc(Code::PermissionDenied, "not for you"),
        grpc(Code::Unimplemented, "unknown service"),
    ];
    permanent_ones_are_dropped_and_counted(Protocol::Grpc, answers);
}

#[test]
fn what_http_refuses_for_good_is_dropped() {
    let answers = vec![
        Answer::Http(400, None, "failed: invalid_argument: too many labels"),
        Answer::Http(401, None, "no org id"),
        Answer::Http(404, None, "404 page not found"),
        Answer::Http(500, None, "failed: invalid_argument: too many labels"),
    ];
    permanent_ones_are_dropped_and_counted(Protocol::Http, answers);
}

/// `waits` is what each answer asks for.
fn passing_ones_are_sent_again(protocol: Protocol, answers: Vec<(Answer, Duration)>) {
    let parts = answers.len();
    let shipping = Shipping::start(protocol, first_tries(answers.iter().map(|(answer, _)| answer.clone()).collect()));
    all_accepted(&shipping, parts);
    assert_eq!(shipping.agent.metrics().get(AMBIGUOUS), 0.0, "the server has it not, surely");
    let (last, stub) = shipping.ends_well();
    assert_eq!((last.dropped, last.exported), (0, last.taken), "{}", last.stderr);
    for (part, (answer, wait)) in answers.iter().enumerate() {
        let tries = stub.tries(part);
        assert_eq!(tries.len(), 2, "{answer:?}");
        assert_eq!(tries[0].request, tries[1].request, "{answer:?}");
        assert!(tries[1].at - tries[0].at >= *wait, "{answer:?}: {:?}", tries[1].at - tries[0].at);
    }
}

#[test]
fn what_grpc_puts_off_arrives_later() {
    let answers = vec![
        (wrapped("resource_exhausted: rate limit (4 MB/s) exceeded"), Duration::ZERO),
        (grpc(Code::ResourceExhausted, "ingestion rate limit exceeded"), Duration::ZERO),
        (Answer::Grpc(busy_for(2)), Duration::from_secs(2)),
    ];
    passing_ones_are_sent_again(Protocol::Grpc, answers);
}

#[test]
fn what_http_puts_off_arrives_later() {
    let answers = vec![
        (Answer::Http(500, None, "resource_exhausted: rate limit exceeded"), Duration::ZERO),
        (Answer::Http(429, None, "rate limit exceeded"), Duration::ZERO),
        (Answer::Http(429, Some(2), "rate limit exceeded"), Duration::from_secs(2)),
        (Answer::Http(503, Some(1), "later"), Duration::from_secs(1)),
    ];
    passing_ones_are_sent_again(Protocol::Http, answers);
}

fn unclear_ones_are_sent_again_under_their_id(protocol: Protocol, answers: Vec<Answer>) {
    let parts = answers.len();
    let shipping = Shipping::start(protocol, first_tries(answers.clone()));
    all_accepted(&shipping, parts);
    // `TakeAndClose` took it at once.
    all_sent(&shipping, parts);
    let resent = |part| shipping.stub.tries(part).len() > 1;
    shipping.agent.balances_until("every one was sent again", PATIENCE, |_| (0..parts).all(resent));
    let first_tries: u64 = (0..parts).map(|part| shipping.stub.tries(part)[0].samples).sum();
    let settled = |metrics: &Metrics| metrics.get(AMBIGUOUS) >= first_tries as f64;
    let ambiguous = shipping.agent.balances_until("all settled", PATIENCE, settled).get(AMBIGUOUS);
    let (last, stub) = shipping.ends_well();
    assert_eq!((last.dropped, last.exported), (0, last.taken), "{}", last.stderr);
    for (part, answer) in answers.iter().enumerate() {
        let tries = stub.tries(part);
        assert!(tries.len() >= 2, "{answer:?}");
        assert!(tries.iter().all(|again| again.request == tries[0].request), "{answer:?}");
    }
    // What was taken without saying so is there twice, under one id.
    assert!(stub.samples_with_duplicates() > stub.samples());
    assert!((stub.samples_with_duplicates() - last.exported) as f64 <= ambiguous, "{ambiguous} samples are ambiguous");
}

#[test]
fn what_grpc_leaves_unclear_is_sent_again_under_its_id() {
    let answers = vec![
        Answer::Hang,
        Answer::Close,
        grpc(Code::Unavailable, "upstream connect error or disconnect/reset before headers"),
        Answer::TakeAndClose,
    ];
    unclear_ones_are_sent_again_under_their_id(Protocol::Grpc, answers);
}

#[test]
fn what_http_leaves_unclear_is_sent_again_under_its_id() {
    let answers = vec![Answer::Hang, Answer::Close, Answer::Http(502, None, "bad gateway"), Answer::TakeAndClose];
    unclear_ones_are_sent_again_under_their_id(Protocol::Http, answers);
}

/// Stacks that fit into one request.
const FIT: usize = 4;

fn too_large_ones_are_split(protocol: Protocol, answer: Answer) {
    let shipping = Shipping::start(protocol, move |arrival| match arrival.stacks {
        0..=FIT => Answer::Accept,
        _ => answer.clone(),
    });
    shipping.agent.balances_until("samples in several windows", PATIENCE, |metrics| metrics.taken() > 3000.0);
    let (last, stub) = shipping.ends_well();
    assert_eq!((last.dropped, last.exported), (0, last.taken), "{}", last.stderr);
    let arrivals = stub.arrivals();
    assert!(arrivals.iter().any(|arrival| !arrival.taken), "nothing was too large");
    assert_eq!(stub.samples_with_duplicates(), last.exported);
    assert!(arrivals.iter().all(|arrival| arrival.attempt == 0), "each piece is a profile of its own");
}

#[test]
fn what_is_too_large_for_grpc_is_split() {
    too_large_ones_are_split(Protocol::Grpc, Answer::Grpc(size_limit()));
}

#[test]
fn what_is_too_large_for_http_is_split() {
    too_large_ones_are_split(Protocol::Http, Answer::Http(413, None, "request body too large"));
}

fn rejected_ones_are_dropped_and_counted(protocol: Protocol) {
    let shipping = Shipping::start(protocol, first_tries(vec![Answer::Reject(1), Answer::Reject(0)]));
    all_sent(&shipping, 3);
    let last = shipping.agent.ends_well();
    let rejected = shipping.stub.tries(0)[0].samples;
    assert!(rejected > 0);
    assert_eq!((last.dropped_for("rejected"), last.dropped), (rejected, rejected), "{}", last.stderr);
    // A partial success that rejects nothing is a success.
    let warned = shipping.stub.tries(1)[0].samples;
    assert_eq!(shipping.stub.samples() + warned, last.exported);
    assert!((0..3).all(|part| shipping.stub.tries(part).len() == 1), "sent again");
}

#[test]
fn what_grpc_rejects_in_partial_success_is_dropped() {
    rejected_ones_are_dropped_and_counted(Protocol::Grpc);
}

#[test]
fn what_http_rejects_in_partial_success_is_dropped() {
    rejected_ones_are_dropped_and_counted(Protocol::Http);
}
