//! The macro behind the [table](super::table) of metrics: from one line for each metric it makes the field, the name, the help
//! text and the registration.

use prometheus_client::{
    metrics::family::Family,
    registry::{Metric, Registry},
};

/// What every name begins with.
const PREFIX: &str = "nomad_firehose";

/// Label names with their values. All of them are fixed words, so that the number of series is bounded.
pub(super) type Labels<const N: usize> = [(&'static str, &'static str); N];

/// A metric with labels of its own.
pub(super) type Labelled<const N: usize, M> = Family<Labels<N>, M>;

/// Declares a struct of metrics. Each line reads
///
/// ```text
/// field: Type, "help";
/// field: Type = how to make one, "help";     for a type without a default, such as a histogram
/// ```
///
/// The metric is scraped as `nomad_firehose_field`, and a counter as `nomad_firehose_field_total`.
///
/// `for each kind` gives every metric one series for each configured resource kind, with the label `kind`, all of them at 0 from
/// the start; `once` gives it one series without labels. Recording is an access to the field: nothing is looked up by name.
macro_rules! metrics {
    (
        $(#[$doc:meta])*
        struct $Set:ident, $scope:tt $($each_kind:ident)*;
        $($field:ident: $Type:ty $(= $new:expr)?, $help:literal;)+
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
            $crate::telemetry::metrics::declare::register_metrics! { $scope; $($field: $Type $(= $new)?, $help;)+ }
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
    (once; $($field:ident: $Type:ty $(= $new:expr)?, $help:literal;)+) => {
        /// Registers every metric.
        pub(super) fn register(&self, registry: &mut Registry) {
            $($crate::telemetry::metrics::declare::register(registry, stringify!($field), $help, &self.$field);)+
        }
    };
    (for; $($field:ident: $Type:ty $(= $new:expr)?, $help:literal;)+) => {
        /// Registers every metric, and gives each of `kinds` its own series. `sets` is in the order of [`Kind::ALL`].
        pub(super) fn register(sets: &mut [Self; Kind::ALL.len()], kinds: &[Kind], registry: &mut Registry) {
            $(
                let new: fn() -> $Type = || $crate::telemetry::metrics::declare::new_metric!($Type $(, $new)?);
                let family = Labelled::<1, $Type>::new_with_constructor(new);
                for kind in kinds {
                    sets[*kind as usize].$field = family.get_or_create_owned(&[("kind", kind.name())]);
                }
                $crate::telemetry::metrics::declare::register(registry, stringify!($field), $help, &family);
            )+
        }
    };
}

pub(super) use {metrics, new_metric, register_metrics};

/// Registers one metric. The library adds `_total` to the name of a counter, and a full stop to the help text.
pub(super) fn register(registry: &mut Registry, field: &str, help: &str, metric: &(impl Metric + Clone)) {
    registry.register(format!("{PREFIX}_{field}"), help, metric.clone());
}
