//! Addresses of live sources: what kinds there are, and how they are shown
//! without the credentials in them. Opens nothing.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Schemes of network sources.
const SCHEMES: [&str; 7] = ["rtsp", "rtsps", "srt", "udp", "rtp", "http", "https"];

/// The kind of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// RTSP, plain or over TLS.
    Rtsp,
    /// SRT; the address says who calls whom.
    Srt,
    /// MPEG transport stream in UDP packets, to one or many.
    Udp {
        /// Host or group to listen on.
        host: String,
        /// Port to listen on.
        port: u16,
    },
    /// MPEG transport stream in RTP packets.
    Rtp {
        /// Host or group to listen on.
        host: String,
        /// Port to listen on.
        port: u16,
    },
    /// A stream or an HLS playlist on a web server.
    Http,
    /// A file, played in real time.
    File(PathBuf),
    /// A test pattern.
    Test(String),
}

/// Address of a source.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceUri {
    /// Its kind.
    pub kind: SourceKind,
    /// As it was given; may hold credentials.
    secret: String,
}

impl SourceUri {
    /// The whole address, credentials included: to be opened, not shown.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// Host and port of the server to be connected to, for sources that are
    /// connected to over TCP.
    pub fn server(&self) -> Option<(String, u16)> {
        let (scheme, rest) = self.secret.split_once("://")?;
        let usual = match scheme.to_lowercase().as_str() {
            "rtsp" => 554,
            "rtsps" => 322,
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let authority = rest.split(['/', '?']).next()?.rsplit('@').next()?;
        let (host, port) = split_port(authority).ok()?;
        Some((host.to_owned(), port.unwrap_or(usual)))
    }

    /// The network interface on which a group is to be listened to, where the
    /// address names one: `?interface=eth1`.
    pub fn interface(&self) -> Option<&str> {
        let (_, query) = self.secret.split_once('?')?;
        query.split('&').find_map(|part| part.strip_prefix("interface="))
    }

    /// True for sources that a request over the network may name.
    pub const fn is_network(&self) -> bool {
        !matches!(self.kind, SourceKind::File(_))
    }

    /// `text` without this address's credentials, in case it quotes them.
    pub fn without_secrets(&self, text: &str) -> String {
        let mut text = text.replace(&self.secret, &self.to_string());
        let Some((_, rest)) = self.secret.split_once("://") else { return text };
        let authority = rest.split(['/', '?']).next().unwrap_or(rest);
        if let Some((user, _)) = authority.rsplit_once('@') {
            text = text.replace(&format!("{user}@"), "");
            if let Some((_, password)) = user.split_once(':').filter(|(_, p)| p.len() > 2) {
                text = text.replace(password, "***");
            }
        }
        if let Some((_, query)) = rest.split_once('?').filter(|(_, query)| query.len() > 2) {
            text = text.replace(query, "...");
        }
        text
    }
}

impl FromStr for SourceUri {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("the source is empty; give an address or a file".to_owned());
        }
        let done = |kind| Ok(Self { kind, secret: text.to_owned() });
        if text == "test" {
            return done(SourceKind::Test(String::new()));
        }
        if let Some(pattern) = text.strip_prefix("test:") {
            return done(SourceKind::Test(pattern.to_owned()));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return done(SourceKind::File(PathBuf::from(text)));
        };
        let scheme = scheme.to_lowercase();
        if scheme == "file" {
            return done(SourceKind::File(PathBuf::from(rest)));
        }
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        let host_port = authority.rsplit('@').next().unwrap_or_default();
        let (host, port) = split_port(host_port)?;
        let need_port = || port.ok_or_else(|| format!("{scheme}: the address names no port"));
        let host_or_any = || if host.is_empty() { "0.0.0.0".to_owned() } else { host.to_owned() };
        let kind = match scheme.as_str() {
            "rtsp" | "rtsps" => SourceKind::Rtsp,
            "srt" => {
                need_port()?;
                SourceKind::Srt
            }
            "udp" => SourceKind::Udp { host: host_or_any(), port: need_port()? },
            "rtp" => SourceKind::Rtp { host: host_or_any(), port: need_port()? },
            "http" | "https" => SourceKind::Http,
            _ => {
                return Err(format!(
                    "there are no {scheme}:// sources; use {}, a file, or test:",
                    SCHEMES.map(|s| format!("{s}://")).join(", ")
                ));
            }
        };
        if host.is_empty() && !matches!(scheme.as_str(), "srt" | "udp" | "rtp") {
            return Err(format!("the {scheme} address names no host"));
        }
        done(kind)
    }
}

