use proptest::prelude::*;

use super::*;

fn answers() -> impl Strategy<Value = Answer> {
    let group = || prop::option::of("\\PC{0,8}");
    let body = prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
    prop_oneof![
        Just(Answer::Ready),
        "\\PC{0,20}".prop_map(Answer::Unusable),
        "\\PC{0,20}".prop_map(Answer::Failed),
        group().prop_map(|group| Answer::Same { group }),
        (group(), prop::collection::vec(body, 0..5)).prop_map(|(group, bodies)| Answer::Outputs { group, bodies }),
    ]
}

fn taken(received: &mut BytesMut) -> Result<Vec<Answer>, Damaged> {
    let mut answers = Vec::new();
    while let Some(answer) = take_answer(received)? {
        answers.push(answer);
    }
    Ok(answers)
}

#[test]
fn outputs_are_written_as_their_answer_is() {
    let bodies = vec![Bytes::from("1"), Bytes::from("{}")];
    let (mut whole, mut outputs, mut pieces) = (Vec::new(), Vec::new(), Vec::new());
    put_answer(&mut whole, &Answer::Outputs { group: Some("g".to_owned()), bodies: bodies.clone() });
    for body in &bodies {
        put_output(&mut outputs, |out| {
            out.extend_from_slice(body);
            Ok::<(), ()>(())
        })
        .expect("written");
    }
    put_outputs(&mut pieces, Some("g"), &outputs);
    assert_eq!(whole, pieces);
}

proptest! {
    #[test]
    fn answers_arrive_however_they_are_cut(expected in prop::collection::vec(answers(), 0..8), cut in 1usize..50) {
        let mut sent = Vec::new();
        expected.iter().for_each(|answer| put_answer(&mut sent, answer));
        let (mut received, mut arrived) = (BytesMut::new(), Vec::new());
        for piece in sent.chunks(cut) {
            received.extend_from_slice(piece);
            arrived.extend(taken(&mut received).expect("answers"));
        }
        prop_assert_eq!(arrived, expected);
        prop_assert!(received.is_empty());
    }

    #[test]
    fn records_arrive(
        is_careful: bool,
        globals in prop::array::uniform4(prop::option::of(prop::collection::vec(any::<u8>(), 0..20))),
        body in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let question = Question { is_careful, globals: globals.each_ref().map(|global| global.as_deref()), body: &body };
        let mut sent = Vec::new();
        put_question(&mut sent, &question);
        put_question(&mut sent, &question);
        prop_assert!(is_whole(&sent) && !is_whole(&sent[..sent.len() / 2 - 1]));
        let (mut source, mut frame) = (&sent[..], Vec::new());
        for _ in 0..2 {
            prop_assert!(read(&mut source, &mut frame).expect("memory"));
            prop_assert_eq!(super::question(&frame), Some(question));
        }
        prop_assert!(!read(&mut source, &mut frame).expect("memory"));
    }

    #[test]
    fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        prop_assert!(super::question(&bytes).is_none_or(|question| question.body.len() < bytes.len()));
        drop(setup(&bytes));
        drop(answer(&bytes));
        drop(taken(&mut BytesMut::from(&bytes[..])));
        let mut frame = Vec::new();
        drop(read(&mut &bytes[..], &mut frame));
    }
}
