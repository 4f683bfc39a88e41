//! The macro behind the [table](super::table) of metrics: from one line for each metric it makes the field, the name, the help
//! text and the registration.

use prometheus_client::{
    metrics::family::Family,
    registry::{Metric, Registry},
};

/// Label names with their values. All of them are fixed words, so that the number of series is bounded.
pub(super) type Labels<const N: usize> = [(&'static str, &'static str); N];

/// A metric with labels of its own.
pub(super) type Labelled<const N: usize, M> = Family<Labels<N>, M>;

/// Declares a struct of metrics. Each line reads
///
/// ```text
/// field: Type, "name", "help";
/// field: Type = how to make one, "name", "help";     for a type without a default, such as a histogram
/// ```
///
/// `for each kind` gives every metric one series for each configured resource kind, with the label `kind`, all of them at 0 from the
/// start; `once` gives it one series without labels. Recording is an access to the field: nothing is looked up by name.
macro_rules! metrics {
    (
        $(#[$doc:meta])*
        struct $Set:ident, $scope:tt $($each_kind:ident)*;
        $($field:ident: $Type:ty $(= $new:expr)?, $name:literal, $help:literal;)+
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub(crate) struct $Set {
            $(#[doc = $help] pub(crate) $field: $Type,)+
        }

        impl Default for $Set {
            fn default() -> Self {
                $Set { $($field: $crate::telemetry::metrics::declare::new_metric!($Type $(, $new)?),)+ }
            }
        }

        impl $Set {
            /// The names as they are scraped.
            #[cfg(test)]
            pub(crate) const NAMES: &[&str] = &[$($name),+];

            $crate::telemetry::metrics::declare::register_metrics! {
                $scope; $($field: $Type $(= $new)?, $name, $help;)+
            }
        }
    };
}

/// The expression that makes a metric: the one on its line, or its type's default.
macro_rules! new_metric {
    ($Type:ty) => {
        <$Type>::default()
    };
    ($Type:ty, $new:expr) => {
        $new
    };
}

/// The function that registers the metrics of a struct.
macro_rules! register_metrics {
    (once; $($field:ident: $Type:ty $(= $new:expr)?, $name:literal, $help:literal;)+) => {
        /// Registers every metric.
        pub(super) fn register(&self, registry: &mut Registry) {
            $($crate::telemetry::metrics::declare::register(registry, $name, $help, &self.$field);)+
        }
    };
    (for; $($field:ident: $Type:ty $(= $new:expr)?, $name:literal, $help:literal;)+) => {
        /// Registers every metric, and gives each of `kinds` its own series. `sets` is in the order of [`Kind::ALL`].
        pub(super) fn register(sets: &mut [Self; Kind::ALL.len()], kinds: &[Kind], registry: &mut Registry) {
            $(
                let new: fn() -> $Type = || $crate::telemetry::metrics::declare::new_metric!($Type $(, $new)?);
                let family = Labelled::<1, $Type>::new_with_constructor(new);
                for kind in kinds {
                    sets[*kind as usize].$field = family.get_or_create_owned(&[("kind", kind.name())]);
                }
                $crate::telemetry::metrics::declare::register(registry, $name, $help, &family);
            )+
        }
    };
}

pub(super) use {metrics, new_metric, register_metrics};

/// Registers one metric. The library adds `_total` to the name of a counter, and a point to the help text.
pub(super) fn register(registry: &mut Registry, name: &str, help: &str, metric: &(impl Metric + Clone)) {
    registry.register(name.strip_suffix("_total").unwrap_or(name), help, metric.clone());
}
