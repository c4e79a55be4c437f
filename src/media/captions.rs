//! Closed captions (CEA-608 and CEA-708, as ATSC A/53 part 4 puts them into
//! pictures) on their way from the decoder to the encoder. They travel as metas
//! of the pictures; here is what must be helped along.

use std::ops::ControlFlow;

use gstreamer as gst;
use gstreamer::buffer::BufferMetaForeachAction;
use gstreamer::prelude::*;
use gstreamer_video as gst_video;
use gstreamer_video::{VideoCaptionMeta, VideoCaptionType};

/// Bytes of a packet of captions.
const PACKET: usize = 3;
/// Packets in one message at most: they are counted in five bits.
const PACKETS_IN_MESSAGE: usize = 31;
/// Set in the first byte of a packet that is no padding.
const IS_VALID: u8 = 0x04;

/// Lets a decoder of libav find the captions itself. Where a picture has them in
/// several messages, the parsers of GStreamer 1.22 keep the last one; libav keeps
/// all, but is only asked where no parser has left any.
pub(super) fn leave_to(decoder: &gst::Element) {
    let from_libav = decoder.factory().is_some_and(|f| f.name().starts_with("avdec_"));
    let Some(pad) = decoder.static_pad("sink").filter(|_| from_libav) else { return };
    pad.add_probe(gst::PadProbeType::BUFFER, |_, info| {
        if let Some(buffer) = info.buffer_mut().filter(|b| b.meta::<VideoCaptionMeta>().is_some()) {
            remove(buffer.make_mut());
        }
        gst::PadProbeReturn::Ok
    });
}

/// Makes captions fit into the messages that the encoder writes. A decoder hands
/// out those of several messages as one.
pub(super) fn fit(buffer: &mut gst::BufferRef) {
    let most = PACKET * PACKETS_IN_MESSAGE;
    let is_long = |m: gst::MetaRef<'_, VideoCaptionMeta>| m.data().len() > most;
    if !buffer.iter_meta::<VideoCaptionMeta>().any(is_long) {
        return;
    }
    let captions: Vec<_> = buffer
        .iter_meta::<VideoCaptionMeta>()
        .map(|meta| (meta.caption_type(), meta.data().to_vec()))
        .collect();
    remove(buffer);
    for (kind, data) in captions {
        if kind == VideoCaptionType::Cea708Raw {
            let packets = data.chunks_exact(PACKET).filter(|packet| packet[0] & IS_VALID != 0);
            let packets: Vec<_> = packets.collect();
            for message in packets.chunks(PACKETS_IN_MESSAGE) {
                VideoCaptionMeta::add(buffer, kind, &message.concat());
            }
        } else {
            VideoCaptionMeta::add(buffer, kind, &data);
        }
    }
}

/// Adds what `from` has of captions and of bars (AFD).
pub(super) fn carry(from: &gst::BufferRef, to: &mut gst::BufferRef) {
    for caption in from.iter_meta::<VideoCaptionMeta>() {
        VideoCaptionMeta::add(to, caption.caption_type(), caption.data());
    }
    for afd in from.iter_meta::<gst_video::VideoAFDMeta>() {
        gst_video::VideoAFDMeta::add(to, afd.field(), afd.spec(), afd.afd());
    }
}

fn remove(buffer: &mut gst::BufferRef) {
    buffer.foreach_meta_mut(|mut meta| {
        let of_captions = meta.downcast_ref::<VideoCaptionMeta>().is_some();
        ControlFlow::Continue(if of_captions {
            BufferMetaForeachAction::Remove
        } else {
            BufferMetaForeachAction::Keep
        })
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_captions_lose_their_padding_and_are_told_in_several_messages() {
        super::super::init().unwrap();
        let mut buffer = gst::Buffer::new();
        let whole = buffer.get_mut().unwrap();
        let valid: Vec<[u8; 3]> = (0..40).map(|n| [0xFC | (n & 1), n, n]).collect();
        let padded: Vec<u8> =
            valid.iter().flat_map(|packet| [*packet, [0xFA, 0, 0]]).flatten().collect();
        VideoCaptionMeta::add(whole, VideoCaptionType::Cea708Raw, &padded);
        fit(whole);
        let told: Vec<Vec<u8>> =
            whole.iter_meta::<VideoCaptionMeta>().map(|m| m.data().to_vec()).collect();
        assert_eq!(told.iter().map(Vec::len).collect::<Vec<_>>(), [31 * 3, 9 * 3]);
        assert_eq!(told.concat(), valid.concat());
        fit(whole);
        assert_eq!(whole.iter_meta::<VideoCaptionMeta>().count(), 2);
    }
}
