//! Making elements by name or by what they can do, and the table of what must
//! be installed for it (`heatcast doctor` prints it).

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use super::{Error, captions};

/// An element Heatcast uses, what for, and the Debian package that has it.
#[derive(Clone, Copy, Debug)]
pub struct Requirement {
    /// Name of the element.
    pub element: &'static str,
    /// Debian and Ubuntu package.
    pub package: &'static str,
    /// What fails without it.
    pub purpose: &'static str,
    /// True when no recording at all can be annotated without it.
    pub essential: bool,
}

impl Requirement {
    /// True when GStreamer can make the element.
    pub fn is_installed(&self) -> bool {
        gst::ElementFactory::find(self.element).is_some()
    }
}

const BASE: &str = "gstreamer1.0-plugins-base";
const GOOD: &str = "gstreamer1.0-plugins-good";
const BAD: &str = "gstreamer1.0-plugins-bad";
const UGLY: &str = "gstreamer1.0-plugins-ugly";
const LIBAV: &str = "gstreamer1.0-libav";
const CORE: &str = "libgstreamer1.0-0";

const fn need(element: &'static str, package: &'static str, purpose: &'static str) -> Requirement {
    Requirement { element, package, purpose, essential: true }
}

const fn wish(element: &'static str, package: &'static str, purpose: &'static str) -> Requirement {
    Requirement { element, package, purpose, essential: false }
}

static REQUIREMENTS: &[Requirement] = &[
    need("filesrc", CORE, "reading files"),
    need("typefind", CORE, "telling what a file is"),
    need("queue", CORE, "decoding beside demultiplexing"),
    need("appsink", BASE, "taking frames out of GStreamer"),
    need("appsrc", BASE, "giving frames back to GStreamer"),
    need("videoconvert", BASE, "pixel formats other than 8-bit 4:2:0"),
    need("videoscale", BASE, "a size that changes mid-stream"),
    need("deinterlace", GOOD, "interlaced video"),
    need("videoflip", GOOD, "rotated video"),
    need("x264enc", UGLY, "encoding H.264"),
    need("h264parse", BAD, "H.264 in and out"),
    need("mp4mux", GOOD, "writing .mp4"),
    need("matroskamux", GOOD, "writing .mkv"),
    need("mpegtsmux", BAD, "writing .ts"),
    wish("qtdemux", GOOD, "reading MP4 and MOV"),
    wish("matroskademux", GOOD, "reading Matroska and WebM"),
    wish("tsdemux", BAD, "reading MPEG transport streams"),
    wish("mpegpsdemux", BAD, "reading MPEG programme streams"),
    wish("avidemux", GOOD, "reading AVI"),
    wish("flvdemux", GOOD, "reading FLV"),
    wish("avdec_h264", LIBAV, "decoding H.264"),
    wish("h265parse", BAD, "H.265 in"),
    wish("avdec_h265", LIBAV, "decoding H.265"),
    wish("mpegvideoparse", BAD, "MPEG-2 in"),
    wish("avdec_mpeg2video", LIBAV, "decoding MPEG-2"),
    wish("vp9dec", GOOD, "decoding VP9"),
    wish("av1parse", BAD, "AV1 in"),
    wish("av1dec", BAD, "decoding AV1"),
    wish("avdec_prores", LIBAV, "decoding ProRes"),
    wish("jpegdec", GOOD, "decoding Motion JPEG"),
    wish("aacparse", GOOD, "copying AAC sound"),
    wish("ac3parse", GOOD, "copying AC-3 sound"),
    wish("mpegaudioparse", GOOD, "copying MPEG sound"),
    wish("opusparse", BAD, "copying Opus sound"),
    wish("audioconvert", BASE, "converting sound the output cannot hold"),
    wish("audioresample", BASE, "converting sound the output cannot hold"),
    wish("avenc_aac", LIBAV, "converting sound the output cannot hold"),
    wish("rtspsrc", GOOD, "live RTSP in"),
    wish("rtph264pay", GOOD, "live RTSP out"),
    wish("srtsrc", BAD, "live SRT in"),
    wish("udpsrc", GOOD, "live UDP and RTP in"),
    wish("souphttpsrc", GOOD, "live HTTP and HLS in"),
    wish("hlsdemux", BAD, "live HLS in"),
    wish("videotestsrc", BASE, "test patterns"),
];

/// Every element the product uses.
pub fn requirements() -> &'static [Requirement] {
    REQUIREMENTS
}

/// The GStreamer version in use, as text.
pub fn version() -> String {
    gst::version_string().to_string()
}

/// Makes an element, or says which package has it.
pub(super) fn make(factory: &str) -> Result<gst::Element, Error> {
    gst::ElementFactory::make(factory).build().map_err(|_| Error::MissingElement {
        element: factory.to_owned(),
        package: REQUIREMENTS
            .iter()
            .find(|r| r.element == factory)
            .map_or("gstreamer1.0-plugins-*", |r| r.package),
    })
}

