//! Who may see what: the Host header, which stops DNS rebinding, and the token, off loopback.

use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE, HOST};
use std::hint::black_box;
use std::net::{IpAddr, Ipv6Addr};

/// Name of the cookie that carries the token.
pub(super) const COOKIE_NAME: &str = "profiler_token";

/// Rules of access to the page.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Further names under which the page may be reached, such as a proxy's; without port.
    pub hosts: Vec<String>,
    /// The token. Off loopback, without one, the page and profile data are closed. On loopback none is needed
    /// unless set.
    pub token: Option<String>,
    /// Whether `/metrics` is open off loopback without the token.
    pub metrics_open: bool,
}

/// What a path shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shows {
    /// Alive or ready, no data.
    Health,
    /// The agent's own numbers.
    Metrics,
    /// The page and profile data.
    Data,
}

/// The answer to a request before it is looked at further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Allowed,
    ForeignHost,
    NeedsToken,
}

impl Access {
    pub(super) fn check(
        &self,
        shows: Shows,
        headers: &HeaderMap,
        query_token: Option<&str>,
        loopback: bool,
    ) -> Verdict {
        let open = shows == Shows::Health || (shows == Shows::Metrics && self.metrics_open);
        if loopback && !self.host_allowed(headers, true) {
            return Verdict::ForeignHost;
        }
        if open || (loopback && self.token.is_none()) || (loopback && shows == Shows::Metrics) {
            return Verdict::Allowed;
        }
        if !self.host_allowed(headers, false) {
            return Verdict::ForeignHost;
        }
        match self.has_token(headers, query_token) {
            true => Verdict::Allowed,
            false => Verdict::NeedsToken,
        }
    }

    /// On loopback only its own names. Elsewhere any address too: rebinding needs a name.
    fn host_allowed(&self, headers: &HeaderMap, loopback: bool) -> bool {
        let mut hosts = headers.get_all(HOST).iter();
        let (Some(host), None) = (hosts.next().and_then(|host| host.to_str().ok()), hosts.next()) else {
            return false;
        };
        let Some(name) = host_name(host) else { return false };
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        let own = name.eq_ignore_ascii_case("localhost")
            || address.is_some_and(|address| address == IpAddr::from([127, 0, 0, 1]) || address == Ipv6Addr::LOCALHOST);
        own || (!loopback && address.is_some()) || self.hosts.iter().any(|allowed| name.eq_ignore_ascii_case(allowed))
    }

    /// Whether the request carries the token as bearer, cookie or in the query.
    fn has_token(&self, headers: &HeaderMap, query_token: Option<&str>) -> bool {
        let Some(token) = self.token.as_deref().filter(|token| !token.is_empty()) else { return false };
        let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer = bearer.and_then(|value| value.split_once(' '));
        let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let cookies = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let mut cookie = cookies.filter(|(name, _)| *name == COOKIE_NAME).map(|(_, value)| value);
        cookie.any(|value| equal(value, &cookie_value(token)))
            || [bearer, query_token].into_iter().flatten().any(|given| equal(given, token))
    }
}

/// The token as hexadecimal, since a cookie cannot hold every character.
pub(super) fn cookie_value(token: &str) -> String {
    token.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// The host without its port; `None` when it is no host.
fn host_name(host: &str) -> Option<&str> {
    let (name, port) = match host.rfind(']') {
        Some(end) if host.starts_with('[') => host.split_at(end + 1),
        Some(_) => return None,
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let port_fits = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    (port_fits && !name.is_empty()).then_some(name)
}

/// Compares in a time that depends on lengths only.
fn equal(given: &str, expected: &str) -> bool {
    let differing = given.bytes().zip(expected.bytes()).fold(0, |differing, (a, b)| black_box(differing | (a ^ b)));
    given.len() == expected.len() && black_box(differing) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| (http::HeaderName::from_static(name), value.parse().unwrap());
        pairs.iter().map(pair).collect()
    }

    fn verdict(access: &Access, shows: Shows, pairs: &[(&'static str, &str)], loopback: bool) -> Verdict {
        access.check(shows, &headers(pairs), None, loopback)
    }

    #[test]
    fn loopback_answers_to_its_own_names_only() {
        let access = Access { hosts: vec!["profiler.example".into()], ..Access::default() };
        for host in ["localhost", "LOCALHOST:4041", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:80", "profiler.example"]
        {
            assert_eq!(verdict(&access, Shows::Data, &[("host", host)], true), Verdict::Allowed, "{host}");
        }
        let foreign = [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost:x",
            "localhost:1:2",
            "",
            "::1",
            "[::1]x",
            "10.0.0.1",
            "localhost@evil",
            "[::2]",
        ];
        for host in foreign {
            for shows in [Shows::Data, Shows::Metrics, Shows::Health] {
                assert_eq!(verdict(&access, shows, &[("host", host)], true), Verdict::ForeignHost, "{host}");
            }
        }
        assert_eq!(verdict(&access, Shows::Data, &[], true), Verdict::ForeignHost);
        let mut twice = headers(&[("host", "localhost")]);
        twice.append("host", "evil.example".parse().unwrap());
        assert_eq!(access.check(Shows::Data, &twice, None, true), Verdict::ForeignHost);
    }

    #[test]
    fn off_loopback_data_needs_the_token() {
        let access = Access { token: Some("secret".into()), ..Access::default() };
        let host = ("host", "10.0.0.1:4041");
        let cookie = format!("a=b; {COOKIE_NAME}={}", cookie_value("secret"));
        assert_eq!(verdict(&access, Shows::Data, &[host], false), Verdict::NeedsToken);
        assert_eq!(verdict(&access, Shows::Metrics, &[host], false), Verdict::NeedsToken);
        assert_eq!(verdict(&access, Shows::Health, &[("host", "any.example")], false), Verdict::Allowed);
        assert_eq!(verdict(&access, Shows::Data, &[host, ("authorization", "Bearer secret")], false), Verdict::Allowed);
        assert_eq!(verdict(&access, Shows::Data, &[host, ("cookie", &cookie)], false), Verdict::Allowed);
        for wrong in ["Bearer secre", "Bearer secrets", "Bearer Secret", "Bearer ", "Basic secret", "secret"] {
            let given = [host, ("authorization", wrong)];
            assert_eq!(verdict(&access, Shows::Data, &given, false), Verdict::NeedsToken, "{wrong}");
        }
        assert_eq!(access.check(Shows::Data, &headers(&[host]), Some("secret"), false), Verdict::Allowed);
        let foreign = [("host", "evil.example"), ("authorization", "Bearer secret")];
        assert_eq!(verdict(&access, Shows::Data, &foreign, false), Verdict::ForeignHost);
    }

    #[test]
    fn off_loopback_without_a_token_data_is_closed() {
        let given = [("host", "10.0.0.1"), ("authorization", "Bearer ")];
        assert_eq!(verdict(&Access::default(), Shows::Data, &given, false), Verdict::NeedsToken);
        let open = Access { metrics_open: true, ..Access::default() };
        assert_eq!(verdict(&open, Shows::Metrics, &[("host", "any.example")], false), Verdict::Allowed);
        assert_eq!(verdict(&open, Shows::Data, &given, false), Verdict::NeedsToken);
    }
}
