//! Records: the columns of a row or of an index entry, and the order of entries.
//!
//! Source: <https://www.sqlite.org/fileformat2.html>, section 2.1, and for the order of values
//! <https://www.sqlite.org/datatype3.html>, section 4.1.

use std::cmp::Ordering;

use crate::cell::varint;

/// One column as it is stored: its serial type and its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'r> {
    pub(crate) serial: u64,
    pub(crate) bytes: &'r [u8],
}

impl Field<'_> {
    /// SQL's NULL.
    pub(crate) const NULL: Field<'static> = Field { serial: 0, bytes: &[] };
}

/// Where the columns of a record lie.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    /// Each column's serial type, and where its bytes begin and end in the record.
    columns: Vec<(u64, u64, u64)>,
    /// Where the last column ends.
    end: u64,
}

impl Layout {
    /// Reads the header of the record that begins with these bytes; `None` when it is none, or is cut off.
    pub(crate) fn read(&mut self, record: &[u8]) -> Option<()> {
        self.columns.clear();
        let (header, mut at) = varint(record)?;
        let header = usize::try_from(header).ok()?;
        let serials = record.get(..header)?;
        let mut end = header as u64;
        while at < header {
            let (serial, length) = varint(&serials[at..])?;
            let begin = end;
            end = begin.checked_add(stored_bytes(serial)?)?;
            self.columns.push((serial, begin, end));
            at += length;
        }
        self.end = end;
        Some(())
    }

    /// Becomes equal to another, in the memory it has.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        self.columns.clone_from(&other.columns);
        self.end = other.end;
    }

    /// Columns.
    pub(crate) fn len(&self) -> usize {
        self.columns.len()
    }

    /// Bytes of the whole record.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Where a column ends; the end of the record for one it does not have.
    pub(crate) fn end_of(&self, column: usize) -> u64 {
        self.columns.get(column).map_or(self.end, |(_, _, end)| *end)
    }

    /// A column of the record; `None` when it has no such column or is cut off before its end.
    #[inline]
    pub(crate) fn field<'r>(&self, column: usize, record: &'r [u8]) -> Option<Field<'r>> {
        let (serial, begin, end) = *self.columns.get(column)?;
        Some(Field { serial, bytes: record.get(begin as usize..end as usize)? })
    }
}

/// Bytes that a value of a serial type takes in the record's body.
#[inline]
fn stored_bytes(serial: u64) -> Option<u64> {
    Some(match serial {
        0 | 8 | 9 => 0,
        1..=4 => serial,
        5 => 6,
        6 | 7 => 8,
        10 | 11 => return None,
        _ => (serial - 12) / 2,
    })
}

/// An integer as a record stores it: its serial type, and its bytes at the end of the array.
pub(crate) fn integer(value: i64, schema_format: u32) -> (u64, [u8; 8], usize) {
    let magnitude = if value < 0 { !value } else { value };
    let (serial, length) = match magnitude {
        _ if schema_format >= 4 && (value == 0 || value == 1) => (8 + value.unsigned_abs(), 0),
        0..=0x7f => (1, 1),
        0x80..=0x7fff => (2, 2),
        0x8000..=0x7f_ffff => (3, 3),
        0x80_0000..=0x7fff_ffff => (4, 4),
        0x8000_0000..=0x7fff_ffff_ffff => (5, 6),
        _ => (6, 8),
    };
    (serial, value.to_be_bytes(), length)
}

/// Writes records as SQLite does.
#[derive(Debug, Default)]
pub(crate) struct RecordWriter {
    serials: Vec<u8>,
    body: Vec<u8>,
    record: Vec<u8>,
}

impl RecordWriter {
    /// Begins a record.
    pub(crate) fn clear(&mut self) {
        self.serials.clear();
        self.body.clear();
    }

    /// Adds a column.
    #[inline]
    pub(crate) fn push(&mut self, field: Field<'_>) {
        write_varint(field.serial, &mut self.serials);
        self.body.extend_from_slice(field.bytes);
    }

    /// The record.
    pub(crate) fn record(&mut self) -> &[u8] {
        let serials = self.serials.len();
        // The header's length counts itself (`sqlite3VdbeMakeRecord`).
        let length = varint_bytes(serials as u64);
        let longer = usize::from(length < varint_bytes((serials + length) as u64));
        self.record.clear();
        write_varint((serials + length + longer) as u64, &mut self.record);
        self.record.extend_from_slice(&self.serials);
        self.record.extend_from_slice(&self.body);
        &self.record
    }
}

