//! An audit as JUnit XML, which CI servers draw: a suite for each namespace, a case for each image of each workload.

use std::collections::BTreeMap;

use quick_junit::{NonSuccessKind, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::fail_on::FailOn;
use super::result::{Audit, Class, Row, User};

/// Returns the audit as JUnit XML. A case fails where it meets one of `fail_on`, and is an error where something could not be
/// learned: nobody may take that for a success.
///
/// # Errors
/// None: a String takes everything. The crate's type says otherwise.
pub fn junit(audit: &Audit, fail_on: &[FailOn]) -> Result<String, SerializeError> {
    let mut suites: BTreeMap<&str, TestSuite> = BTreeMap::new();
    for row in audit.rows.iter().chain(&audit.fine) {
        for user in &row.workloads {
            let suite = suites.entry(&user.namespace).or_insert_with(|| TestSuite::new(&*user.namespace));
            suite.add_test_case(case(row, user, fail_on));
        }
    }
    if !audit.complete || !audit.notes.is_empty() {
        let mut suite = TestSuite::new("landfall audit");
        let mut status = if audit.complete {
            TestCaseStatus::success()
        } else {
            TestCaseStatus::non_success(NonSuccessKind::Error)
        };
        let said = audit.notes.join("\n");
        if !audit.complete {
            status.set_type("Incomplete").set_message("the report is not complete").set_description(&*said);
        }
        let mut case = TestCase::new("everything was read and judged", status);
        if audit.complete {
            case.set_system_out(said);
        }
        suite.add_test_case(case);
        suites.insert("", suite);
    }
    let mut report = Report::new("landfall audit");
    report.add_test_suites(suites.into_values());
    // The crate leaves out control characters; XML has no place for these two either.
    Ok(report.to_string()?.replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}"))
}

fn case(row: &Row, user: &User, fail_on: &[FailOn]) -> TestCase {
    let Row { class, finding, place, action, detail, advice, .. } = row;
    let at = place.as_ref().map(|place| format!(" at {place}")).unwrap_or_default();
    let action = action.as_ref().map(|action| format!(", {action}")).unwrap_or_default();
    let message = format!("{finding}{at}{action}: {}", class.heading());
    let mut description = format!("{message}\n{}\n", row.image);
    for line in [detail, advice].into_iter().filter(|line| !line.is_empty()) {
        description += &format!("{line}\n");
    }
    if let (Some(path), Some(line)) = (&user.path, user.line) {
        description += &format!("{path}:{line}\n");
    }
    let kind = if fail_on.iter().any(|on| on.meets(row)) {
        Some(NonSuccessKind::Failure)
    } else {
        (*class == Class::Unknown).then_some(NonSuccessKind::Error)
    };
    let mut status = kind.map_or_else(TestCaseStatus::success, TestCaseStatus::non_success);
    if kind.is_some() {
        status.set_type(&**finding).set_message(message).set_description(&*description);
    }
    let mut case = TestCase::new(format!("{} ({})", row.image, user.slots.join(", ")), status);
    case.set_classname(format!("{}.{}.{}", user.namespace, user.kind, user.name));
    if kind.is_none() && *class != Class::Fine {
        case.set_system_out(description);
    }
    case
}
