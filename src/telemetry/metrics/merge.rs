//! One text of several registries. OpenMetrics wants all series of a family together, under one description.

/// Joins OpenMetrics texts: families in the order of their first appearance.
pub(crate) fn merge(texts: &[String]) -> String {
    /// What a line that describes a family begins with.
    const DESCRIBES: [&str; 3] = ["# HELP ", "# TYPE ", "# UNIT "];
    let mut families: Vec<(&str, String)> = Vec::new();
    for text in texts {
        let mut current = 0;
        let mut is_new = false;
        for line in text.lines().filter(|line| *line != "# EOF") {
            let described = DESCRIBES.iter().find_map(|head| line.strip_prefix(head));
            if let Some(family) = described.and_then(|rest| rest.split(' ').next()) {
                let found = families.iter().position(|(name, _)| *name == family);
                // The lines of one description follow each other.
                is_new = found.is_none() || is_new && found == Some(current);
                current = found.unwrap_or_else(|| {
                    families.push((family, String::new()));
                    families.len() - 1
                });
                if !is_new {
                    continue;
                }
            }
            if let Some((_, lines)) = families.get_mut(current) {
                lines.push_str(line);
                lines.push('\n');
            }
        }
    }
    families.iter().map(|(_, lines)| lines.as_str()).chain(["# EOF\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_one_family_come_together() {
        let texts = ["# HELP a A.\n# TYPE a gauge\na{p=\"1\"} 1\n# TYPE b gauge\nb 2\n# EOF\n".to_owned(), {
            "# HELP a A.\n# TYPE a gauge\na{p=\"2\"} 3\n# TYPE c gauge\nc 4\n# EOF\n".to_owned()
        }];
        let expected = "# HELP a A.\n# TYPE a gauge\na{p=\"1\"} 1\na{p=\"2\"} 3\n# TYPE b gauge\nb 2\n# TYPE c gauge\nc 4\n# EOF\n";
        assert_eq!(merge(&texts), expected);
        assert_eq!(merge(&texts[..1]), texts[0]);
        assert_eq!(merge(&[]), "# EOF\n");
    }
}