/// An appsrc for the packets of one track; a push waits while `max_bytes` are
/// queued.
pub(super) fn packet_source(caps: &gst::Caps, max_bytes: u64) -> gst_app::AppSrc {
    gst_app::AppSrc::builder()
        .caps(caps)
        .format(gst::Format::Time)
        .max_bytes(max_bytes)
        .block(true)
        .build()
}

/// Adds elements to a bin and links them in order.
pub(super) fn add_chain(bin: &gst::Pipeline, chain: &[&gst::Element]) -> Result<(), Error> {
    bin.add_many(chain.iter().copied()).map_err(|e| Error::pipeline("adding elements", e))?;
    gst::Element::link_many(chain.iter().copied()).map_err(|e| Error::pipeline("linking", e))
}

/// An element that lets only `caps` through.
pub(super) fn capsfilter(caps: &gst::Caps) -> Result<gst::Element, Error> {
    let filter = make("capsfilter")?;
    filter.set_property("caps", caps);
    Ok(filter)
}

/// Software elements of a kind that take `caps`, best rank first.
///
/// Hardware decoders are left out: the same recording must give the same
/// frames on every machine.
fn candidates(kind: gst::ElementFactoryType, caps: &gst::Caps) -> Vec<gst::ElementFactory> {
    let mut found: Vec<_> = gst::ElementFactory::factories_with_type(kind, gst::Rank::MARGINAL)
        .into_iter()
        .filter(|f| f.can_sink_any_caps(caps))
        // Those take only streams with a second, transparent picture, but rank
        // above the ordinary decoders.
        .filter(|f| !f.name().contains("alpha"))
        .filter(|f| !f.metadata("klass").is_some_and(|k| k.contains("Hardware")))
        .collect();
    found.sort_by_key(|f| (std::cmp::Reverse(f.rank()), f.name()));
    found
}

pub(super) fn best(kind: gst::ElementFactoryType, caps: &gst::Caps) -> Option<gst::Element> {
    candidates(kind, caps).iter().find_map(|f| f.create().build().ok())
}

/// The demultiplexer for a container.
pub(super) fn demuxer_for(caps: &gst::Caps) -> Option<gst::Element> {
    best(gst::ElementFactoryType::DEMUXER, caps)
}

/// The parser for an elementary stream; many formats have none and need none.
pub(super) fn parser_for(caps: &gst::Caps) -> Option<gst::Element> {
    best(gst::ElementFactoryType::PARSER, caps)
}

/// The video decoder for an elementary stream.
pub(super) fn video_decoder_for(caps: &gst::Caps) -> Option<gst::Element> {
    let kind = gst::ElementFactoryType::DECODER | gst::ElementFactoryType::MEDIA_VIDEO;
    let decoder = best(kind, caps)?;
    captions::leave_to(&decoder);
    Some(decoder)
}

/// The audio decoder for an elementary stream.
pub(super) fn audio_decoder_for(caps: &gst::Caps) -> Option<gst::Element> {
    best(gst::ElementFactoryType::DECODER | gst::ElementFactoryType::MEDIA_AUDIO, caps)
}

/// Running time of `pts` in the sample's segment, in nanoseconds; negative
/// before the segment starts.
pub(super) fn running_time(sample: &gst::Sample, pts: gst::ClockTime) -> Option<i64> {
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    match segment.to_running_time_full(pts)? {
        gst::Signed::Positive(t) => i64::try_from(t.nseconds()).ok(),
        gst::Signed::Negative(t) => i64::try_from(t.nseconds()).ok().map(|t| -t),
    }
}

/// A short name of what caps describe: `video/x-h264`, `audio/mpeg 4`.
pub(super) fn codec_name(caps: &gst::CapsRef) -> String {
    let Some(s) = caps.structure(0) else { return "unknown".to_owned() };
    let version = s.get::<i32>("mpegversion").ok();
    match (s.name().as_str(), version) {
        ("audio/mpeg", Some(1)) => "MPEG audio".to_owned(),
        ("audio/mpeg", Some(_)) => "AAC".to_owned(),
        ("audio/x-ac3", _) => "AC-3".to_owned(),
        ("audio/x-eac3", _) => "E-AC-3".to_owned(),
        ("audio/x-opus", _) => "Opus".to_owned(),
        ("audio/x-vorbis", _) => "Vorbis".to_owned(),
        ("audio/x-flac", _) => "FLAC".to_owned(),
        ("audio/x-raw", _) => "PCM".to_owned(),
        ("video/x-h264", _) => "H.264".to_owned(),
        ("video/x-h265", _) => "H.265".to_owned(),
        ("video/mpeg", Some(v)) => format!("MPEG-{v} video"),
        ("application/x-teletext", _) => "teletext".to_owned(),
        ("subpicture/x-dvb", _) => "DVB subtitles".to_owned(),
        ("text/x-raw", _) => "text subtitles".to_owned(),
        (name, _) => name.to_owned(),
    }
}
