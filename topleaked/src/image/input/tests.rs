use std::io::{Cursor, Read, Write};

use proptest::prelude::*;

use super::*;

const FORMATS: [Compression; 5] =
    [Compression::Zstd, Compression::Lz4, Compression::Xz, Compression::Gzip, Compression::Bzip2];

/// One frame, member or stream, with a checksum.
fn pack(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    match compression {
        Compression::Zstd => {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            encoder.include_checksum(true).unwrap();
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Lz4 => {
            let info = lz4_flex::frame::FrameInfo::new()
                .content_checksum(true)
                .block_size(lz4_flex::frame::BlockSize::Max64KB)
                .block_mode(lz4_flex::frame::BlockMode::Linked);
            let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Xz => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Bzip2 => {
            let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
    }
}

fn lz4_legacy(bytes: &[u8]) -> Vec<u8> {
    let mut packed = LEGACY_MAGIC.to_vec();
    for block in bytes.chunks(8 << 20) {
        let block = lz4_flex::block::compress(block);
        packed.extend((block.len() as u32).to_le_bytes());
        packed.extend(block);
    }
    packed
}

const LEGACY_MAGIC: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];

fn skippable(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x5e, 0x2a, 0x4d, 0x18];
    frame.extend((payload.len() as u32).to_le_bytes());
    frame.extend(payload);
    frame
}

/// Gives at most `step` bytes at once, as a slow pipe does.
struct Trickle(Cursor<Vec<u8>>, usize);

impl Read for Trickle {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let most = target.len().min(self.1);
        self.0.read(&mut target[..most])
    }
}

fn unpack_in_steps(packed: &[u8], step: usize) -> io::Result<(Option<Compression>, Vec<u8>)> {
    let mut input = Input::from_reader(Trickle(Cursor::new(packed.to_vec()), step), &Task::default())?;
    let compression = input.compression();
    let Input::Stream(stream) = &mut input else { panic!("a reader is a stream") };
    let mut all = Vec::new();
    stream.read_to_end(&mut all)?;
    Ok((compression, all))
}

fn unpack_all(packed: &[u8]) -> io::Result<Vec<u8>> {
    unpack_in_steps(packed, usize::MAX).map(|(_, bytes)| bytes)
}

fn input_error(error: &io::Error) -> &InputError {
    error.get_ref().and_then(|inner| inner.downcast_ref()).unwrap_or_else(|| panic!("{error:?} has no cause"))
}

/// Words as in a heap: some repeat, some do not.
fn sample(bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut all = Vec::new();
    while all.len() < bytes {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let word = if state >> 62 == 0 { state } else { state >> 61 };
        all.extend(word.to_le_bytes());
    }
    all.truncate(bytes);
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn packing_and_unpacking_in_any_steps_changes_nothing(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 1..4),
        step in 1_usize..5000,
        at in 0_usize..5,
    ) {
        // Several frames in a row are one stream, as `cat a.zst b.zst` leaves them.
        let compression = FORMATS[at];
        let packed: Vec<u8> = pieces.iter().flat_map(|piece| pack(compression, piece)).collect();
        let (found, unpacked) = unpack_in_steps(&packed, step).unwrap();
        prop_assert_eq!(found, Some(compression));
        prop_assert_eq!(unpacked, pieces.concat());
    }

    #[test]
    fn plain_bytes_in_any_steps_stay_as_they_are(
        bytes in prop::collection::vec(any::<u8>(), 0..3000),
        step in 1_usize..5000,
    ) {
        prop_assert_eq!(unpack_in_steps(&bytes, step).unwrap(), (None, bytes));
    }
}

#[test]
fn more_than_the_buffers_hold_arrives_whole() {
    let bytes = sample(20 << 20);
    for compression in FORMATS {
        assert!(unpack_all(&pack(compression, &bytes)).unwrap() == bytes, "{compression}");
    }
    assert!(unpack_all(&lz4_legacy(&bytes)).unwrap() == bytes, "legacy lz4 of three blocks");
}

