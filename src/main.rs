//! The program: signals become one wish to stop, everything else is `moot::command`.

use std::process::ExitCode;

fn main() -> ExitCode {
    moot::os::collect_orphans();
    moot::os::fail_at_file_size_limit();
    // Without handlers a signal ends the process as it would any other: nothing is lost by that.
    moot::os::keep_ignored(|| {
        let _ = ctrlc::set_handler(moot::command::interrupt);
        // After the handler, which would replace the record.
        moot::os::record_end_signal();
    });
    moot::command::main()
}
