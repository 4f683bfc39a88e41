//! Which records go in which command.

/// What an nsqd is known to take, in bytes. It names a limit only when it refuses something: `IDENTIFY` says nothing of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Limits {
    /// The largest message: `--max-msg-size`.
    pub(super) message: Option<usize>,
    /// The largest body of an `MPUB`: `--max-body-size`.
    pub(super) body: Option<usize>,
}

/// Records of one topic, by their numbers in the batch, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    /// The number of the topic.
    pub(super) topic: usize,
    pub(super) records: Vec<usize>,
}

impl Command {
    /// The same records in as few commands as possible, each with a body of at most `limit` bytes or with one record. `size` is that of a record.
    pub(super) fn within(self, limit: usize, size: impl Fn(usize) -> usize) -> Vec<Command> {
        let mut commands: Vec<Command> = Vec::new();
        let mut body = 0;
        for record in self.records {
            let more = 4 + size(record);
            match commands.last_mut() {
                Some(command) if body + more <= limit => command.records.push(record),
                _ => {
                    commands.push(Command { topic: self.topic, records: vec![record] });
                    body = 4;
                }
            }
            body += more;
        }
        commands
    }

    /// Its halves, in order; a single record stays as it is.
    pub(super) fn halves(mut self) -> [Command; 2] {
        let second = self.records.split_off(self.records.len().div_ceil(2));
        let topic = self.topic;
        [self, Command { topic, records: second }]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sink::nsq::proto;

    proptest! {
        #[test]
        fn commands_keep_their_records_in_order_and_within_the_limit(sizes in prop::collection::vec(1usize..50, 1..40), limit in 1usize..200) {
            let records: Vec<usize> = (0..sizes.len()).collect();
            let commands = Command { topic: 3, records: records.clone() }.within(limit, |record| sizes[record]);
            for command in &commands {
                let body = proto::body_size(command.records.iter().map(|record| sizes[*record]));
                prop_assert!(body <= limit || command.records.len() == 1, "{body}");
                prop_assert!(command.topic == 3 && !command.records.is_empty());
            }
            // No two of them could be one.
            for two in commands.windows(2) {
                let first = two[0].records.iter().chain(&two[1].records[..1]);
                prop_assert!(proto::body_size(first.map(|record| sizes[*record])) > limit);
            }
            prop_assert_eq!(commands.into_iter().flat_map(|command| command.records).collect::<Vec<_>>(), records);
        }
    }

    #[test]
    fn halves_end_with_one_record() {
        let of = |records: &[usize]| Command { topic: 0, records: records.to_vec() };
        assert_eq!(of(&[1, 2, 3]).halves(), [of(&[1, 2]), of(&[3])]);
        assert_eq!(of(&[1]).halves(), [of(&[1]), of(&[])]);
    }
}
