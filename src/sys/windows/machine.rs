//! The machine: its name, and the terminal.

/// The name of this machine.
pub(crate) fn name() -> String {
    use winapi_util::sysinfo::{ComputerNameKind, get_computer_name};
    let name = get_computer_name(ComputerNameKind::PhysicalDnsHostname);
    name.map_or_else(|_| "localhost".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// How many columns the terminal at the standard output has; `None` if it is none.
pub(crate) fn columns() -> Option<usize> {
    terminal_size::terminal_size_of(std::io::stdout())
        .map(|(width, _)| usize::from(width.0))
        .filter(|columns| *columns > 0)
}
