//! Circles among the modules of one folder.

use std::collections::BTreeMap;

/// Who imports whom in a folder, and where: `from → to → FILE:LINE`.
pub(crate) type Graph = BTreeMap<String, BTreeMap<String, String>>;

/// A circle, as `a imports b (FILE:LINE), b imports a (FILE:LINE)`; `None` where there is none.
pub(crate) fn circle(graph: &Graph) -> Option<String> {
    graph.keys().find_map(|start| {
        let mut way = vec![start.as_str()];
        walk(graph, &mut way, &mut Vec::new()).then(|| {
            let steps = way.windows(2).map(|step| {
                let (from, to) = (step[0], step[1]);
                format!("{from} imports {to} ({})", graph[from][to])
            });
            steps.collect::<Vec<_>>().join(", ")
        })
    })
}

/// Looks for a way back to where `way` began; then `way` ends there.
fn walk<'a>(graph: &'a Graph, way: &mut Vec<&'a str>, dead_ends: &mut Vec<&'a str>) -> bool {
    let Some(last) = way.last() else { return false };
    for next in graph.get(*last).into_iter().flat_map(BTreeMap::keys) {
        if next == way[0] {
            way.push(next);
            return true;
        }
        if way.contains(&next.as_str()) || dead_ends.contains(&next.as_str()) {
            continue;
        }
        way.push(next);
        if walk(graph, way, dead_ends) {
            return true;
        }
        dead_ends.extend(way.pop());
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &str)]) -> Graph {
        let mut graph = Graph::new();
        for (from, to) in edges {
            graph.entry((*from).to_owned()).or_default().insert((*to).to_owned(), format!("{from}.rs:1"));
        }
        graph
    }

    #[test]
    fn a_circle_is_named_with_each_of_its_imports() {
        let found = circle(&graph(&[("lease", "store"), ("store", "keys"), ("store", "writer"), ("writer", "lease")]));
        let steps =
            "lease imports store (lease.rs:1), store imports writer (store.rs:1), writer imports lease (writer.rs:1)";
        assert_eq!(found.as_deref(), Some(steps));
    }

    #[test]
    fn two_ways_to_one_module_are_no_circle() {
        assert_eq!(circle(&graph(&[("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")])), None);
        assert_eq!(circle(&Graph::new()), None);
    }
}