/// Host and port of `host:port`, `[v6]:port`, `host`.
fn split_port(text: &str) -> Result<(&str, Option<u16>), String> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let number = |port: &str| match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!("{port:?} is no port; use 1 to 65535")),
    };
    Ok((host, port.map(number).transpose()?))
}

/// The address as it may be shown: neither user nor password, nor what stands
/// behind the question mark.
impl fmt::Display for SourceUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, rest)) = self.secret.split_once("://") else {
            return f.write_str(&self.secret);
        };
        let (path, query) = match rest.split_once('?') {
            Some((path, _)) => (path, "?..."),
            None => (rest, ""),
        };
        let end = path.find('/').unwrap_or(path.len());
        let (authority, path) = path.split_at(end);
        let host = authority.rsplit('@').next().unwrap_or_default();
        write!(f, "{scheme}://{host}{path}{query}")
    }
}

impl fmt::Debug for SourceUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_source_is_told_by_its_address() {
        let kind = |text: &str| text.parse::<SourceUri>().unwrap().kind;
        assert_eq!(kind("rtsp://cam/1"), SourceKind::Rtsp);
        assert_eq!(kind("RTSPS://u:p@cam:322/1"), SourceKind::Rtsp);
        assert_eq!(kind("srt://:9000?mode=listener"), SourceKind::Srt);
        let group = |host: &str, port| SourceKind::Udp { host: host.into(), port };
        assert_eq!(kind("udp://239.1.1.1:5000"), group("239.1.1.1", 5000));
        assert_eq!(kind("udp://:5000"), group("0.0.0.0", 5000));
        assert_eq!(kind("udp://[ff02::1]:5000"), group("ff02::1", 5000));
        assert_eq!(kind("https://h/live.m3u8"), SourceKind::Http);
        assert_eq!(kind("clips/a b.mp4"), SourceKind::File("clips/a b.mp4".into()));
        assert_eq!(kind("file:///a.mp4"), SourceKind::File("/a.mp4".into()));
        assert_eq!(kind("test:ball"), SourceKind::Test("ball".into()));
    }

    #[test]
    fn a_group_may_be_listened_to_on_an_interface() {
        let interface = |text: &str| {
            let uri = text.parse::<SourceUri>().unwrap();
            uri.interface().map(str::to_owned)
        };
        assert_eq!(interface("udp://239.0.0.1:5000?interface=eth1").as_deref(), Some("eth1"));
        assert_eq!(interface("rtp://239.0.0.1:5000?x=1&interface=lo").as_deref(), Some("lo"));
        assert_eq!(interface("udp://239.0.0.1:5000"), None);
    }

    #[test]
    fn the_server_of_an_address_is_known() {
        let server = |text: &str| text.parse::<SourceUri>().unwrap().server();
        assert_eq!(server("rtsp://u:p@cam/1"), Some(("cam".into(), 554)));
        assert_eq!(server("http://[::1]:81/x.m3u8"), Some(("::1".into(), 81)));
        assert_eq!(server("udp://239.0.0.1:5000"), None);
        assert_eq!(server("a.mp4"), None);
    }

    #[test]
    fn addresses_that_lead_nowhere_are_refused() {
        for (text, wanted) in [
            ("", "empty"),
            ("rtmp://h/x", "no rtmp:// sources"),
            ("udp://h", "names no port"),
            ("srt://h", "names no port"),
            ("rtsp://", "names no host"),
            ("rtsp://h:99999/", "no port"),
            ("udp://h:0", "no port"),
        ] {
            let why = text.parse::<SourceUri>().unwrap_err();
            assert!(why.contains(wanted), "{text}: {why}");
        }
    }

    #[test]
    fn credentials_are_never_shown() {
        for (text, shown) in [
            ("rtsp://user:pa@ss@cam:554/h264?profile=1", "rtsp://cam:554/h264?..."),
            ("srt://h:9000?passphrase=0123456789", "srt://h:9000?..."),
            ("rtsp://cam/x", "rtsp://cam/x"),
            ("a@b.mp4", "a@b.mp4"),
        ] {
            let uri: SourceUri = text.parse().unwrap();
            assert_eq!(uri.to_string(), shown);
            assert_eq!(format!("{uri:?}"), shown);
            assert_eq!(uri.secret(), text);
            // Libraries quote it whole, or in part.
            let part = text.split_once("://").map_or(text, |(_, rest)| rest);
            let quoted = uri.without_secrets(&format!("cannot open {text} ({part})"));
            assert!(!quoted.contains("pa@ss") && !quoted.contains("0123456789"), "{quoted}");
        }
    }
}