#[test]
fn a_stream_that_is_cut_anywhere_is_truncated_and_never_whole() {
    let bytes = sample(3000);
    for compression in FORMATS {
        let one = pack(compression, &bytes);
        // A second frame is cut as well: the end of the first is no excuse.
        let two = [one.clone(), one.clone()].concat();
        for end in (16..one.len()).chain(one.len() + 1..two.len()) {
            let error = unpack_all(&two[..end]).expect_err("it is not whole");
            assert!(
                matches!(input_error(&error), InputError::Truncated { compression: at } if *at == compression),
                "{compression} cut at {end} of {}: {error}",
                two.len()
            );
        }
        assert_eq!(unpack_all(&one).unwrap(), bytes, "{compression}");
    }
}

#[test]
fn legacy_lz4_that_is_cut_within_a_block_is_truncated() {
    let packed = lz4_legacy(&sample(3000));
    for end in (5..8).chain(9..packed.len()) {
        let error = unpack_all(&packed[..end]).unwrap_err();
        assert!(matches!(input_error(&error), InputError::Truncated { .. }), "cut at {end}: {error}");
    }
}

#[test]
fn a_damaged_byte_is_an_error_or_changes_nothing() {
    let bytes = sample(3000);
    for compression in FORMATS {
        let packed = pack(compression, &bytes);
        // From byte 10 on: before lie magic numbers, without which it is another kind of input.
        for at in 10..packed.len() {
            let mut damaged = packed.clone();
            damaged[at] ^= 0x41;
            match unpack_all(&damaged) {
                Ok(unpacked) => assert!(unpacked == bytes, "{compression}: byte {at} is damaged, unnoticed"),
                Err(error) => {
                    input_error(&error);
                }
            }
        }
    }
}

#[test]
fn what_follows_the_last_frame_must_be_a_frame_or_padding() {
    let bytes = sample(500);
    for compression in FORMATS {
        let packed = [pack(compression, &bytes), b"no frame at all".to_vec()].concat();
        let error = unpack_all(&packed).unwrap_err();
        assert!(matches!(input_error(&error), InputError::Damaged { .. }), "{compression}: {error}");
    }
    for (compression, zeros, is_padding) in
        [(Compression::Gzip, 7, true), (Compression::Xz, 8, true), (Compression::Xz, 7, false)]
    {
        let packed = [pack(compression, &bytes), vec![0; zeros]].concat();
        assert_eq!(unpack_all(&packed).is_ok(), is_padding, "{compression} and {zeros} zeros");
    }
    let between = [pack(Compression::Xz, &bytes), vec![0; 4], pack(Compression::Xz, &bytes)].concat();
    assert_eq!(unpack_all(&between).unwrap(), [bytes.clone(), bytes].concat());
}

#[test]
fn skippable_frames_are_skipped_wherever_they_stand() {
    let bytes = sample(500);
    for compression in [Compression::Zstd, Compression::Lz4] {
        let frame = pack(compression, &bytes);
        let packed =
            [skippable(b""), skippable(&sample(100_000)), frame.clone(), skippable(b"x"), frame, skippable(b"yz")];
        let (found, unpacked) = unpack_in_steps(&packed.concat(), 777).unwrap();
        assert_eq!(found, Some(compression));
        assert_eq!(unpacked, [bytes.clone(), bytes.clone()].concat(), "{compression}");
        let cut = packed.concat();
        let error = unpack_all(&cut[..cut.len() - 1]).unwrap_err();
        assert!(matches!(input_error(&error), InputError::Truncated { .. }), "{compression}: {error}");
    }
    let mixed = [lz4_legacy(&bytes), pack(Compression::Lz4, &bytes), lz4_legacy(&bytes)].concat();
    assert_eq!(unpack_all(&mixed).unwrap(), [&bytes[..]; 3].concat());
}

#[test]
fn bytes_that_only_begin_like_a_compressed_stream_are_plain() {
    for plain in [&b"BZh9 is how bzip2 begins, but this is text"[..], b"\x1f\x8b\x08\xff0123456789abcdef"] {
        assert_eq!(unpack_in_steps(plain, 3).unwrap(), (None, plain.to_vec()));
    }
}

