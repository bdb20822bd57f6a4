//! The only place that prints: results to stdout, what is being done to stderr.

/// Prints a result that a script may read.
#[expect(clippy::print_stdout, reason = "results are data")]
pub(crate) fn result(line: &str) {
    println!("{line}");
}

/// Says what happens next.
#[expect(clippy::print_stderr, reason = "progress is not data")]
pub(crate) fn step(line: &str) {
    eprintln!("==> {line}");
}

/// Adds a detail to the step under way.
#[expect(clippy::print_stderr, reason = "progress is not data")]
pub(crate) fn detail(line: &str) {
    eprintln!("    {line}");
}

/// Passes on what a child wrote.
#[expect(clippy::print_stderr, reason = "a child's output is not data")]
pub(crate) fn output(text: &str) {
    eprintln!("{}", text.trim_end());
}

/// Says why the verb failed, with every cause.
#[expect(clippy::print_stderr, reason = "errors are not data")]
pub(crate) fn failure(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}
