//! Opening a text file: what packs it is told by its first bytes, and what comes out is UTF-8.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use dataset::{Error, Result};
use memchr::memchr;

use super::{Encoding, Reason, broken, reason};

const BUFFER_BYTES: usize = 1 << 18;
/// A longer line was not meant to be one.
const MAX_LINE_BYTES: usize = 64 << 20;
/// The largest window that zstd has (`--long=31`), as a power of two.
const ZSTD_WINDOW_LOG: u32 = 31;
pub(super) const BOM: &[u8] = b"\xef\xbb\xbf";

/// What a file's first bytes say that it is.
enum Packing {
    Plain,
    Gz,
    Zst,
    Bz2,
    /// Nothing that can be read as text.
    Other(&'static str),
}

impl Packing {
    fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Packing::Gz,
            // A frame, or a skippable one, which pzstd writes first.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Packing::Zst,
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31 | 0x17, ..] => Packing::Bz2,
            [b'P', b'A', b'R', b'1', ..] => Packing::Other("Parquet"),
            [b'P', b'K', 3, 4, ..] => Packing::Other("a zip archive"),
            [0xfd, b'7', b'z', b'X', b'Z', ..] => Packing::Other("an xz archive"),
            [0x04, 0x22, 0x4d, 0x18, ..] => Packing::Other("an lz4 archive"),
            [0, 5, 0x16, 7, ..] => Packing::Other("macOS's notes on a file (AppleDouble)"),
            _ => Packing::Plain,
        }
    }
}

/// Opens a plain, gz, zst or bz2 file of text.
pub(super) fn open(path: &Path, encoding: Encoding) -> Result<Box<dyn BufRead>> {
    let failed = |e| Error::io(path.display(), e);
    let mut file = BufReader::with_capacity(BUFFER_BYTES, File::open(path).map_err(failed)?);
    let mut reader: Box<dyn BufRead> = match Packing::of(file.fill_buf().map_err(failed)?) {
        Packing::Plain => Box::new(file),
        Packing::Gz => buffered(flate2::bufread::MultiGzDecoder::new(file)),
        Packing::Bz2 => buffered(bzip2::bufread::MultiBzDecoder::new(file)),
        Packing::Zst => {
            let mut decoder = zstd::Decoder::with_buffer(file).map_err(failed)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(failed)?;
            buffered(decoder)
        }
        Packing::Other(what) => {
            let hint = "say in `format` what it is, or unpack it to text, gz, zst or bz2";
            return Err(Error::unreadable(path.display(), format!("expected text, got {what}"), hint));
        }
    };
    let encoding = match (encoding, reader.fill_buf().map_err(|e| broken(path, &e))?) {
        (Encoding::Utf8, [0xff, 0xfe, ..]) => Encoding::Utf16Le,
        (Encoding::Utf8, [0xfe, 0xff, ..]) => Encoding::Utf16Be,
        (encoding, _) => encoding,
    };
    Ok(match encoding {
        Encoding::Utf8 => reader,
        _ => Box::new(Transcoded { inner: reader, encoding, pending: Vec::new(), text: Vec::new(), at: 0 }),
    })
}

fn buffered(decoder: impl Read + 'static) -> Box<dyn BufRead> {
    Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))
}

/// Text of another encoding as UTF-8. What is no character becomes U+FFFD.
struct Transcoded<R> {
    inner: R,
    encoding: Encoding,
    /// Bytes of a character whose rest is still to come.
    pending: Vec<u8>,
    text: Vec<u8>,
    at: usize,
}

impl<R: BufRead> BufRead for Transcoded<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.at == self.text.len() {
            self.text.clear();
            self.at = 0;
            let bytes = self.inner.fill_buf()?;
            if bytes.is_empty() {
                if !self.pending.is_empty() {
                    self.pending.clear();
                    self.text.extend("\u{fffd}".as_bytes());
                }
                break;
            }
            let read = bytes.len();
            self.pending.extend(bytes);
            self.inner.consume(read);
            let used = match self.encoding {
                Encoding::Utf16Le => utf16(&self.pending, u16::from_le_bytes, &mut self.text),
                Encoding::Utf16Be => utf16(&self.pending, u16::from_be_bytes, &mut self.text),
                Encoding::Latin1 | Encoding::Utf8 => windows_1252(&self.pending, &mut self.text),
            };
            self.pending.drain(..used);
        }
        Ok(&self.text[self.at..])
    }

    fn consume(&mut self, bytes: usize) {
        self.at += bytes;
    }
}

impl<R: BufRead> Read for Transcoded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut text = self.fill_buf()?;
        let read = text.read(into)?;
        self.consume(read);
        Ok(read)
    }
}

