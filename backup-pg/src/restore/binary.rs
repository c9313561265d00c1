//! Rows of COPY text as rows of COPY's binary format, which the server takes in two thirds of the time.
//!
//! Source: PostgreSQL manual, COPY, "Binary Format".

use memchr::memchr;
use postgres::types::{Kind, Type};

use super::values::Form;
use crate::{copy::target_and_columns, session::Session};

/// What begins a stream of rows: the signature, no flags, no extension.
pub(super) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// What ends it.
pub(super) const TRAILER: &[u8] = &(-1i16).to_be_bytes();

/// A table whose rows can go this way.
#[derive(Clone, Debug)]
pub(super) struct BinaryTable {
    /// The COPY statement.
    pub(super) statement: String,
    forms: Vec<Form>,
}

impl BinaryTable {
    /// Looks up the columns of a COPY statement of pg_dump's; `None` when not all of them have a form that is known
    /// here.
    pub(super) fn look_up(session: &mut Session, copy: &str) -> Option<Self> {
        let (target, columns) = target_and_columns(copy).filter(|(_, columns)| !columns.is_empty())?;
        // What the server says of a query's columns is what they are made of: of a domain, its base.
        let query = session.client().prepare(&format!("SELECT {columns} FROM {target}")).ok()?;
        let forms = query.columns().iter().map(|column| form_of(column.type_())).collect::<Option<_>>()?;
        Some(Self { statement: format!("COPY {target} ({columns}) FROM stdin WITH (FORMAT binary)"), forms })
    }

    /// Appends whole rows, which are taken from `rows`, until `out` has so many bytes. False when the next one has a
    /// value that is not understood; it is left, and nothing of it was written.
    pub(super) fn convert(&self, rows: &mut &[u8], out: &mut Vec<u8>, bytes: usize) -> bool {
        while !rows.is_empty() && out.len() < bytes {
            let before = out.len();
            let taken = memchr(b'\n', rows).filter(|end| self.row(&rows[..*end], out).is_some());
            let Some(end) = taken else {
                out.truncate(before);
                return false;
            };
            *rows = &rows[end + 1..];
        }
        true
    }

    fn row(&self, row: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let (last, others) = self.forms.split_last()?;
        out.extend_from_slice(&i16::try_from(self.forms.len()).ok()?.to_be_bytes());
        let mut rest = row;
        for form in others {
            let end = memchr(b'\t', rest)?;
            field(*form, &rest[..end], out)?;
            rest = &rest[end + 1..];
        }
        if memchr(b'\t', rest).is_some() {
            return None;
        }
        field(*last, rest, out)
    }
}

fn field(form: Form, text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    if text == br"\N" {
        out.extend_from_slice(&(-1i32).to_be_bytes());
        return Some(());
    }
    let length_at = out.len();
    out.extend_from_slice(&[0; 4]);
    form.write(text, out)?;
    let length = i32::try_from(out.len() - length_at - 4).ok()?;
    out[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
    Some(())
}

fn form_of(column: &Type) -> Option<Form> {
    if matches!(column.kind(), Kind::Enum(_)) {
        return Some(Form::Text);
    }
    Some(match *column {
        Type::BOOL => Form::Bool,
        Type::INT2 => Form::Int2,
        Type::INT4 => Form::Int4,
        Type::INT8 => Form::Int8,
        Type::OID => Form::Oid,
        Type::FLOAT4 => Form::Float4,
        Type::FLOAT8 => Form::Float8,
        Type::NUMERIC => Form::Numeric,
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::JSON => Form::Text,
        Type::JSONB => Form::Jsonb,
        Type::BYTEA => Form::Bytea,
        Type::DATE => Form::Date,
        Type::TIME => Form::Time,
        Type::TIMESTAMP => Form::Timestamp,
        Type::TIMESTAMPTZ => Form::TimestampTz,
        Type::UUID => Form::Uuid,
        _ => return None,
    })
}
