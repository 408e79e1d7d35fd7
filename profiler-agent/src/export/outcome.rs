//! What a server's answer means: decided here and nowhere else.
//!
//! Pyroscope 1.x wraps its own errors: gRPC code Unknown, or HTTP 500, with `resource_exhausted` or
//! `failed: invalid_argument:` in the text. The other rules are those of the OTLP specification, except that a
//! failure after the request was on its way is told apart from one before.

use super::Code;
use std::time::Duration;

/// A server may ask us to wait this long at most.
pub(crate) const MAX_HINT: Duration = Duration::from_secs(120);

/// What becomes of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The server has it, except for `rejected` profiles.
    Accepted {
        /// `partial_success.rejected_profiles`.
        rejected: u64,
    },
    /// The server has it not and may take it later.
    Retry {
        /// Not before.
        after: Option<Duration>,
    },
    /// The server has it not and would take it in smaller pieces.
    TooLarge,
    /// The server will never take it.
    Refused,
    /// The server may have it or not.
    Ambiguous {
        /// Not before.
        after: Option<Duration>,
    },
}

impl Outcome {
    /// The value of the `outcome` label.
    #[must_use]
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Accepted { rejected: 0 } => "accepted",
            Self::Accepted { .. } => "rejected",
            Self::Retry { .. } => "retry",
            Self::TooLarge => "too_large",
            Self::Refused => "refused",
            Self::Ambiguous { .. } => "ambiguous",
        }
    }
}

/// The outcome of a gRPC status that is not OK. `details` is an encoded `google.rpc.Status`.
#[must_use]
pub(crate) fn of_grpc(code: Code, message: &str, details: &[u8]) -> Outcome {
    let message = message.to_ascii_lowercase();
    let after = retry_delay(details);
    match code {
        Code::ResourceExhausted if is_size_limit(&message) => Outcome::TooLarge,
        Code::ResourceExhausted => Outcome::Retry { after },
        // Our own library says this of an answer it cannot read: the request may well have been taken.
        Code::Unimplemented if message.contains("content is compressed with") => Outcome::Ambiguous { after },
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::FailedPrecondition
        | Code::Unimplemented => Outcome::Refused,
        Code::Unknown | Code::Internal => of_text(&message, after),
        Code::OutOfRange if is_size_limit(&message) => Outcome::TooLarge,
        Code::Ok
        | Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Outcome::Ambiguous { after },
    }
}

/// The outcome of an HTTP status that is not 2xx.
#[must_use]
pub(crate) fn of_http(status: u16, retry_after: Option<&str>, body: &str) -> Outcome {
    let after = retry_after.and_then(|seconds| seconds.trim().parse().ok()).map(Duration::from_secs);
    let after = after.map(|after| after.min(MAX_HINT));
    match status {
        413 => Outcome::TooLarge,
        429 => Outcome::Retry { after },
        503 if after.is_some() => Outcome::Retry { after },
        408 | 502 | 503 | 504 => Outcome::Ambiguous { after },
        500 => of_text(&body.to_ascii_lowercase(), after),
        _ => Outcome::Refused,
    }
}

/// How gRPC libraries (Go, tonic, Java) say that a message is too large.
const SIZE_LIMIT: [&str; 3] = ["larger than max", "message length too large", "exceeds maximum size"];
/// Wrapped errors that pass, and HTTP's own inside gRPC.
const LATER: [&str; 2] = ["resource_exhausted", "status: 429"];
/// HTTP's own that say nothing about the request.
const UNSURE: [&str; 1] = ["status: 408"];
/// The same of a body too large for a proxy, before gRPC has a say.
const HTTP_SIZE_LIMIT: [&str; 2] = ["status code 413", "status: 413"];
/// Wrapped errors that stay, and HTTP's client errors inside gRPC, such as a missing tenant.
const NEVER: [&str; 7] = [
    "failed: invalid_argument",
    "failed: unauthenticated",
    "failed: permission_denied",
    "failed: not_found",
    "failed: unimplemented",
    "failed: failed_precondition",
    "status: 4",
];

/// For codes that say nothing the text has to; it is in lower case. What comes first in it counts: labels, which
/// are anybody's, follow.
fn of_text(text: &str, after: Option<Duration>) -> Outcome {
    let first = |markers: &[&str]| markers.iter().filter_map(|marker| text.find(marker)).min();
    // Where two are at the same place the earlier row is the more exact one.
    let found = [
        (first(&LATER), Outcome::Retry { after }),
        (first(&UNSURE), Outcome::Ambiguous { after }),
        (first(&SIZE_LIMIT), Outcome::TooLarge),
        (first(&HTTP_SIZE_LIMIT), Outcome::TooLarge),
        (first(&NEVER), Outcome::Refused),
    ];
    let found = found.into_iter().filter_map(|(at, outcome)| Some((at?, outcome)));
    found.min_by_key(|(at, _)| *at).map_or(Outcome::Ambiguous { after }, |(_, outcome)| outcome)
}

fn is_size_limit(message: &str) -> bool {
    SIZE_LIMIT.iter().any(|limit| message.contains(limit))
}

/// `google.rpc.Status`: only what leads to a `RetryInfo`.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(message, repeated, tag = "3")]
    details: Vec<AnyMessage>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
struct AnyMessage {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<ProtoDuration>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, prost::Message)]
struct ProtoDuration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