/// Appends whole characters to the text; returns how many bytes they took.
fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16, text: &mut Vec<u8>) -> usize {
    let mut units: Vec<u16> = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
    if units.last().is_some_and(|last| (0xd800..0xdc00).contains(last)) {
        units.pop();
    }
    let mut buffer = [0; 4];
    for c in char::decode_utf16(units.iter().copied()) {
        text.extend(c.unwrap_or(char::REPLACEMENT_CHARACTER).encode_utf8(&mut buffer).as_bytes());
    }
    2 * units.len()
}

/// The characters of the bytes 0x80 to 0x9f in Windows-1252; the others are those of ISO 8859-1.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘', '’',
    '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

fn windows_1252(bytes: &[u8], text: &mut Vec<u8>) -> usize {
    let mut buffer = [0; 4];
    for byte in bytes {
        let c = match byte {
            0x80..=0x9f => WINDOWS_1252[usize::from(byte - 0x80)],
            _ => char::from(*byte),
        };
        text.extend(c.encode_utf8(&mut buffer).as_bytes());
    }
    bytes.len()
}

/// Calls `each` with every line that is not empty, without its end, or with why it is not read. A byte order mark is skipped before any
/// line: members of an archive and files that were joined each may begin with one.
pub(crate) fn lines(
    path: &Path,
    encoding: Encoding,
    each: impl FnMut(u64, Result<&[u8], Reason>) -> Result<()>,
) -> Result<()> {
    lines_of(&mut open(path, encoding)?, path, MAX_LINE_BYTES, each)
}

fn lines_of(
    reader: &mut impl BufRead,
    path: &Path,
    max_bytes: usize,
    mut each: impl FnMut(u64, Result<&[u8], Reason>) -> Result<()>,
) -> Result<()> {
    let (mut line, mut number) = (Vec::new(), 0);
    loop {
        line.clear();
        number += 1;
        match read_line(reader, max_bytes, &mut line).map_err(|e| broken(path, &e))? {
            Line::None => return Ok(()),
            Line::TooLong => {
                skip_line(reader, |_| {}).map_err(|e| broken(path, &e))?;
                each(number, Err(reason::LONG_LINE))?;
            }
            Line::Whole => {
                let text = bare(&line);
                if !text.is_empty() {
                    each(number, Ok(text))?;
                }
            }
        }
    }
}

/// What was read of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// The text is over.
    None,
    Whole,
    /// It would be longer than it may be. What was not read of it comes next.
    TooLong,
}

