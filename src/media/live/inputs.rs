//! The ends of live sources that need a word of explanation: sockets, test
//! patterns, demultiplexers, and why a server cannot be reached.

use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_video as gst_video;

use super::super::Error;
use super::super::elements::{capsfilter, demuxer_for, make};
use super::splices;

/// How long it is tried to find out why a server cannot be reached.
const PROBE: Duration = Duration::from_secs(2);
/// Bytes of UDP packets that the system may hold for us.
const UDP_BUFFER: i32 = 4 << 20;

/// Why a server cannot be reached, which the sources do not say; none when it
/// can.
pub(super) fn unreachable_because((host, port): (String, u16)) -> Option<String> {
    use std::io::ErrorKind;
    use std::net::{TcpStream, ToSocketAddrs};
    let Ok(addresses) = (host.as_str(), port).to_socket_addrs() else {
        return Some(format!("there is no host called {host}; check the address"));
    };
    let mut why = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, PROBE) {
            Ok(_) => return None,
            Err(error) => why = Some(error),
        }
    }
    Some(match why?.kind() {
        ErrorKind::ConnectionRefused => {
            "nothing listens there (connection refused); is the source running?".to_owned()
        }
        _ => "the server cannot be reached; check address and network".to_owned(),
    })
}

pub(super) fn udp(host: &str, port: u16, interface: Option<&str>) -> Result<gst::Element, Error> {
    let udp = make("udpsrc")?;
    udp.set_property("address", host);
    udp.set_property("port", i32::from(port));
    udp.set_property("buffer-size", UDP_BUFFER);
    if let Some(interface) = interface {
        udp.set_property("multicast-iface", interface);
    }
    Ok(udp)
}

/// `pattern[,WIDTHxHEIGHT[,FPS]]`, all of it optional.
pub(super) fn test_pattern(text: &str) -> Result<(gst::Element, gst::Element), Error> {
    let wrong = || {
        Error::Live(format!(
            "test:{text}: give a pattern of videotestsrc, a size and a rate, as in test:ball,1280x720,25"
        ))
    };
    let mut parts = text.split(',').map(str::trim);
    let pattern = parts.next().filter(|p| !p.is_empty()).unwrap_or("smpte");
    let (width, height) = match parts.next().filter(|p| !p.is_empty()) {
        Some(size) => size.split_once('x').ok_or_else(wrong)?,
        None => ("1280", "720"),
    };
    let number = |text: &str, most: i32| {
        text.parse::<i32>().ok().filter(|n| (1..=most).contains(n)).ok_or_else(wrong)
    };
    let fps = number(parts.next().unwrap_or("25"), 240)?;
    let test = make("videotestsrc")?;
    let known = test.find_property("pattern").is_some_and(|p| {
        gst::glib::EnumClass::with_type(p.value_type()).is_some_and(|c| {
            c.value_by_nick(pattern).is_some() || c.value_by_name(pattern).is_some()
        })
    });
    if !known {
        return Err(wrong());
    }
    test.set_property_from_str("pattern", pattern);
    test.set_property("is-live", true);
    let caps = gst_video::VideoCapsBuilder::new()
        .format(gst_video::VideoFormat::I420)
        .width(number(width, 8192)?)
        .height(number(height, 8192)?)
        .framerate(gst::Fraction::new(fps, 1))
        .build();
    Ok((test, capsfilter(&caps)?))
}

/// The demultiplexer for a container. Playlists go to the demultiplexers that
/// work outside of playback bins.
pub(super) fn live_demuxer(name: &str, caps: &gst::Caps) -> Result<Option<gst::Element>, Error> {
    match name {
        "application/x-hls" => make("hlsdemux").map(Some),
        "application/dash+xml" => make("dashdemux").map(Some),
        _ => Ok(demuxer_for(caps).inspect(splices::ask_for)),
    }
}
