//! The table that is printed in the end.

/// Figures with their bars.
#[derive(Debug, Default)]
pub(crate) struct Table {
    lines: Vec<[String; 4]>,
}

impl Table {
    /// A ratio to a reference that has to be at least `bar`, with what else was seen.
    pub(crate) fn at_least(&mut self, what: &str, ratio: f64, bar: f64, seen: String) {
        let met = if ratio >= bar { "met" } else { "NOT MET" };
        self.push([format!("{what}: {ratio:.2} ×"), format!("≥ {bar} ×"), met.to_owned(), seen]);
    }

    /// A figure in `unit` that may be at most `bar`, with what else was seen.
    pub(crate) fn at_most(&mut self, what: &str, figure: f64, bar: f64, unit: &str, seen: String) {
        let met = if figure <= bar { "met" } else { "NOT MET" };
        self.push([format!("{what}: {figure:.2} {unit}"), format!("≤ {bar} {unit}"), met.to_owned(), seen]);
    }

    /// What could not be measured here.
    pub(crate) fn skipped(&mut self, what: &str, why: &str) {
        self.push([what.to_owned(), String::new(), "not measured".to_owned(), why.to_owned()]);
    }

    fn push(&mut self, line: [String; 4]) {
        eprintln!("{}", line.join(" | "));
        self.lines.push(line);
    }

    pub(crate) fn print(&self) {
        println!("| what | bar | | seen |\n|---|---|---|---|");
        for line in &self.lines {
            println!("| {} |", line.join(" | "));
        }
    }
}

/// The middle one.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