fn varint_bytes(value: u64) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        _ => (64 - value.leading_zeros() as usize).div_ceil(7).min(9),
    }
}

/// Serial types and lengths are below 2^56, where a varint is plain groups of seven bits.
#[inline]
fn write_varint(value: u64, into: &mut Vec<u8>) {
    if value < 0x80 {
        return into.push(value as u8);
    }
    let length = varint_bytes(value);
    for group in (0..length).rev() {
        let more = if group > 0 { 0x80 } else { 0 };
        into.push((value >> (7 * group)) as u8 & 0x7f | more);
    }
}

/// How texts of a column compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Collation {
    Binary,
    NoCase,
    RTrim,
}

/// How one column of an index is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyOrder {
    pub(crate) collation: Collation,
    pub(crate) descending: bool,
}

/// A value as far as order is concerned.
enum Value<'r> {
    Null,
    Integer(i64),
    Real(f64),
    Text(&'r [u8]),
    Blob(&'r [u8]),
}

/// The order of two fields; `None` for values SQLite would not store.
#[inline]
pub(crate) fn compare(one: Field<'_>, other: Field<'_>, order: KeyOrder) -> Option<Ordering> {
    let ordering = match (value(one)?, value(other)?) {
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Integer(one), Value::Integer(other)) => one.cmp(&other),
        (Value::Real(one), Value::Real(other)) => one.partial_cmp(&other)?,
        (Value::Integer(one), Value::Real(other)) => integer_with_real(one, other)?,
        (Value::Real(one), Value::Integer(other)) => integer_with_real(other, one)?.reverse(),
        (Value::Text(one), Value::Text(other)) => texts(one, other, order.collation)?,
        (Value::Blob(one), Value::Blob(other)) => one.cmp(other),
        (one, other) => rank(&one).cmp(&rank(&other)),
    };
    Some(if order.descending { ordering.reverse() } else { ordering })
}

