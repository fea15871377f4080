//! Which proxy a URL goes through, according to the variables that `curl` reads.

use std::net::IpAddr;

use percent_encoding::percent_decode_str;
use ureq::{Proxy, ProxyProtocol};
use url::Url;

use super::error::HttpError;
use crate::env::Env;
use crate::remote::is_loopback;

/// The proxy for a URL. This machine is never reached through one.
/// Lower-case names win, and the more specific variable wins over `ALL_PROXY`, as in `curl`.
pub(super) fn choose(env: &Env, url: &Url) -> Result<Option<Proxy>, HttpError> {
    if is_loopback(url) || bypassed(env, url) {
        return Ok(None);
    }
    let variables = match url.scheme() {
        "https" => ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"],
        _ => ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"],
    };
    // On Windows the two are the same variable, shown in capitals.
    let mut variables =
        variables.into_iter().filter(|name| !cfg!(windows) || name.starts_with(char::is_uppercase));
    let Some(variable) = variables.find(|variable| env.has(variable)) else {
        return Ok(None);
    };
    let text = env.os(variable).and_then(|value| value.to_str());
    match text.and_then(parse) {
        Some(proxy) => Ok(Some(proxy)),
        None => Err(HttpError::ProxyUrl { variable }),
    }
}

/// The host and port of a proxy, as errors show it.
pub(super) fn label(proxy: &Proxy) -> String {
    format!("{}:{}", proxy.host(), proxy.port())
}

pub(super) fn is_socks(proxy: &Proxy) -> bool {
    !matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https)
}

/// Reads `[scheme://][user[:password]@]host[:port]`.
fn parse(text: &str) -> Option<Proxy> {
    let text = text.trim();
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    let protocol = ProxyProtocol::try_from(scheme).ok()?;
    // The parser knows no default port for this scheme, but understands its hosts. ureq's own
    // parser refuses characters that passwords contain.
    let url = Url::parse(&format!("wss://{rest}")).ok()?;
    let mut builder = Proxy::builder(protocol).host(url.host_str()?);
    if let Some(port) = explicit_port(rest).or(url.port()) {
        builder = builder.port(port);
    }
    if !url.username().is_empty() || url.password().is_some() {
        let decode = |part| percent_decode_str(part).decode_utf8().ok();
        builder = builder
            .username(&decode(url.username())?)
            .password(&decode(url.password().unwrap_or_default())?);
    }
    builder.build().ok()
}

/// The port in `[user@]host:443[/…]`, which the URL parser would drop as the default.
fn explicit_port(rest: &str) -> Option<u16> {
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    host.rsplit_once(':')?.1.parse().ok()
}

/// Whether `NO_PROXY` names the URL's host.
fn bypassed(env: &Env, url: &Url) -> bool {
    let list = ["no_proxy", "NO_PROXY"].into_iter().find_map(|variable| env.os(variable));
    let Some(list) = list.and_then(|list| list.to_str()) else { return false };
    let Some(host) = url.host_str() else { return false };
    list.split(|c: char| c == ',' || c.is_whitespace())
        .filter(|entry| !entry.is_empty())
        .any(|entry| names(entry, host, url.port_or_known_default()))
}

/// Whether an entry of `NO_PROXY` names a host: `*`, a domain with everything below it (with or
/// without a leading `.` or `*.`), an address, or a range of addresses, each with an optional port.
fn names(entry: &str, host: &str, port: Option<u16>) -> bool {
    if entry == "*" {
        return true;
    }
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let (pattern, wanted_port) = split_port(entry);
    if wanted_port.is_some() && wanted_port != port {
        return false;
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        return match pattern.split_once('/') {
            Some((network, bits)) => in_network(address, network, bits),
            None => pattern.parse() == Ok(address),
        };
    }
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let domain = pattern.trim_start_matches('*').trim_start_matches('.').to_ascii_lowercase();
    let domain = domain.strip_suffix('.').unwrap_or(&domain);
    !domain.is_empty()
        && host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Splits `host:port` and `[v6]:port`; leaves everything else whole.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    if let Some((address, rest)) = entry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (address, rest.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match entry.split_once(':') {
        Some((host, port)) if !port.contains(':') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (entry, None),
        },
        _ => (entry, None),
    }
}

