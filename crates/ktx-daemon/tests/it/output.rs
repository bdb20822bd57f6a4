//! Every byte that the code or a child of it writes ends up in the outcome.

use crate::support::{Environment, kind};

#[test]
#[cfg(unix)]
fn captures_every_way_of_writing_in_order() {
    let environment = Environment::new();
    let outcome = environment.execute(
        "import ctypes, logging, os, subprocess, sys\n\
         print('print')\n\
         os.system('echo system')\n\
         sys.stdout.buffer.write(b'buffer\\n')\n\
         os.write(1, b'write\\n')\n\
         subprocess.run(['sh', '-c', 'echo run; echo error >&2'])\n\
         logging.warning('logged')\n\
         ctypes.CDLL(None).printf(b'printf\\n')\n\
         sys.__stdout__.write('no newline')",
    );
    assert_eq!(
        outcome["stdout"],
        "print\nsystem\nbuffer\nwrite\nrun\nprintf\nno newline"
    );
    assert_eq!(outcome["stderr"], "error\nWARNING:root:logged\n");
}

#[test]
fn replaces_bytes_that_are_not_text() {
    let environment = Environment::new();
    let outcome = environment.execute("import os\nos.write(1, b'a\\xff\\xfeb')\nprint('\\udcff')");
    assert_eq!(outcome["stdout"], "a\u{fffd}\u{fffd}b\u{fffd}\n");
}

#[test]
fn finds_nothing_on_standard_input() {
    let environment = Environment::new();
    let outcome = environment.execute("import os, sys\n[sys.stdin.read(), os.read(0, 9).decode()]");
    assert_eq!(outcome["value"], serde_json::json!(["", ""]));
    assert_eq!(kind(&environment.execute("input()")), "exception");
}

#[test]
fn reports_when_the_code_closes_its_output() {
    let environment = Environment::new();
    let outcome = environment.execute("import os\nprint('before')\nos.close(1)\nos.close(2)\n7");
    assert_eq!(outcome["value"], 7);
    assert_eq!(outcome["stdout"], "before\n");
}

#[test]
#[cfg(unix)]
fn tells_a_worker_that_cannot_report_any_more() {
    let environment = Environment::new();
    let outcome = environment.execute("import os\nos.closerange(3, 1000)\n7");
    assert_eq!(kind(&outcome), "exit");
}
