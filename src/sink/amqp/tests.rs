use super::*;

#[test]
fn a_key_always_has_the_same_worker_and_all_workers_have_keys() {
    for workers in [1, 3, 64] {
        let of: std::collections::HashSet<_> = (0..2_000).map(|key| worker_of(&key.to_string(), workers)).collect();
        assert_eq!(of.len(), workers);
        assert_eq!(worker_of("web", workers), worker_of("web", workers));
    }
}