/// Whether an address has the first `bits` bits of `network`.
fn in_network(address: IpAddr, network: &str, bits: &str) -> bool {
    let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else {
        return false;
    };
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => {
            let differing = a.to_bits() ^ n.to_bits();
            bits <= 32 && differing.checked_shr(32 - bits).unwrap_or(0) == 0
        }
        (IpAddr::V6(a), IpAddr::V6(n)) => {
            let differing = a.to_bits() ^ n.to_bits();
            bits <= 128 && differing.checked_shr(128 - bits).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(variables: &[(&str, &str)], url: &str) -> Option<String> {
        let env = variables.iter().copied().collect();
        let proxy = super::choose(&env, &Url::parse(url).unwrap()).unwrap();
        proxy.as_ref().map(label)
    }

    #[test]
    fn the_scheme_chooses_the_variable() {
        let all = [
            ("HTTPS_PROXY", "http://s:1"),
            ("HTTP_PROXY", "http://p:2"),
            ("ALL_PROXY", "http://a:3"),
        ];
        assert_eq!(choose(&all, "https://example.com/").as_deref(), Some("s:1"));
        assert_eq!(choose(&all[1..], "https://example.com/").as_deref(), Some("a:3"));
        assert_eq!(choose(&all, "http://example.com/").as_deref(), Some("p:2"));
        assert_eq!(choose(&[], "https://example.com/"), None);
        let both = [("HTTPS_PROXY", "http://upper:1"), ("https_proxy", "http://lower:1")];
        assert_eq!(choose(&both, "https://example.com/").as_deref(), Some("lower:1"));
        let empty = [("HTTPS_PROXY", ""), ("https_proxy", "")];
        assert_eq!(choose(&empty, "https://example.com/"), None);
    }

    #[test]
    fn this_machine_is_never_reached_through_a_proxy() {
        let all = [("ALL_PROXY", "http://p:1"), ("HTTP_PROXY", "http://p:1")];
        for url in [
            "http://localhost:8000/",
            "http://api.localhost/",
            "https://api.localhost./",
            "http://127.9.9.9/",
            "https://[::1]:1/",
        ] {
            assert_eq!(choose(&all, url), None, "{url}");
        }
    }

    #[test]
    fn no_proxy_names_hosts_domains_addresses_and_ranges() {
        let bypassed = |list: &str, url: &str| {
            choose(&[("ALL_PROXY", "http://p:1"), ("NO_PROXY", list)], url).is_none()
        };
        for (list, url) in [
            ("*", "https://api.example.com/"),
            ("api.example.com", "https://api.example.com/"),
            ("API.Example.com", "https://api.example.com/"),
            ("example.com", "https://api.example.com/"),
            (".example.com", "https://api.example.com/"),
            (".example.com", "https://example.com/"),
            ("*.example.com", "https://api.example.com/"),
            ("other.net, example.com", "https://api.example.com/"),
            ("other.net example.com", "https://api.example.com/"),
            ("example.com:8443", "https://api.example.com:8443/"),
            ("example.com:443", "https://api.example.com/"),
            ("10.1.2.3", "https://10.1.2.3/"),
            ("10.0.0.0/8", "https://10.1.2.3/"),
            ("0.0.0.0/0", "https://10.1.2.3/"),
            ("fe80::/10", "https://[fe80::1]/"),
            ("2001:db8::1", "https://[2001:db8::1]/"),
            ("[2001:db8::1]:443", "https://[2001:db8::1]/"),
        ] {
            assert!(bypassed(list, url), "{list} {url}");
        }
        for (list, url) in [
            ("", "https://api.example.com/"),
            (",", "https://api.example.com/"),
            (".", "https://api.example.com/"),
            ("ample.com", "https://api.example.com/"),
            ("example.com.evil", "https://api.example.com/"),
            ("x.api.example.com", "https://api.example.com/"),
            ("example.com:8443", "https://api.example.com/"),
            ("10.1.2.3/8x", "https://10.1.2.3/"),
            ("10.1.2.4", "https://10.1.2.3/"),
            ("11.0.0.0/8", "https://10.1.2.3/"),
            ("10.0.0.0/33", "https://10.1.2.3/"),
            ("fe80::/10", "https://10.1.2.3/"),
        ] {
            assert!(!bypassed(list, url), "{list} {url}");
        }
    }

    #[test]
    fn proxy_urls_have_many_forms() {
        for (text, shown, protocol) in [
            ("http://proxy:3128", "proxy:3128", ProxyProtocol::Http),
            ("http://proxy/", "proxy:80", ProxyProtocol::Http),
            ("proxy:8080", "proxy:8080", ProxyProtocol::Http),
            ("proxy", "proxy:80", ProxyProtocol::Http),
            ("HTTPS://proxy", "proxy:443", ProxyProtocol::Https),
            ("https://proxy:80", "proxy:80", ProxyProtocol::Https),
            ("http://proxy:443", "proxy:443", ProxyProtocol::Http),
            ("http://[::1]:3128", "[::1]:3128", ProxyProtocol::Http),
            ("socks5h://proxy", "proxy:1080", ProxyProtocol::Socks5h),
        ] {
            let proxy = parse(text).unwrap();
            assert_eq!((label(&proxy).as_str(), proxy.protocol()), (shown, protocol), "{text}");
            assert!(proxy.username().is_none() && proxy.password().is_none());
        }
        for bad in ["ftp://proxy", "http://", "http://a b", "://", "http://proxy:99999"] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn the_login_is_decoded_and_never_shown() {
        for (text, user, password) in [
            ("http://ada:c%40nary%3a@proxy:1", "ada", "c@nary:"),
            ("http://ada@proxy:1", "ada", ""),
            ("http://:canary@proxy:1", "", "canary"),
            ("http://ada:^ca|n{}ar\"y é%25@proxy:1", "ada", "^ca|n{}ar\"y é%"),
        ] {
            let proxy = parse(text).unwrap();
            let login = (proxy.username(), proxy.password());
            assert_eq!(login, (Some(user), Some(password)), "{text}");
            assert!(!format!("{proxy:?} {}", label(&proxy)).contains("nary"));
        }
        let env = [("HTTPS_PROXY", "http://ada:canary@")].into_iter().collect();
        let error = super::choose(&env, &Url::parse("https://x.example/").unwrap()).unwrap_err();
        assert!(!format!("{error:?} {error}").contains("canary"));
        assert!(error.to_string().contains("HTTPS_PROXY"));
    }
}
