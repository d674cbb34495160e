//! An audit for spreadsheets: a line for each image of each workload.

use std::borrow::Cow;

use super::result::{Audit, Row, User};

const HEAD: [&str; 19] = [
    "class",
    "finding",
    "presence",
    "scan",
    "image",
    "name",
    "digest",
    "place",
    "action",
    "reason",
    "becomes",
    "namespace",
    "kind",
    "workload",
    "pods",
    "path",
    "line",
    "detail",
    "advice",
];

/// Returns the rows as CSV (RFC 4180) with a line of names. No cell is a formula to a spreadsheet.
///
/// # Errors
/// None: a Vec takes everything. The crate's type says otherwise.
pub fn csv(audit: &Audit) -> Result<String, csv::Error> {
    let mut out = csv::Writer::from_writer(Vec::new());
    out.write_record(HEAD)?;
    for row in &audit.rows {
        for user in &row.workloads {
            out.write_record(cells(row, user).iter().map(|cell| guarded(cell).into_owned()))?;
        }
    }
    let bytes = out.into_inner().map_err(|error| csv::Error::from(error.into_error()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn cells(row: &Row, user: &User) -> [String; 19] {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    [
        row.class.as_str().to_owned(),
        row.finding.clone(),
        text(&row.presence),
        text(&row.scan),
        row.image.clone(),
        row.name.clone(),
        text(&row.digest),
        text(&row.place),
        text(&row.action),
        row.reason.clone(),
        text(&row.becomes),
        user.namespace.clone(),
        user.kind.clone(),
        user.name.clone(),
        user.pods.to_string(),
        text(&user.path),
        user.line.map(|line| line.to_string()).unwrap_or_default(),
        row.detail.clone(),
        row.advice.clone(),
    ]
}

/// A cell that no spreadsheet takes for a formula: whoever writes a manifest names images, and a formula would run at the desk
/// of whoever opens the report.
fn guarded(cell: &str) -> Cow<'_, str> {
    // A spreadsheet skips what stands before: spaces, and the quote of a cell of text.
    let begins = cell.trim_start_matches([' ', '"', '\u{a0}', '\u{feff}', '\u{3000}']);
    let is_formula = begins.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'])
        || cell.starts_with(['\t', '\r', '\n']);
    if is_formula { Cow::Owned(format!("'{cell}")) } else { Cow::Borrowed(cell) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula() {
        for cell in [
            "=cmd|' /C calc'!A0",
            "+1",
            "-1",
            "@SUM(A1)",
            "\t=1",
            "\r=1",
            "\n=1",
            " =1",
            "\"=1",
            "＝1",
            "\u{feff}=1",
        ] {
            assert_eq!(guarded(cell), format!("'{cell}"), "{cell:?}");
        }
        for cell in ["web:1", "a=b", "'=1", "", "harbor.example.com/a-b@sha256:00"] {
            assert_eq!(guarded(cell), cell);
        }
    }
}
