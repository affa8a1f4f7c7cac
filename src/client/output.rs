//! Standard output and standard error of the commands. No write panics: the macros of the standard library would, when
//! the reader of a pipe has gone or a disk is full.

use std::io::{self, ErrorKind, Write};

/// Exit code after the reader of standard output has closed the pipe: the code that a shell reports for a process that
/// SIGPIPE ended, as kubectl ends.
const CLOSED_PIPE: i32 = 141;

/// Writes the text to standard output and flushes it. Ends the process if that fails: silently if the reader has closed
/// the pipe, and with an error and exit code 1 otherwise.
pub fn print(text: impl AsRef<str>) {
    if let Err(error) = try_print(text.as_ref()) {
        if error.kind() == ErrorKind::BrokenPipe {
            std::process::exit(CLOSED_PIPE);
        }
        error_line(format!("jobwright: cannot write to standard output: {}", io_reason(&error)));
        std::process::exit(1);
    }
}

/// Writes a line to standard output, like [`print()`].
pub fn print_line(text: impl AsRef<str>) {
    print(format!("{}\n", text.as_ref()));
}

/// Writes the text to standard output and flushes it.
///
/// # Errors
/// The reader has closed the pipe, or the output cannot be stored.
pub fn try_print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes a line to standard output, and continues without the line if that fails. For commands that must not stop in
/// the middle of their writes to the cluster.
pub fn offer_line(text: impl AsRef<str>) {
    let _ = try_print(&format!("{}\n", text.as_ref()));
}

/// Writes the text to standard error, and continues without it if that fails.
pub fn error(text: impl AsRef<str>) {
    let mut out = io::stderr().lock();
    let _ = out.write_all(text.as_ref().as_bytes()).and_then(|()| out.flush());
}

/// Writes a line to standard error, and continues without it if that fails.
pub fn error_line(text: impl AsRef<str>) {
    error(format!("{}\n", text.as_ref()));
}

/// Returns the reason of an I/O error in words, without the number of the operating system.
pub fn io_reason(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "no such file or directory".to_owned(),
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        ErrorKind::IsADirectory => "is a directory".to_owned(),
        ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        ErrorKind::StorageFull => "no space left on the device".to_owned(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or_default().to_owned()
        }
    }
}

/// Replaces the message of a panic by one sentence without a backtrace. The commands of users install it; the
/// controller keeps the backtrace for its log.
pub fn report_panics_in_one_line() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, |place| format!(" at {}:{}", place.file(), place.line()));
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
        error_line(format!(
            "jobwright: internal error{place}: {text}; report it with the command and the output of: jobwright version"
        ));
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_has_no_number_of_the_operating_system() {
        for (code, expected) in [(2, "no such file or directory"), (28, "no space left on the device")] {
            assert_eq!(io_reason(&io::Error::from_raw_os_error(code)), expected);
        }
        assert!(!io_reason(&io::Error::from_raw_os_error(5)).contains("os error"));
    }
}
