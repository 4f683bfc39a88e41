//! Reads settings in tests, without a command line.

use super::{Broken, Environment, Layers, Reader, Setting, Warning};

/// The result of `read` for these variables, with the warnings; or all problems.
pub(crate) fn read<T>(
    settings: &[&'static Setting],
    variables: &[(&str, &str)],
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, Broken>,
) -> Result<(T, Vec<Warning>), Vec<String>> {
    let variables = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
    let (mut layers, mut problems) = (Layers::default(), Vec::new());
    layers.variables(settings, &Environment { variables, exists: &|_| false }, &mut problems);
    assert!(problems.is_empty(), "{problems:?}");
    read_layers(&layers, read)
}

/// The same for values that were given in any place.
pub(crate) fn read_layers<T>(
    layers: &Layers,
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, Broken>,
) -> Result<(T, Vec<Warning>), Vec<String>> {
    let mut reader = Reader::new(layers, Vec::new(), Vec::new());
    let value = read(&mut reader);
    match value {
        Ok(value) if reader.problems.is_empty() => Ok((value, reader.warnings)),
        _ => Err(reader.problems.iter().map(ToString::to_string).collect()),
    }
}