#[inline]
fn value(field: Field<'_>) -> Option<Value<'_>> {
    let bytes = field.bytes;
    Some(match field.serial {
        0 => Value::Null,
        1..=6 => {
            let sign = if bytes.first()? & 0x80 == 0 { 0 } else { -1i64 };
            Value::Integer(bytes.iter().fold(sign, |value, byte| value << 8 | i64::from(*byte)))
        }
        7 => {
            let real = f64::from_be_bytes(bytes.try_into().ok()?);
            // Not-a-number reads as NULL, and is never written.
            return (!real.is_nan()).then_some(Value::Real(real));
        }
        8 => Value::Integer(0),
        9 => Value::Integer(1),
        serial if serial % 2 == 1 => Value::Text(bytes),
        _ => Value::Blob(bytes),
    })
}

/// NULL, then numbers, then texts, then blobs.
fn rank(value: &Value<'_>) -> u8 {
    match value {
        Value::Null => 0,
        Value::Integer(_) | Value::Real(_) => 1,
        Value::Text(_) => 2,
        Value::Blob(_) => 3,
    }
}

/// Exact, although not every integer is a double (`sqlite3IntFloatCompare`).
fn integer_with_real(integer: i64, real: f64) -> Option<Ordering> {
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    if real < -BEYOND {
        return Some(Ordering::Greater);
    }
    if real >= BEYOND {
        return Some(Ordering::Less);
    }
    let whole = real.trunc();
    Some(integer.cmp(&(whole as i64)).then(0.0.partial_cmp(&(real - whole))?))
}

fn texts(one: &[u8], other: &[u8], collation: Collation) -> Option<Ordering> {
    match collation {
        Collation::Binary => Some(one.cmp(other)),
        Collation::RTrim => Some(without_spaces(one).cmp(without_spaces(other))),
        // SQLite's comparison stops at a NUL here.
        Collation::NoCase if one.contains(&0) || other.contains(&0) => None,
        Collation::NoCase => {
            let one = one.iter().map(u8::to_ascii_lowercase);
            Some(one.cmp(other.iter().map(u8::to_ascii_lowercase)))
        }
    }
}

fn without_spaces(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rusqlite::{Connection, types::Value as SqlValue};

    use super::*;

    fn value() -> impl Strategy<Value = SqlValue> {
        prop_oneof![
            Just(SqlValue::Null),
            any::<i64>().prop_map(SqlValue::Integer),
            (-300i64..300).prop_map(SqlValue::Integer),
            (0u32..63).prop_map(|bits| SqlValue::Integer((1 << bits) - 1)),
            any::<f64>().prop_filter("NULL", |real| !real.is_nan()).prop_map(SqlValue::Real),
            (-300i64..300).prop_map(|half| SqlValue::Real(half as f64 / 2.0)),
            any::<i64>().prop_map(|near| SqlValue::Real(near as f64)),
            "[aAbBzZ ]{0,5}".prop_map(SqlValue::Text),
            ".{0,300}".prop_map(SqlValue::Text),
            prop::collection::vec(any::<u8>(), 0..5).prop_map(SqlValue::Blob),
        ]
    }

    /// The serial type and the bytes of a value.
    fn stored(value: &SqlValue) -> (u64, Vec<u8>) {
        match value {
            SqlValue::Null => (0, Vec::new()),
            SqlValue::Integer(number) => {
                let (serial, bytes, length) = integer(*number, 4);
                (serial, bytes[8 - length..].to_vec())
            }
            SqlValue::Real(real) => (7, real.to_be_bytes().to_vec()),
            SqlValue::Text(text) => (13 + 2 * text.len() as u64, text.clone().into_bytes()),
            SqlValue::Blob(blob) => (12 + 2 * blob.len() as u64, blob.clone()),
        }
    }

    proptest! {
        #[test]
        fn values_are_ordered_as_sqlite_orders_them(one in value(), other in value(), descending in any::<bool>()) {
            let connection = Connection::open_in_memory().unwrap();
            for (collation, name) in
                [(Collation::Binary, "BINARY"), (Collation::NoCase, "NOCASE"), (Collation::RTrim, "RTRIM")]
            {
                let (first, second) = (stored(&one), stored(&other));
                let field = |stored: &(u64, Vec<u8>)| stored.0;
                let ours = compare(
                    Field { serial: field(&first), bytes: &first.1 },
                    Field { serial: field(&second), bytes: &second.1 },
                    KeyOrder { collation, descending },
                );
                let Some(ours) = ours else {
                    let has_nul = |value: &SqlValue| matches!(value, SqlValue::Text(text) if text.contains('\0'));
                    prop_assert!(has_nul(&one) || has_nul(&other));
                    continue;
                };
                // Which of two rows comes first; those that compare equal are one group.
                let sql = format!(
                    "SELECT group_concat(n, '') FROM (SELECT v, n FROM (SELECT ?1 AS v, 1 AS n UNION ALL SELECT ?2, 2)
                     ORDER BY v COLLATE {name}, n) GROUP BY v COLLATE {name} ORDER BY v COLLATE {name} {}",
                    if descending { "DESC" } else { "" }
                );
                let mut query = connection.prepare(&sql).unwrap();
                let groups: Vec<String> =
                    query.query_map([&one, &other], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
                let theirs = match groups[0].as_str() {
                    "1" => Ordering::Less,
                    "2" => Ordering::Greater,
                    _ => Ordering::Equal,
                };
                prop_assert_eq!(ours, theirs, "{} {:?} {:?}", name, one, other);
            }
        }

        #[test]
        fn arbitrary_records_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut layout = Layout::default();
            if layout.read(&bytes).is_some() {
                for column in 0..layout.len() + 1 {
                    if let Some(field) = layout.field(column, &bytes) {
                        let order = KeyOrder { collation: Collation::NoCase, descending: false };
                        let _ = compare(field, Field::NULL, order);
                    }
                }
            }
        }

        #[test]
        fn a_record_that_is_written_reads_as_it_was(values in prop::collection::vec(value(), 0..200)) {
            let mut writer = RecordWriter::default();
            let stored: Vec<(u64, Vec<u8>)> = values.iter().map(stored).collect();
            for (serial, bytes) in &stored {
                writer.push(Field { serial: *serial, bytes });
            }
            let record = writer.record();
            let mut layout = Layout::default();
            layout.read(record).unwrap();
            prop_assert_eq!(layout.end(), record.len() as u64);
            prop_assert_eq!(layout.len(), stored.len());
            for (column, (serial, bytes)) in stored.iter().enumerate() {
                let field = layout.field(column, record).unwrap();
                prop_assert_eq!((field.serial, field.bytes), (*serial, bytes.as_slice()));
            }
        }
    }
}
