//! Reads a record of the usual form in one pass.
//!
//! Reading records is the largest part of fan-out's work, and most of it is what a parser does for any JSON and any
//! type (`docs/adr/0047-reader-of-records.md`). A raw value is valid JSON already, so this reader only finds where
//! names and values start and end. It leaves unusual and invalid records to serde, which also says what is wrong.

use std::borrow::Cow;

use memchr::memchr2;
use serde_json::value::RawValue;

use super::wire::{StreamRecord, Wire};
use crate::value::quotes::first_quote;
use crate::value::{Map, Value};

/// How deep maps and lists may be in each other: DynamoDB takes 32 levels.
const LEVELS: usize = 32;

/// Reads a record. `None` if it has another form than the records of `INSERT`, `MODIFY` and `REMOVE` usually have.
pub(super) fn read(raw: &RawValue) -> Option<Wire<'_>> {
    let mut reader = Reader { json: raw.get(), at: 0 };
    let (mut event_id, mut event_name, mut source_arn, mut user_identity, mut dynamodb) =
        (None, None, None, None, None);
    reader.object(|reader, name| match &*name {
        "eventID" => set(&mut event_id, reader.text()?),
        "eventName" => set(&mut event_name, reader.text()?),
        "eventSourceARN" => set(&mut source_arn, reader.text()?),
        "dynamodb" => set(&mut dynamodb, reader.stream_record()?),
        // An item that expired has one.
        "userIdentity" => set(&mut user_identity, (reader.scalar()? == "null").then_some(())?),
        _ => reader.skip(),
    })?;
    Some(Wire {
        event_id: event_id.unwrap_or_default(),
        event_name: event_name.unwrap_or_default(),
        source_arn: source_arn.unwrap_or_default(),
        user_identity: None,
        dynamodb: dynamodb?,
    })
}

/// Sets a field. A field that occurs twice is invalid.
fn set<T>(field: &mut Option<T>, value: T) -> Option<()> {
    field.replace(value).is_none().then_some(())
}

/// A position in JSON. Each method reads from there, and returns `None` if something else is there than it reads.
struct Reader<'a> {
    json: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads `{"NewImage": …}`.
    fn stream_record(&mut self) -> Option<StreamRecord> {
        let (mut seconds, mut new_image, mut old_image, mut sequence) = (None, None, None, None);
        self.object(|reader, name| match &*name {
            "ApproximateCreationDateTime" => set(&mut seconds, serde_json::from_str(reader.scalar()?).ok()?),
            "NewImage" => set(&mut new_image, reader.attributes(LEVELS)?.into()),
            "OldImage" => set(&mut old_image, reader.attributes(LEVELS)?.into()),
            "SequenceNumber" => set(&mut sequence, reader.text()?.into_owned()),
            _ => reader.skip(),
        })?;
        Some(StreamRecord {
            approximate_creation_date_time: seconds?,
            new_image,
            old_image,
            sequence_number: sequence.unwrap_or_default(),
        })
    }

    /// Reads `{"name": {"S": "text"}}`. Of attributes with the same name, the last one counts.
    fn attributes(&mut self, levels: usize) -> Option<Map> {
        let levels = levels.checked_sub(1)?;
        let mut map = Map::new();
        self.object(|reader, name| {
            map.insert(name.into_owned(), reader.value(levels)?);
            Some(())
        })?;
        Some(map)
    }

    /// Reads `{"S": "text"}`.
    fn value(&mut self, levels: usize) -> Option<Value> {
        self.expect(b'{')?;
        let value = match self.kind()? {
            b"S" | b"B" => Value::String(self.text()?.into_owned()),
            b"N" => Value::Number(self.text()?.parse().ok()?),
            b"BOOL" => Value::Bool(self.scalar()?.parse().ok()?),
            b"NULL" => {
                self.skip()?;
                Value::Null
            }
            b"M" => Value::Map(self.attributes(levels)?),
            b"L" => {
                let levels = levels.checked_sub(1)?;
                Value::List(self.list(|reader| reader.value(levels))?)
            }
            // Sets are rare.
            _ => return None,
        };
        self.expect(b'}')?;
        Some(value)
    }

    /// Reads the name of a type, one to four letters, and the colon. Each value has one, and looking at five bytes costs
    /// less than a search.
    fn kind(&mut self) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let rest = self.json.as_bytes().get(self.at..)?;
        let length = rest.iter().take(5).position(|byte| *byte == b'"')?;
        self.at += length + 1;
        self.expect(b':')?;
        rest.get(..length)
    }

    /// Reads an object; `entry` reads the value of each name.
    fn object(&mut self, mut entry: impl FnMut(&mut Self, Cow<'a, str>) -> Option<()>) -> Option<()> {
        self.expect(b'{')?;
        if self.peek()? == b'}' {
            return self.expect(b'}');
        }
        loop {
            let name = self.text()?;
            self.expect(b':')?;
            entry(self, name)?;
            if self.next()? != b',' {
                return Some(());
            }
        }
    }

    /// Reads a list; `member` reads each of its members.
    fn list<T>(&mut self, mut member: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut list = Vec::new();
        self.expect(b'[')?;
        if self.peek()? == b']' {
            self.expect(b']')?;
            return Some(list);
        }
        loop {
            list.push(member(self)?);
            if self.next()? != b',' {
                return Some(list);
            }
        }
    }

    /// Reads a text.
    fn text(&mut self) -> Option<Cow<'a, str>> {
        self.expect(b'"')?;
        let (json, from) = (self.json, self.at);
        let rest = json.as_bytes().get(from..)?;
        // Most names, and many values, are short.
        let near = rest.first_chunk().map(|near| first_quote(*near)).filter(|place| *place < 8);
        let mut end = from + near.or_else(|| memchr2(b'"', b'\\', rest))?;
        let has_escapes = json.as_bytes()[end] == b'\\';
        while json.as_bytes()[end] == b'\\' {
            // Whatever is escaped is not the end.
            end += 2;
            end += memchr2(b'"', b'\\', json.as_bytes().get(end..)?)?;
        }
        self.at = end + 1;
        if has_escapes {
            serde_json::from_str(json.get(from - 1..=end)?).ok().map(Cow::Owned)
        } else {
            json.get(from..end).map(Cow::Borrowed)
        }
    }

    /// Reads a number, `true`, `false` or `null`.
    fn scalar(&mut self) -> Option<&'a str> {
        self.peek()?;
        let rest = self.json.get(self.at..)?;
        let (scalar, _) = rest.split_at(rest.find([',', '}', ']', ' ', '\n', '\r', '\t'])?);
        self.at += scalar.len();
        Some(scalar)
    }

    /// Reads any value, and ignores it.
    fn skip(&mut self) -> Option<()> {
        let mut levels = 0_usize;
        loop {
            match self.peek()? {
                b'"' => drop(self.text()?),
                b'{' | b'[' => {
                    levels += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    levels = levels.checked_sub(1)?;
                    self.at += 1;
                }
                b',' | b':' => self.at += 1,
                _ => drop(self.scalar()?),
            }
            if levels == 0 {
                return Some(());
            }
        }
    }

    /// Returns the next byte that is not white space, without reading it.
    fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.json.as_bytes().get(self.at)?;
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    /// Reads the next byte that is not white space.
    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }
}