/// Appends the next line, its end included, to what is held, which becomes no longer than `max_bytes`.
pub(super) fn read_line(reader: &mut impl BufRead, max_bytes: usize, held: &mut Vec<u8>) -> io::Result<Line> {
    let before = held.len();
    loop {
        let bytes = match reader.fill_buf() {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        if bytes.is_empty() {
            return Ok(if held.len() == before { Line::None } else { Line::Whole });
        }
        let end = memchr(b'\n', bytes);
        let part = &bytes[..end.map_or(bytes.len(), |end| end + 1)];
        if held.len() + part.len() > max_bytes {
            return Ok(Line::TooLong);
        }
        held.extend_from_slice(part);
        let read = part.len();
        reader.consume(read);
        if end.is_some() {
            return Ok(Line::Whole);
        }
    }
}

/// Reads to the end of a line without holding it; `see` is shown what is skipped.
pub(super) fn skip_line(reader: &mut impl BufRead, mut see: impl FnMut(&[u8])) -> io::Result<()> {
    loop {
        let bytes = match reader.fill_buf() {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        let end = memchr(b'\n', bytes);
        let part = &bytes[..end.map_or(bytes.len(), |end| end + 1)];
        see(part);
        let read = part.len();
        reader.consume(read);
        if end.is_some() || read == 0 {
            return Ok(());
        }
    }
}

/// A line without its end and without a byte order mark.
pub(super) fn bare(line: &[u8]) -> &[u8] {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    text.strip_prefix(BOM).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8], encoding: Encoding) -> Result<Vec<String>> {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(bytes).expect("writable");
        let mut all = Vec::new();
        lines(file.path(), encoding, |_, line| {
            all.push(String::from_utf8_lossy(line.expect("a short line")).into_owned());
            Ok(())
        })?;
        Ok(all)
    }

    fn gz(text: &[u8]) -> Vec<u8> {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(text).expect("in memory");
        gz.finish().expect("in memory")
    }

    fn bz2(text: &[u8]) -> Vec<u8> {
        let mut bz2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bz2.write_all(text).expect("in memory");
        bz2.finish().expect("in memory")
    }

    /// A frame that wants a window of two gigabytes, as `zstd --long=31` writes it from a pipe.
    fn long_zst(text: &[u8]) -> Vec<u8> {
        let mut zst = zstd::Encoder::new(Vec::new(), 1).expect("in memory");
        zst.window_log(ZSTD_WINDOW_LOG).expect("as large as it may be");
        zst.write_all(text).expect("in memory");
        zst.finish().expect("in memory")
    }

    #[test]
    fn members_frames_and_marks_are_all_read() -> Result<()> {
        let member = |text: &str| [BOM, text.as_bytes()].concat();
        let expected = vec!["one", "two", "three"];
        let plain = [member("one\n"), member("two\r\n"), member("\nthree")];
        assert_eq!(read(&plain.concat(), Encoding::Utf8)?, expected);
        assert_eq!(read(&plain.each_ref().map(|text| gz(text)).concat(), Encoding::Utf8)?, expected);
        assert_eq!(read(&plain.each_ref().map(|text| bz2(text)).concat(), Encoding::Utf8)?, expected);
        assert_eq!(read(&plain.each_ref().map(|text| long_zst(text)).concat(), Encoding::Utf8)?, expected);
        // pzstd: a skippable frame of four bytes before each frame.
        let pzstd = |text: &Vec<u8>| {
            let frame = zstd::encode_all(text.as_slice(), 1).expect("in memory");
            let length = u32::try_from(frame.len()).expect("small").to_le_bytes();
            [&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0], &length[..], &frame].concat()
        };
        assert_eq!(read(&plain.each_ref().map(pzstd).concat(), Encoding::Utf8)?, expected);
        Ok(())
    }

    #[test]
    fn what_is_no_text_is_named() {
        for (start, what) in
            [(&b"PAR1\x15"[..], "Parquet"), (b"PK\x03\x04", "a zip archive"), (b"\0\x05\x16\x07", "macOS")]
        {
            let error = read(start, Encoding::Utf8).expect_err("no text");
            assert!(error.to_string().contains(&format!("expected text, got {what}")), "{error}");
        }
    }

    #[test]
    fn latin_1_has_windows_quotes() -> Result<()> {
        assert_eq!(read(b"caf\xe9 \x93x\x94 \x80\n", Encoding::Latin1)?, ["café “x” €"]);
        Ok(())
    }

    /// Lines of a text that comes in pieces, each with its number, or why it is not read.
    fn within(text: &str, piece: usize, max_bytes: usize) -> Vec<(u64, Result<String, Reason>)> {
        let mut all = Vec::new();
        let mut reader = BufReader::with_capacity(piece, text.as_bytes());
        let take = |number, line: Result<&[u8], Reason>| {
            all.push((number, line.map(|line| String::from_utf8_lossy(line).into_owned())));
            Ok(())
        };
        lines_of(&mut reader, Path::new("log"), max_bytes, take).expect("in memory");
        all
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_without_holding_it() -> io::Result<()> {
        let got = within("one\ntoo long\ntwo\ntoo long at the end", 3, 5);
        let ok = |line: &str| Ok(line.to_owned());
        assert_eq!(got, [(1, ok("one")), (2, Err(reason::LONG_LINE)), (3, ok("two")), (4, Err(reason::LONG_LINE))]);
        // A hundred megabytes without an end, in pieces of a few.
        let mut endless = BufReader::with_capacity(1 << 16, io::repeat(b'x').take(100 << 20));
        let mut held = Vec::new();
        assert_eq!(read_line(&mut endless, 1 << 20, &mut held)?, Line::TooLong);
        assert!(held.capacity() <= 2 << 20, "{}", held.capacity());
        skip_line(&mut endless, |_| {})?;
        assert_eq!(read_line(&mut endless, 1 << 20, &mut held)?, Line::None);
        Ok(())
    }

    proptest! {
        #[test]
        fn lines_within_the_limit_are_those_of_no_limit(text in "[ab\r\n]{0,40}", piece in 1usize..9, max_bytes in 1usize..9) {
            let got = within(&text, piece, max_bytes);
            let expected = (1..).zip(text.split_inclusive('\n')).filter_map(|(number, line)| match line.len() {
                bytes if bytes > max_bytes => Some((number, Err(reason::LONG_LINE))),
                _ => Some(String::from_utf8_lossy(bare(line.as_bytes())).into_owned())
                    .filter(|line| !line.is_empty())
                    .map(|line| (number, Ok(line))),
            });
            prop_assert_eq!(got, expected.collect::<Vec<_>>());
            prop_assert_eq!(within(&text, piece, 40), within(&text, 40, usize::MAX));
        }

        #[test]
        fn utf_16_is_read_as_what_was_written(text in any::<String>(), big in any::<bool>(), mark in any::<bool>()) {
            let text = text.replace(['\r', '\u{feff}'], " ");
            let marked = format!("{}{text}", if mark { "\u{feff}" } else { "" });
            let bytes: Vec<u8> = marked.encode_utf16().flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect();
            let encoding = match (mark, big) {
                (true, _) => Encoding::Utf8,
                (false, true) => Encoding::Utf16Be,
                (false, false) => Encoding::Utf16Le,
            };
            let expected: Vec<&str> = text.split('\n').filter(|line| !line.is_empty()).collect();
            prop_assert_eq!(read(&bytes, encoding).expect("readable"), expected);
        }
    }
}