#[test]
fn a_decoder_that_needs_more_than_its_share_says_so() {
    let bytes = sample(9 << 20);
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.long_distance_matching(true).unwrap();
    encoder.window_log(23).unwrap();
    encoder.write_all(&bytes).unwrap();
    let zstd = encoder.finish().unwrap();
    let xz = {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 6);
        encoder.write_all(&bytes[..100_000]).unwrap();
        encoder.finish().unwrap()
    };
    for (packed, whole) in [(zstd, &bytes[..]), (xz, &bytes[..100_000])] {
        let read = |memory_budget_bytes| {
            let task = Task { memory_budget_bytes, ..Task::default() };
            let mut input = Input::from_reader(Cursor::new(packed.clone()), &task)?;
            assert!(input.reserved_bytes() <= memory_budget_bytes / 4 * 3);
            let Input::Stream(stream) = &mut input else { panic!("a reader is a stream") };
            let mut all = Vec::new();
            stream.read_to_end(&mut all).map(|_| all)
        };
        let error = read(8 << 20).unwrap_err();
        assert!(
            matches!(input_error(&error), InputError::DecoderMemory { given_bytes: 4_194_304, .. }),
            "{error}: {error:?}"
        );
        assert!(read(64 << 20).unwrap() == whole);
    }
}

#[test]
fn the_head_is_looked_at_and_still_read() {
    let bytes = sample(300_000);
    for packed in [bytes.clone(), pack(Compression::Zstd, &bytes)] {
        let mut input = Input::from_reader(Cursor::new(packed), &Task::default()).unwrap();
        assert_eq!(input.head(64).unwrap(), bytes[..64]);
        assert_eq!(input.head(200_000).unwrap(), bytes[..200_000]);
        assert_eq!(input.head(usize::MAX).unwrap(), bytes);
        let Input::Stream(stream) = &mut input else { panic!("a reader is a stream") };
        stream.skip(1001).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert!(rest == bytes[1001..]);
    }
}

#[test]
fn a_file_is_a_file_and_what_is_not_is_a_stream() {
    let folder = testkit::native::scratch_folder();
    let path = folder.join("input");
    let bytes = sample(5000);
    std::fs::write(&path, &bytes).unwrap();
    let task = Task::default();
    let mut input = Input::open(&path, &task).unwrap();
    assert_eq!(input.head(10).unwrap(), bytes[..10]);
    assert!(matches!(&input, Input::File(file) if file.size_bytes == 5000), "{input:?}");
    assert_eq!((input.reserved_bytes(), input.compression()), (0, None));

    std::fs::write(&path, pack(Compression::Gzip, &bytes)).unwrap();
    let input = Input::open(&path, &task).unwrap();
    assert_eq!(input.compression(), Some(Compression::Gzip));

    // The kernel says that this one has no bytes.
    let Input::Stream(mut maps) = Input::open(Path::new("/proc/self/maps"), &task).unwrap() else {
        panic!("a file of the kernel's is a stream");
    };
    let mut text = String::new();
    maps.read_to_string(&mut text).unwrap();
    assert!(text.contains("[stack]"), "{text}");

    assert!(matches!(Input::open(&folder, &task), Err(InputError::Folder { .. })));
    let error = Input::open(&folder.join("absent"), &task).unwrap_err();
    assert!(matches!(&error, InputError::Open { source, .. } if source.kind() == io::ErrorKind::NotFound));
    std::fs::remove_dir_all(folder).unwrap();
}

/// All blocks but the last have 8 MiB: a stream of empty ones would cost a clean block for each five bytes.
#[test]
fn a_short_block_of_legacy_lz4_is_the_last() {
    let mut hostile = LEGACY_MAGIC.to_vec();
    for _ in 0..3 {
        hostile.extend([1, 0, 0, 0, 0]);
    }
    let mut stream = Input::from_reader(Cursor::new(hostile), &Task::default()).unwrap();
    let error = stream.head(1).unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");
}
