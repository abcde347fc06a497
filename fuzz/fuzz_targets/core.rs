//! A whole dump from hostile bytes: headers, notes, modules, link maps.

#![no_main]

use libfuzzer_sys::fuzz_target;
use topleaked::addr::Addr;
use topleaked::image::{Image, OpenOptions};

fuzz_target!(|data: &[u8]| {
    let Ok(image) = Image::from_bytes(data.to_vec(), &OpenOptions::default()) else { return };
    let mut end = Addr(0);
    for region in image.regions() {
        assert!(region.span.start() >= end, "regions overlap or are out of order");
        end = region.span.end();
        assert!(image.space().find_segment(region.span.start()).is_some(), "a region without memory");
    }
    for thread in image.threads() {
        let _ = thread.pc.and_then(|pc| image.module_at(pc));
        assert!(thread.live_stack.is_none() || thread.stack.is_some());
    }
});
