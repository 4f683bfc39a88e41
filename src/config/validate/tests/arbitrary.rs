//! Any text in the place of a setting ends in settings or in problems.

use super::*;

proptest::proptest! {
    /// Any environment ends in settings or in problems, and neither shows a secret.
    #[test]
    fn no_environment_breaks_it(
        values in proptest::collection::vec(
            (0..catalogue::ALL.len(), "[a-z0-9:/@,*. -]{0,16}|\\PC{0,16}|(https?|unix)://[a-z:@/?.,0-9]{0,16}"),
            0..8,
        ),
    ) {
        // A secret that is also part of another value is not shown as a secret.
        let secret = "S3cr3tW0rd";
        let given: Vec<_> = values
            .into_iter()
            .map(|(place, value)| (catalogue::ALL[place], value))
            .filter(|(setting, _)| setting.flag != catalogue::CONFIG.flag)
            .map(|(setting, value)| (setting.variable, if setting.secret { format!("{secret}{value}") } else { value }))
            .collect();
        let variables: Vec<_> = given.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let shown = match load(&["events"], &variables) {
            Ok((settings, warnings)) => format!("{settings:?}{warnings:?}"),
            Err(Exit::Configuration(problems)) => {
                proptest::prop_assert!(!problems.0.is_empty());
                format!("{problems}{problems:?}")
            }
            Err(other) => panic!("{other:?}"),
        };
        proptest::prop_assert!(!shown.contains(secret), "{}", shown);
    }

    /// Any file does as well.
    #[test]
    fn no_file_breaks_it(text in "\\PC{0,64}|([a-z-]{1,20} ?= ?('[a-z]{0,9}'|[0-9.]{1,9}|\\[[0-9, ]{0,9}\\]|true)\n|\\[[a-z.]{1,9}\\]\n){0,6}") {
        let file = file(&text);
        if let Err(Exit::Configuration(problems)) = load(&["nodes", "--coordinator=none", "--config", path(&file)], &[]) {
            proptest::prop_assert!(!problems.0.is_empty());
        }
    }
}