fn retry_delay(details: &[u8]) -> Option<Duration> {
    use prost::Message;
    let status = RpcStatus::decode(details).ok()?;
    let info = status.details.iter().find(|detail| detail.type_url.ends_with("google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(info.value.as_slice()).ok()?.retry_delay?;
    let nanos = u32::try_from(delay.nanos).ok().filter(|&nanos| nanos < 1_000_000_000)?;
    Some(Duration::new(u64::try_from(delay.seconds).ok()?, nanos).min(MAX_HINT))
}

#[cfg(test)]
pub(super) use tests::retry_info;

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    const RETRY: Outcome = Outcome::Retry { after: None };
    const AMBIGUOUS: Outcome = Outcome::Ambiguous { after: None };

    pub(in crate::export) fn retry_info(seconds: i64, nanos: i32) -> Vec<u8> {
        let value = RetryInfo { retry_delay: Some(ProtoDuration { seconds, nanos }) }.encode_to_vec();
        let any = AnyMessage { type_url: "type.googleapis.com/google.rpc.RetryInfo".into(), value };
        RpcStatus { details: vec![any] }.encode_to_vec()
    }

    #[test]
    fn grpc_answers() {
        let pyroscope = "failed to make a GRPC request: ";
        let cases = [
            (Code::InvalidArgument, "missing profile metadata dictionary", Outcome::Refused),
            (Code::Unknown, "failed: invalid_argument: profile with labels …", Outcome::Refused),
            (Code::Unknown, "resource_exhausted: tenant rate limit", RETRY),
            (Code::Unknown, "failed: invalid_argument: labels '{app=\"resource_exhausted\"}'", Outcome::Refused),
            (Code::Unknown, "grpc-status header missing, mapped from HTTP status code 413", Outcome::TooLarge),
            (Code::Unknown, "something else", AMBIGUOUS),
            (Code::Unknown, "transport error", AMBIGUOUS),
            (Code::ResourceExhausted, "rate limit", RETRY),
            (
                Code::ResourceExhausted,
                "grpc: received message larger than max (5000000 vs. 4194304)",
                Outcome::TooLarge,
            ),
            (
                Code::OutOfRange,
                "Error, decoded message length too large: found 5 bytes, the limit is: 4 bytes",
                Outcome::TooLarge,
            ),
            (Code::Internal, "rpc error: status: 401 Unauthorized", Outcome::Refused),
            (Code::Internal, "while receiving response with status: 408 Request Timeout", AMBIGUOUS),
            (Code::Internal, "while receiving response with status: 413 Payload Too Large", Outcome::TooLarge),
            (Code::Internal, "while receiving response with status: 429 Too Many Requests", RETRY),
            (Code::Internal, "h2 protocol error", AMBIGUOUS),
            (Code::Unimplemented, "Content is compressed with `zstd` which isn't supported", AMBIGUOUS),
            (Code::Unauthenticated, "", Outcome::Refused),
            (Code::PermissionDenied, "", Outcome::Refused),
            (Code::Unimplemented, "unknown service", Outcome::Refused),
            (Code::Unavailable, "upstream gone", AMBIGUOUS),
            (Code::DeadlineExceeded, "", AMBIGUOUS),
            (Code::Cancelled, "", AMBIGUOUS),
        ];
        for (code, message, outcome) in cases {
            assert_eq!(of_grpc(code, message, &[]), outcome, "{code:?} {message}");
        }
        assert_eq!(of_grpc(Code::Unknown, &format!("{pyroscope}resource_exhausted: x"), &[]), RETRY);
    }

    #[test]
    fn grpc_hints_are_bounded() {
        let after = |seconds, nanos| of_grpc(Code::ResourceExhausted, "", &retry_info(seconds, nanos));
        assert_eq!(after(1, 500_000_000), Outcome::Retry { after: Some(Duration::from_millis(1500)) });
        assert_eq!(after(1_000_000, 0), Outcome::Retry { after: Some(MAX_HINT) });
        assert_eq!(after(-1, 0), RETRY);
        assert_eq!(after(0, i32::MAX), RETRY);
        assert_eq!(of_grpc(Code::ResourceExhausted, "", &[0xff; 9]), RETRY);
    }

    #[test]
    fn http_answers() {
        let cases = [
            (400, None, "failed: invalid_argument", Outcome::Refused),
            (401, None, "no org id", Outcome::Refused),
            (404, None, "", Outcome::Refused),
            (301, None, "", Outcome::Refused),
            (413, None, "", Outcome::TooLarge),
            (429, Some("7"), "", Outcome::Retry { after: Some(Duration::from_secs(7)) }),
            (429, Some("tomorrow"), "", RETRY),
            (429, Some("99999999999"), "", Outcome::Retry { after: Some(MAX_HINT) }),
            (500, None, "resource_exhausted: rate limit", RETRY),
            (500, None, "failed: invalid_argument: x", Outcome::Refused),
            (500, None, "boom", AMBIGUOUS),
            (502, None, "", AMBIGUOUS),
            (503, None, "", AMBIGUOUS),
            (503, Some("1"), "", Outcome::Retry { after: Some(Duration::from_secs(1)) }),
            (504, None, "", AMBIGUOUS),
        ];
        for (status, retry_after, body, outcome) in cases {
            assert_eq!(of_http(status, retry_after, body), outcome, "{status} {body}");
        }
    }
}
